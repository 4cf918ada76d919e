// ConfigRegisters: the guest's configuration space as bits, some virtual, the rest the device's own. Knows how an access
// of any width is split over registers; what a register means is told to it.
import type { ConfigSpace } from '../../pci/config-space.js'

/** What is known about a register. A bit that no mask names reads from the device and cannot be written. */
export interface RegisterBits {
  /** Bits that are kept here instead of in the device. */
  virtual?: number
  /** What the virtual bits are at first. */
  value?: number
  /** Bits that the guest may write; those that are not virtual go to the device. */
  writable?: number
  /** Bits that the device clears when 1 is written: never written back as they were read. */
  clearing?: number
}

/**
 * Runs instead of a write to a register.
 * @param value the register as the guest wants it: bits that it did not write, or may not, are as they were
 * @param previous the register as the guest could read it before
 * @param commit does what a write without a hook does
 */
export type RegisterHook = (value: number, previous: number, commit: () => void) => void

interface Hooked {
  offset: number
  width: number
  hook: RegisterHook
}

type Width = 1 | 2 | 4

/** Virtual bits that are worked out when they are read. */
interface Computed {
  offset: number
  width: Width
  value: () => number
}

function ones(width: number): number {
  return width === 4 ? 0xffff_ffff : 2 ** (8 * width) - 1
}

/** The widest aligned access that starts at `offset` and ends by `end`. */
function widestAt(offset: number, end: number): Width {
  if (offset % 4 === 0 && offset + 4 <= end) return 4
  return offset % 2 === 0 && offset + 2 <= end ? 2 : 1
}

/** Little-endian bytes as one number. */
function numberOf(bytes: Uint8Array, offset: number, width: number): number {
  let value = 0
  for (let i = width - 1; i >= 0; i--) value = value * 256 + (bytes[offset + i] as number)
  return value
}

function putNumber(bytes: Uint8Array, offset: number, width: number, value: number): void {
  for (let i = 0; i < width; i++) bytes[offset + i] = Math.floor(value / 2 ** (8 * i)) & 0xff
}

/** The configuration space that a guest sees of a device. No access throws for what a guest can ask. */
export class ConfigRegisters {
  readonly size: number
  readonly #device: ConfigSpace
  readonly #value: Uint8Array
  readonly #virtual: Uint8Array
  readonly #writable: Uint8Array
  readonly #clearing: Uint8Array
  /** By each byte of a hooked register. */
  readonly #hooks = new Map<number, Hooked>()
  readonly #computed: Computed[] = []

  constructor(device: ConfigSpace) {
    this.#device = device
    this.size = device.size
    this.#value = new Uint8Array(this.size)
    this.#virtual = new Uint8Array(this.size)
    this.#writable = new Uint8Array(this.size)
    this.#clearing = new Uint8Array(this.size)
  }

