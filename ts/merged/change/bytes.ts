// A file's bytes as text that JSON carries, and back, byte for byte: what is UTF-8 is itself, and each other byte is a lone
// surrogate, U+DC80 to U+DCFF, which UTF-8 never gives. It must not know where the bytes are.

/** Of a text in which each character is a byte: runs of UTF-8, and single bytes that are none. */
const PARTS =
  // eslint-disable-next-line no-control-regex -- bytes
  /(?:[\x00-\x7f]|[\xc2-\xdf][\x80-\xbf]|\xe0[\xa0-\xbf][\x80-\xbf]|[\xe1-\xec\xee\xef][\x80-\xbf]{2}|\xed[\x80-\x9f][\x80-\xbf]|\xf0[\x90-\xbf][\x80-\xbf]{2}|[\xf1-\xf3][\x80-\xbf]{3}|\xf4[\x80-\x8f][\x80-\xbf]{2})+|[^]/g

const ESCAPE = 0xdc00

export function textOf(bytes: Buffer): string {
  return bytes.toString('latin1').replace(PARTS, (part) => {
    const code = part.charCodeAt(0)
    if (part.length === 1 && code >= 0x80) return String.fromCharCode(ESCAPE + code)
    return Buffer.from(part, 'latin1').toString('utf8')
  })
}

export function bytesOf(text: string): Buffer {
  const parts = text.split(/([\udc80-\udcff])/u)
  return Buffer.concat(
    parts.map((part, index) =>
      index % 2 === 0 ? Buffer.from(part, 'utf8') : Buffer.of(part.charCodeAt(0) - ESCAPE),
    ),
  )
}
