// What the fuzzer must not do, because it is valid and harms the machine instead of finding a bug: memory by the terabyte,
// waits without an end, descriptors of others, registers with which a device starts DMA or brings QEMU down.
import { openSync } from 'node:fs'

import type { Random } from './random.js'
import type { Member } from './surface.js'

/** An object to call, and where it came from. */
export interface Target {
  value: object
  kind: string
  /** The rig's name of the device it belongs to; null where there is none. */
  device: string | null
}

/** Registers not to be written, by device and region: [first byte, byte behind the last]. */
const NO_WRITE: Record<string, Record<string, readonly (readonly [number, number])[]>> = {
  // The factorial of a large number occupies QEMU for seconds; the DMA registers abort it when they are wrong.
  edu: {
    bar0: [
      [0x08, 0x10],
      [0x80, 0xa0],
    ],
  },
  // Receive and transmit set-up, whose rings QEMU walks for a long time when they make no sense; bar2 leads there too.
  e1000e: {
    bar0: [
      [0x100, 0x108],
      [0x400, 0x408],
      [0x2000, 0x4000],
      [0x5000, 0x6000],
    ],
    bar2: [[0, 0x40]],
  },
  // The controller's enable bit: without bus master its queues cannot be read.
  nvme: { bar0: [[0x10, 0x18]] },
}

/** The command register: bus mastering stays off where a device could then move data. */
const COMMAND: readonly [number, number] = [4, 6]

const LARGEST = 1 << 20
const LONGEST_MICROS = 300

function clampSize(value: unknown, most: number): unknown {
  if (typeof value === 'number' && Number.isInteger(value) && value > most && value <= 2 ** 53)
    return value % most
  return value
}

function clampOption(value: unknown, key: string, most: number): void {
  if (typeof value !== 'object' || value === null) return
  const options = value as Record<string, unknown>
  if (Object.hasOwn(options, key)) options[key] = clampSize(options[key], most)
}

function writes(member: Member): number | null {
  const scalar = /^write(8|16|32|64)/.exec(String(member.key))
  if (scalar !== null) return Number(scalar[1]) / 8
  return member.key === 'write' ? 0 : null
}

function spansOf(target: Target): readonly (readonly [number, number])[] {
  const region = (target.value as { name?: unknown }).name
  if (region === 'config') return target.device === 'ivshmem' ? [] : [COMMAND]
  return NO_WRITE[target.device ?? '']?.[String(region)] ?? []
}

/** A descriptor that the callee may take over: nobody else's. */
function ownDescriptor(): number {
  return openSync('/dev/null', 'r')
}

/** How often, of the times that it is drawn, a member is called on something that lives. */
export const RARE: Record<string, number> = {
  'VfioDevice.open': 0.1,
  'VfioDevice.openSync': 0.1,
  'VfioDevice.prototype.close': 0.02,
  'VfioDevice.prototype[Symbol.dispose]': 0.02,
  'VfioDevice.prototype[Symbol.asyncDispose]': 0.02,
  'VfioDevice.prototype.reset': 0.05,
  'VfioDevice.prototype.resetSync': 0.05,
  // Asleep, a device answers with all ones until it is woken.
  'LowPower.prototype.enter': 0.1,
  'LowPower.prototype.enterWithWakeup': 0.1,
  'AddressSpace.prototype.close': 0.1,
  'AddressSpace.prototype[Symbol.dispose]': 0.1,
  'AddressSpace.prototype[Symbol.asyncDispose]': 0.1,
}

/**
 * Makes the arguments harmless. `adopted` collects descriptors that were made for the call and have to be closed if it
 * does not take them.
 */
export function limit(
  member: Member,
  target: Target | null,
  args: unknown[],
  random: Random,
  adopted: number[],
): void {
  const { name, key } = member
  if (
    key === 'fromFd' &&
    typeof args[0] === 'number' &&
    Number.isInteger(args[0]) &&
    args[0] >= 0 &&
    args[0] < 2 ** 31
  ) {
    args[0] = random.chance(0.5) ? 1_000_000 + random.below(1000) : ownDescriptor()
    if ((args[0] as number) < 1_000_000) adopted.push(args[0] as number)
  }
  if (/\.(create|allocate|allocateSync)$/.test(name)) {
    args[0] = clampSize(args[0], LARGEST)
  }
  if (/\.poll(32|64)$/.test(name)) clampOption(args[1], 'timeoutMicros', LONGEST_MICROS)
  // Blocking waits, wherever they appear: a number is a time in milliseconds, none is for ever.
  if (/\.wait\w*$/.test(name)) {
    const forEver = args[0] === undefined || args[0] === Infinity
    args[0] = forEver ? 1 : clampSize(args[0], 5)
  }
  if (target === null) return
  if (target.kind === 'PciCommand' && member.action === 'set' && target.device !== 'ivshmem') {
    if (key === 'busMaster') args[0] = false
    if (key === 'raw' && typeof args[0] === 'number') args[0] = Math.trunc(args[0]) & ~4
  }
  const width = target.kind === 'Region' ? writes(member) : null
  if (width === null) return
  const offset = args[0]
  if (typeof offset !== 'number') return
  const length = width === 0 ? ((args[1] as { byteLength?: number } | undefined)?.byteLength ?? 0) : width
  if (spansOf(target).some(([first, end]) => offset < end && offset + length > first)) args[0] = -1
}
