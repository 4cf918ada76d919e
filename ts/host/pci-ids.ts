// Names of PCI vendors and devices out of the system's pci.ids. It must not know what else a device is.

import { readFileSync } from 'node:fs'

/** The names of one device, null where pci.ids is absent or does not know it. */
export interface PciNames {
  readonly vendor: string | null
  readonly device: string | null
}

const id = (value: number): string => value.toString(16).padStart(4, '0')

/** What follows `prefix` on the line that starts with it. */
function lineAfter(text: string, prefix: string): string | null {
  const found = text.indexOf(`\n${prefix}  `)
  if (found < 0) return null
  const start = found + prefix.length + 3
  const end = text.indexOf('\n', start)
  return text.slice(start, end < 0 ? undefined : end).trim()
}

/** Loaded here alone: it takes longer to load than all else of this folder. */
const uncompressed = (bytes: Buffer): Buffer => process.getBuiltinModule('node:zlib').gunzipSync(bytes)
const isCompressed = (bytes: Buffer): boolean => bytes[0] === 0x1f && bytes[1] === 0x8b

/** Looks names up in the text of a pci.ids; each vendor's part is found once. */
export class PciIds {
  readonly #text: string
  readonly #parts = new Map<number, string>()

  constructor(text: string) {
    this.#text = `\n${text}`
  }

  /** Reads the first of `paths` that is there, plain or compressed; where none is, no names are known. */
  static read(paths: readonly string[]): PciIds {
    for (const path of paths.flatMap((each) => [each, `${each}.gz`])) {
      try {
        const bytes = readFileSync(path)
        return new PciIds((isCompressed(bytes) ? uncompressed(bytes) : bytes).toString('utf8'))
      } catch {
        // The next one, then.
      }
    }
    return new PciIds('')
  }

  /** The lines of a vendor: they end where the next line starts with a digit. */
  #part(vendor: number): string {
    const known = this.#parts.get(vendor)
    if (known !== undefined) return known
    const start = this.#text.indexOf(`\n${id(vendor)}  `)
    let end = start < 0 ? 0 : start + 1
    while (start >= 0) {
      const next = this.#text.indexOf('\n', end)
      end = next < 0 ? this.#text.length : next + 1
      if (next < 0 || !/[\t#]/.test(this.#text.charAt(end))) break
    }
    const part = start < 0 ? '' : this.#text.slice(start, end)
    this.#parts.set(vendor, part)
    return part
  }

  names(vendor: number, device: number): PciNames {
    const part = this.#part(vendor)
    return { vendor: lineAfter(part, id(vendor)), device: lineAfter(part, `\t${id(device)}`) }
  }
}
