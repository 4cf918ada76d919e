// The statistics file of a machine or a vCPU (KVM_GET_STATS_FD, Linux 5.14).

/** Counters by KVM's own names, for example `io_exits` of a vCPU. */
export type Statistics = Readonly<Record<string, bigint>>

const DESCRIPTOR_SIZE = 16

function nameAt(bytes: Uint8Array, at: number, size: number): string {
  const field = bytes.subarray(at, at + size)
  const end = field.indexOf(0)
  return new TextDecoder().decode(end < 0 ? field : field.subarray(0, end))
}

/**
 * The counters of one value; histograms, which have several, are left out: their sums are counters too.
 * @internal
 */
export function decodeStatistics(bytes: Uint8Array): Statistics {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const nameSize = view.getUint32(4, true)
  const count = view.getUint32(8, true)
  const descriptors = view.getUint32(16, true)
  const data = view.getUint32(20, true)
  const result: Record<string, bigint> = {}
  for (let i = 0; i < count; i++) {
    const at = descriptors + i * (DESCRIPTOR_SIZE + nameSize)
    const values = view.getUint16(at + 6, true)
    if (values !== 1) continue
    const name = nameAt(bytes, at + DESCRIPTOR_SIZE, nameSize)
    result[name] = view.getBigUint64(data + view.getUint32(at + 8, true), true)
  }
  return result
}
