// The window of configuration space through which firmware reaches a device's registers before it can map them (virtio 1.2, section
// 4.1.4.9): a capability that names a register, and four bytes that stand for it. It must not know what the registers are.

const CAP_VENDOR = 0x09
const KIND_WINDOW = 5
const CAP_BYTES = 20
/** Offsets from the capability's start; `bytes` of a capability leave out the first two. */
const BAR = 4
const OFFSET = 8
const LENGTH = 12
const DATA = 16

export interface WindowAccess {
  read(offset: number, width: number): number
  write(offset: number, width: number, value: number): void
}

interface WindowCapability {
  id: number
  bytes: Uint8Array
  writable: Uint8Array
  onRead: (offset: number) => number | undefined
  onWrite: (offset: number, width: number, value: number) => void
}

/** @param bytes of the BAR, which is BAR 0 */
export function windowCapability(access: WindowAccess, bytes: number): WindowCapability {
  // What a driver has written, beside what it finds.
  const chosen = new DataView(new ArrayBuffer(CAP_BYTES))
  chosen.setUint8(2, CAP_BYTES)
  chosen.setUint8(3, KIND_WINDOW)
  const initial = new Uint8Array(chosen.buffer.slice(2))
  const writable = initial.map((_, i) => (i + 2 === BAR || i + 2 >= OFFSET ? 0xff : 0))

  /** The register that is named; undefined for what no access can be. */
  const register = (): { offset: number; width: number } | undefined => {
    const offset = chosen.getUint32(OFFSET, true)
    const width = chosen.getUint32(LENGTH, true)
    const whole = (width === 1 || width === 2 || width === 4) && offset % width === 0
    return whole && chosen.getUint8(BAR) === 0 && offset + width <= bytes ? { offset, width } : undefined
  }

  return {
    id: CAP_VENDOR,
    bytes: initial,
    writable,
    onRead: (offset) => {
      if (offset < DATA) return undefined
      const named = register()
      const value = named === undefined ? 0xffff_ffff : access.read(named.offset, named.width)
      return value >>> (8 * (offset - DATA))
    },
    onWrite: (offset, width, value) => {
      for (let i = 0; i < width && offset + i < CAP_BYTES; i++)
        chosen.setUint8(offset + i, Math.floor(value / 2 ** (8 * i)) & 0xff)
      if (offset < DATA) return
      const named = register()
      if (named !== undefined) access.write(named.offset, named.width, chosen.getUint32(DATA, true))
    },
  }
}
