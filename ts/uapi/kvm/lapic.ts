// The registers of a local APIC as KVM keeps them (struct kvm_lapic_state): the page of xAPIC mode, 16 bytes to a register.
// Pure.
import { bytes as bytesOf, integer } from '../../validate.js'
import { viewOf } from './fields.js'

/** Where registers of a local APIC lie, in bytes. Those of 256 bits (ISR, TMR, IRR) are eight in a row. */
export const LAPIC = {
  ID: 0x20,
  VERSION: 0x30,
  TASK_PRIORITY: 0x80,
  PROCESSOR_PRIORITY: 0xa0,
  LOGICAL_DESTINATION: 0xd0,
  DESTINATION_FORMAT: 0xe0,
  SPURIOUS_VECTOR: 0xf0,
  IN_SERVICE: 0x100,
  TRIGGER_MODE: 0x180,
  INTERRUPT_REQUEST: 0x200,
  ERROR_STATUS: 0x280,
  COMMAND_LOW: 0x300,
  COMMAND_HIGH: 0x310,
  LVT_TIMER: 0x320,
  LVT_THERMAL: 0x330,
  LVT_PERFORMANCE: 0x340,
  LVT_LINT0: 0x350,
  LVT_LINT1: 0x360,
  LVT_ERROR: 0x370,
  TIMER_INITIAL_COUNT: 0x380,
  TIMER_CURRENT_COUNT: 0x390,
  TIMER_DIVIDE: 0x3e0,
} as const

const SIZE = 1024
const STRIDE = 16
/** How an LVT entry delivers: straight from the PIC, and as an NMI. */
const DELIVER_EXTERNAL = 0x700
const DELIVER_NMI = 0x400
const DELIVERY_MODE = 0x700
const MASKED = 1 << 16

/** A copy of a local APIC's registers. Change it, then give it to `vcpu.state.lapic`. */
export class LapicState {
  /** 1024 bytes. */
  readonly bytes: Uint8Array

  /** @param bytes 1024 of them, which are copied */
  constructor(bytes: Uint8Array) {
    integer(bytesOf(bytes, 'bytes').length, 'bytes.length', SIZE, SIZE)
    this.bytes = bytes.slice()
  }

  /** A register. @param offset a multiple of 16, 0 to 1008: one of `LAPIC`, or an eighth of one of 256 bits */
  read(offset: number): number {
    return viewOf(this.bytes).getUint32(placeOf(offset), true)
  }

  /** Changes a register in this copy. @param value 0 to 2^32 - 1 */
  write(offset: number, value: number): void {
    viewOf(this.bytes).setUint32(placeOf(offset), integer(value, 'value', 0, 0xffff_ffff), true)
  }

  /** Whether the APIC waits for a vector's handler to begin. @param vector 0 to 255 */
  requested(vector: number): boolean {
    return this.#bit(LAPIC.INTERRUPT_REQUEST, vector)
  }

  /** Whether a vector's handler runs and has not ended its interrupt. @param vector 0 to 255 */
  inService(vector: number): boolean {
    return this.#bit(LAPIC.IN_SERVICE, vector)
  }

  /**
   * What firmware sets on the first processor: LINT0 takes the interrupts of the PIC (ExtINT), LINT1 is NMI. A guest that
   * starts without firmware, and does not use the IOAPIC at once, gets no timer interrupt without it.
   */
  virtualWire(): void {
    this.write(LAPIC.LVT_LINT0, wired(this.read(LAPIC.LVT_LINT0), DELIVER_EXTERNAL))
    this.write(LAPIC.LVT_LINT1, wired(this.read(LAPIC.LVT_LINT1), DELIVER_NMI))
  }

  #bit(base: number, vector: number): boolean {
    integer(vector, 'vector', 0, 255)
    return ((this.read(base + (vector >> 5) * STRIDE) >>> (vector & 31)) & 1) !== 0
  }
}

function wired(entry: number, mode: number): number {
  return ((entry & ~(DELIVERY_MODE | MASKED)) | mode) >>> 0
}

function placeOf(offset: number): number {
  integer(offset, 'offset', 0, SIZE - STRIDE)
  if (offset % STRIDE !== 0) {
    throw new RangeError(`offset must be a multiple of ${String(STRIDE)}, not ${String(offset)}`)
  }
  return offset
}
