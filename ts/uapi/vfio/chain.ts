// The chains of capabilities that VFIO puts behind its information structures, of devices, regions and containers alike.

/** A capability of a chain as the kernel lays it out behind an information structure. */
export interface ChainedCapability {
  id: number
  version: number
  /** From the header's start; fields follow 8 bytes on. */
  data: DataView
}

/** Walks a capability chain. Offsets that point outside, or backwards, end it. */
export function capabilityChain(bytes: Uint8Array, first: number): ChainedCapability[] {
  const found: ChainedCapability[] = []
  let last = 0
  let offset = first
  while (offset > last && offset + 8 <= bytes.byteLength) {
    const data = new DataView(bytes.buffer, bytes.byteOffset + offset, bytes.byteLength - offset)
    found.push({ id: data.getUint16(0, true), version: data.getUint16(2, true), data })
    last = offset
    offset = data.getUint32(4, true)
  }
  return found
}
