// Lays out the kernel's information structures with capabilities behind them, for the decoders' tests.

interface Chained {
  id: number
  /** What follows the 8 bytes of the header. */
  body: (bigint | number)[]
}

/** Lays out a structure of `head` bytes and capabilities behind it; bodies are 32-bit numbers and 64-bit bigints. */
export function chained(head: number, capabilities: Chained[]): { bytes: Uint8Array; view: DataView } {
  const sizes = capabilities.map(
    ({ body }) => 8 + body.reduce<number>((sum, each) => sum + (typeof each === 'bigint' ? 8 : 4), 0),
  )
  const bytes = new Uint8Array(head + sizes.reduce((a, b) => a + b, 0))
  const view = new DataView(bytes.buffer)
  view.setUint32(0, bytes.length, true)
  let at = head
  capabilities.forEach(({ id, body }, i) => {
    const next = at + (sizes[i] ?? 0)
    view.setUint16(at, id, true)
    view.setUint16(at + 2, 1, true)
    view.setUint32(at + 4, i + 1 < capabilities.length ? next : 0, true)
    let field = at + 8
    for (const each of body) {
      if (typeof each === 'bigint') view.setBigUint64(field, each, true)
      else view.setUint32(field, each, true)
      field += typeof each === 'bigint' ? 8 : 4
    }
    at = next
  })
  return { bytes, view }
}
