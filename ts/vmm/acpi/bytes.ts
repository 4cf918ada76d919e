// Bytes put together from parts, as tables and code of ACPI are. Knows nothing of either.

/** What of a table is bytes: numbers of one byte each, text, or bytes that are there. */
export type Part = number | string | Uint8Array

export function joined(...parts: readonly Part[]): Uint8Array {
  const lengths = parts.map((part) => (typeof part === 'number' ? 1 : part.length))
  const bytes = new Uint8Array(lengths.reduce((sum, length) => sum + length, 0))
  let at = 0
  parts.forEach((part, i) => {
    if (typeof part === 'number') bytes[at] = part
    else bytes.set(typeof part === 'string' ? Buffer.from(part, 'latin1') : part, at)
    at += lengths[i] ?? 0
  })
  return bytes
}

/** A number in so many bytes, the lowest first. */
export function little(size: 1 | 2 | 4 | 8, value: number | bigint): Uint8Array {
  const view = new DataView(new ArrayBuffer(8))
  view.setBigUint64(0, BigInt(value), true)
  return new Uint8Array(view.buffer, 0, size)
}

/** What makes the sum of all bytes 0, modulo 256. */
export function checksum(bytes: Uint8Array): number {
  return -bytes.reduce((sum, byte) => sum + byte, 0) & 0xff
}
