// Debug registers (struct kvm_debugregs), and debugging a guest from outside (struct kvm_guest_debug). Pure.
import { MAX_U64, array, bigint, boolean, integer, object } from '../../validate.js'
import { viewOf } from './fields.js'

/** The guest's own debug registers (KVM_GET_DEBUGREGS). */
export interface DebugRegisters {
  /** DR0 to DR3: the addresses. */
  addresses: [bigint, bigint, bigint, bigint]
  /** What was hit. */
  dr6: bigint
  /** What is on, and how wide. */
  dr7: bigint
}

const DR6_AT = 32
const DR7_AT = 40

/** @internal */
export function decodeDebugRegisters(bytes: Uint8Array): DebugRegisters {
  const view = viewOf(bytes)
  const address = (i: number): bigint => view.getBigUint64(i * 8, true)
  return {
    addresses: [address(0), address(1), address(2), address(3)],
    dr6: view.getBigUint64(DR6_AT, true),
    dr7: view.getBigUint64(DR7_AT, true),
  }
}

/** Changes what is named in the kernel's bytes. @internal */
export function encodeDebugRegisters(bytes: Uint8Array, changes: Partial<DebugRegisters>): void {
  const { addresses, dr6, dr7 } = object(changes, 'debugRegisters')
  const view = viewOf(bytes)
  if (addresses !== undefined) {
    integer(array(addresses, 'debugRegisters.addresses').length, 'debugRegisters.addresses.length', 4, 4)
    for (const [i, address] of addresses.entries()) {
      const value = bigint(address, `debugRegisters.addresses[${String(i)}]`, 0n, MAX_U64)
      view.setBigUint64(i * 8, value, true)
    }
  }
  // The upper halves of both are reserved: KVM refuses them.
  if (dr6 !== undefined) view.setBigUint64(DR6_AT, bigint(dr6, 'debugRegisters.dr6', 0n, 0xffff_ffffn), true)
  if (dr7 !== undefined) view.setBigUint64(DR7_AT, bigint(dr7, 'debugRegisters.dr7', 0n, 0xffff_ffffn), true)
}

/** A place where the guest is to stop. */
export interface HardwareBreakpoint {
  /** A linear address, a multiple of `length`. */
  address: bigint
  /** What stops it (default `execute`). */
  on?: 'execute' | 'write' | 'access'
  /** Bytes that are watched; 1 for `execute`. Default 1. */
  length?: 1 | 2 | 4 | 8
}

/** How a guest is debugged from outside (KVM_SET_GUEST_DEBUG). */
export interface GuestDebug {
  /** It stops after each instruction. Default false. */
  singleStep?: boolean
  /** INT3 (0xcc) stops it instead of reaching the guest's own handler. Default false. */
  softwareBreakpoints?: boolean
  /** Places, at most 4. The guest's own debug registers do nothing meanwhile. */
  hardwareBreakpoints?: readonly HardwareBreakpoint[]
  /** No interrupt begins while it is stepped (KVM_CAP_SET_GUEST_DEBUG2). Default false. */
  blockInterrupts?: boolean
}

const ENABLE = 1
const SINGLE_STEP = 2
const SOFTWARE = 0x1_0000
const HARDWARE = 0x2_0000
const BLOCK_INTERRUPTS = 0x10_0000

const SIZE = 72
const REGISTERS_AT = 8
const KINDS = { execute: 0, write: 1, access: 3 } as const
const LENGTHS = new Map([
  [1, 0],
  [2, 1],
  [4, 3],
  [8, 2],
])
/** DR7's bits that are always 1, or that KVM's users set: exact matches. */
const DR7_BASE = 0x600n

function control(breakpoint: HardwareBreakpoint, i: number): bigint {
  const name = `hardwareBreakpoints[${String(i)}]`
  const { address, on = 'execute', length = 1 } = object(breakpoint, name)
  bigint(address, `${name}.address`, 0n, MAX_U64)
  if (!Object.hasOwn(KINDS, on)) throw new TypeError(`${name}.on must be one of execute, write, access`)
  const width = LENGTHS.get(length)
  if (width === undefined) throw new RangeError(`${name}.length must be 1, 2, 4 or 8`)
  if (on === 'execute' && length !== 1) throw new RangeError(`${name}.length must be 1 for execute`)
  if (address % BigInt(length) !== 0n) {
    throw new RangeError(`${name}.address must be a multiple of ${String(length)}`)
  }
  // Global enable, then what and how wide.
  return (2n << BigInt(i * 2)) | (BigInt(KINDS[on] | (width << 2)) << BigInt(16 + i * 4))
}

/** @internal */
export function encodeGuestDebug(debug: GuestDebug | null): Uint8Array {
  const bytes = new Uint8Array(SIZE)
  if (debug === null) return bytes
  const {
    singleStep = false,
    softwareBreakpoints = false,
    hardwareBreakpoints = [],
    blockInterrupts = false,
  } = object(debug, 'debug')
  if (array(hardwareBreakpoints, 'hardwareBreakpoints').length > 4) {
    throw new RangeError(`hardwareBreakpoints must be at most 4, not ${String(hardwareBreakpoints.length)}`)
  }
  const view = viewOf(bytes)
  let flags = ENABLE
  if (boolean(singleStep, 'singleStep')) flags |= SINGLE_STEP
  if (boolean(softwareBreakpoints, 'softwareBreakpoints')) flags |= SOFTWARE
  if (boolean(blockInterrupts, 'blockInterrupts')) flags |= BLOCK_INTERRUPTS
  if (hardwareBreakpoints.length > 0) {
    flags |= HARDWARE
    let dr7 = DR7_BASE
    for (const [i, breakpoint] of hardwareBreakpoints.entries()) {
      dr7 |= control(breakpoint, i)
      view.setBigUint64(REGISTERS_AT + i * 8, breakpoint.address, true)
    }
    view.setBigUint64(REGISTERS_AT + 7 * 8, dr7, true)
  }
  view.setUint32(0, flags, true)
  return bytes
}