  /** Says what a register's bits are, over what was said before. */
  define(offset: number, width: Width, bits: RegisterBits): void {
    putNumber(this.#virtual, offset, width, bits.virtual ?? 0)
    putNumber(this.#value, offset, width, bits.value ?? 0)
    putNumber(this.#writable, offset, width, bits.writable ?? 0)
    putNumber(this.#clearing, offset, width, bits.clearing ?? 0)
  }

  /** Makes bytes virtual zeros that ignore writes. */
  hide(offset: number, length: number): void {
    for (const table of [this.#value, this.#writable, this.#clearing]) table.fill(0, offset, offset + length)
    this.#virtual.fill(0xff, offset, offset + length)
  }

  /** Lets the guest write every bit of a range to the device. */
  pass(offset: number, length: number): void {
    for (const table of [this.#value, this.#virtual, this.#clearing]) table.fill(0, offset, offset + length)
    this.#writable.fill(0xff, offset, offset + length)
  }

  hook(offset: number, width: Width, hook: RegisterHook): void {
    const hooked = { offset, width, hook }
    for (let i = 0; i < width; i++) this.#hooks.set(offset + i, hooked)
  }

  /** Works the virtual bits of a register out whenever the guest reads them. */
  compute(offset: number, width: Width, value: () => number): void {
    this.#computed.push({ offset, width, value })
  }

  /** The virtual bits of a register. */
  get(offset: number, width: Width): number {
    return numberOf(this.#value, offset, width)
  }

  /** Sets virtual bits, whatever the guest may write. */
  set(offset: number, width: Width, value: number): void {
    putNumber(this.#value, offset, width, value)
  }

  /** What the guest reads. Beyond the end, all ones. */
  read(offset: number, width: number): number {
    const end = offset + width
    for (const computed of this.#computed) {
      if (computed.offset < end && computed.offset + computed.width > offset)
        this.set(computed.offset, computed.width, computed.value())
    }
    let value = 0
    for (let at = offset; at < end;) {
      const step = widestAt(at, end)
      value += this.#readAligned(at, step) * 2 ** (8 * (at - offset))
      at += step
    }
    return value
  }

  /** What the guest writes. Beyond the end it goes nowhere. */
  write(offset: number, width: number, value: number): void {
    const bytes = new Uint8Array(width)
    putNumber(bytes, 0, width, value)
    const end = Math.min(offset + width, this.size)
    for (let at = offset; at < end;) {
      const hooked = this.#hooks.get(at)
      let stop: number
      if (hooked === undefined) {
        stop = at + 1
        while (stop < end && !this.#hooks.has(stop)) stop++
        for (let next = at; next < stop;) {
          const step = widestAt(next, stop)
          this.#commit(next, step, numberOf(bytes, next - offset, step))
          next += step
        }
      } else {
        stop = Math.min(end, hooked.offset + hooked.width)
        this.#writeHooked(hooked, at, bytes.subarray(at - offset, stop - offset))
      }
      at = stop
    }
  }

  #readAligned(offset: number, width: Width): number {
    if (offset + width > this.size) return ones(width)
    const virtual = numberOf(this.#virtual, offset, width)
    if (virtual === ones(width)) return this.get(offset, width)
    const own = this.#deviceRead(offset, width)
    return ((own & ~virtual) | (this.get(offset, width) & virtual)) >>> 0
  }

  #writeHooked({ offset, width, hook }: Hooked, at: number, bytes: Uint8Array): void {
    const previous = this.read(offset, width)
    const written = new Uint8Array(width)
    // Bits that clear when written as 1 are 0 where the guest wrote nothing.
    putNumber(written, 0, width, (previous & ~numberOf(this.#clearing, offset, width)) >>> 0)
    written.set(bytes, at - offset)
    const writable = numberOf(this.#writable, offset, width)
    const asked = numberOf(written, 0, width)
    const value =
      ((previous & ~writable & ~numberOf(this.#clearing, offset, width)) | (asked & writable)) >>> 0
    hook(value, previous, () => {
      for (let next = offset; next < offset + width;) {
        const step = widestAt(next, offset + width)
        this.#commit(next, step, numberOf(written, next - offset, step))
        next += step
      }
    })
  }

  /** Keeps the virtual bits that may be written, and sends the others to the device. */
  #commit(offset: number, width: Width, value: number): void {
    const virtual = numberOf(this.#virtual, offset, width)
    const writable = numberOf(this.#writable, offset, width)
    const kept = (virtual & writable) >>> 0
    this.set(offset, width, ((this.get(offset, width) & ~kept) | (value & kept)) >>> 0)
    const passed = (writable & ~virtual) >>> 0
    if (passed === 0) return
    if (passed === ones(width)) {
      this.#deviceWrite(offset, width, value)
      return
    }
    const clearing = numberOf(this.#clearing, offset, width)
    const current = this.#deviceRead(offset, width)
    this.#deviceWrite(offset, width, ((current & ~passed & ~clearing) | (value & passed)) >>> 0)
  }

  #deviceRead(offset: number, width: Width): number {
    if (width === 4) return this.#device.read32(offset)
    return width === 2 ? this.#device.read16(offset) : this.#device.read8(offset)
  }

  #deviceWrite(offset: number, width: Width, value: number): void {
    if (width === 4) this.#device.write32(offset, value)
    else if (width === 2) this.#device.write16(offset, value)
    else this.#device.write8(offset, value)
  }
}
