// Configuration spaces for tests: read from text as lspci -xxxx prints it, and strict about how it is
// accessed. It must not decode anything.

import type { ConfigSpace } from '../../../ts/pci/config-space.js'

/**
 * Bytes as a configuration space. An access that is misaligned or out of bounds throws, so that a test fails
 * when a decoder makes one.
 */
export class BufferConfig implements ConfigSpace {
  readonly size: number
  readonly #view: DataView

  constructor(bytes: Uint8Array) {
    this.size = bytes.length
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  #check(offset: number, width: number): number {
    if (!Number.isInteger(offset) || offset % width !== 0 || offset < 0 || offset + width > this.size) {
      throw new RangeError(`access of ${width} bytes at ${offset} of ${this.size}`)
    }
    return offset
  }

  read8(offset: number): number {
    return this.#view.getUint8(this.#check(offset, 1))
  }

  read16(offset: number): number {
    return this.#view.getUint16(this.#check(offset, 2), true)
  }

  read32(offset: number): number {
    return this.#view.getUint32(this.#check(offset, 4), true)
  }

  write8(offset: number, value: number): void {
    this.#view.setUint8(this.#check(offset, 1), value)
  }

  write16(offset: number, value: number): void {
    this.#view.setUint16(this.#check(offset, 2), value, true)
  }

  write32(offset: number, value: number): void {
    this.#view.setUint32(this.#check(offset, 4), value, true)
  }
}

/** Reads lines of `offset: byte byte ...`, in hexadecimal; lines that are left out are zeros. */
export function parseDump(size: number, text: string): BufferConfig {
  const bytes = new Uint8Array(size)
  for (const line of text.trim().split('\n')) {
    const [offset = '', values = ''] = line.trim().split(': ')
    const start = Number.parseInt(offset, 16)
    bytes.set(
      values.split(' ').map((value) => Number.parseInt(value, 16)),
      start,
    )
  }
  return new BufferConfig(bytes)
}

/** QEMU's edu: conventional, one 1 MiB BAR, MSI with one 64-bit vector, INTA. */
export const EDU = `
00: 34 12 e8 11 03 01 10 00 10 00 ff 00 00 00 00 00
10: 00 00 e0 fe 00 00 00 00 00 00 00 00 00 00 00 00
20: 00 00 00 00 00 00 00 00 00 00 00 00 f4 1a 00 11
30: 00 00 00 00 40 00 00 00 00 00 00 00 0b 01 00 00
40: 05 00 80 00 00 00 00 00 00 00 00 00 00 00 00 00
`

/** QEMU's e1000e (82574L): PM, MSI, MSI-X with five vectors in BAR 3, PCI Express, AER, serial number. */
export const E1000E = `
00: 86 80 d3 10 07 05 10 00 00 00 00 02 10 00 00 00
10: 00 00 84 fe 00 00 86 fe 81 c0 00 00 00 00 88 fe
20: 00 00 00 00 00 00 00 00 00 00 00 00 86 80 00 00
30: 01 00 80 fe c8 00 00 00 00 00 00 00 0a 01 00 00
a0: 11 00 04 80 03 00 00 00 03 20 00 00 00 00 00 00
c0: 00 00 00 00 00 00 00 00 01 d0 22 c8 08 20 00 00
d0: 05 e0 80 00 00 00 00 00 00 00 00 00 00 00 00 00
e0: 10 a0 01 00 c0 8c 00 00 10 28 01 00 11 1c 03 00
f0: 40 00 11 10 00 00 00 00 00 00 00 00 00 00 00 00
100: 01 00 01 14 00 00 10 00 00 00 40 00 30 20 06 00
110: 01 20 00 00 00 20 00 00 b4 00 00 00 00 00 00 00
140: 03 00 01 00 56 34 12 ff ff 00 54 52 00 00 00 00
`

/** QEMU's nvme: a 64-bit BAR, MSI-X with 65 vectors, PCI Express with Function Level Reset, PM. */
export const NVME = `
00: 36 1b 10 00 06 00 10 00 02 02 08 01 00 00 00 00
10: 04 00 00 00 38 00 00 00 00 00 00 00 00 00 00 00
20: 00 00 00 00 00 00 00 00 00 00 00 00 f4 1a 00 11
30: 00 00 00 00 40 00 00 00 00 00 00 00 0b 01 00 00
40: 11 80 40 00 00 20 00 00 00 30 00 00 00 00 00 00
60: 01 00 03 00 0b 00 00 00 00 00 00 00 00 00 00 00
80: 10 60 02 00 00 80 00 10 10 50 00 00 11 00 40 00
90: 00 00 11 00 00 00 00 00 00 00 00 00 00 00 00 00
a0: 00 00 00 00 10 01 00 00 00 00 00 00 00 00 00 00
`

/**
 * A discrete GPU that is a physical function: Intel's Flex 170, 31 virtual functions. Order of the extended
 * list: vendor-specific, AER, ATS, ARI, PASID, PRI, SR-IOV, resizable BAR, ACS, DVSEC, Device 3.
 */
export const GPU = `
00: 86 80 c0 56 06 04 10 00 08 00 80 03 10 00 80 00
10: 04 00 00 a0 00 00 00 00 0c 00 00 00 80 20 00 00
20: 00 00 00 00 00 00 00 00 00 00 00 00 86 80 05 49
30: 00 00 00 00 40 00 00 00 00 00 00 00 ff 00 00 00
40: 09 70 0c 01 00 00 00 00 00 00 00 00 00 00 00 00
70: 10 ac 02 00 20 80 00 10 3f 29 05 00 04 c1 44 00
80: 02 00 03 11 00 00 00 00 00 00 00 00 00 00 00 00
90: 00 00 00 00 b0 03 00 00 40 00 00 00 00 00 00 00
ac: 05 d0 89 01 0c 00 e0 fe 00 00 00 00 22 40 00 00
bc: 01 00 00 00 01 00 00 00
d0: 01 e0 23 48 03 01 00 00 00 00 00 00 00 00 00 00
e0: 13 00 06 03 00 01 00 00 00 00 00 00 00 00 00 00
100: 0b 00 01 14 34 12 c1 00 00 00 00 00 00 00 00 00
140: 01 00 02 20 00 00 10 00 00 00 00 00 30 20 46 00
150: 00 20 00 00 00 20 00 00 14 00 00 00 00 00 00 00
200: 0f 00 01 21 20 00 00 80 00 00 00 00 00 00 00 00
210: 0e 00 01 22 00 01 00 00 00 00 00 00 00 00 00 00
220: 1b 00 01 23 06 14 01 00 00 00 00 00 00 00 00 00
230: 13 00 01 32 01 00 00 81 00 01 00 00 40 00 00 00
320: 10 00 01 42 01 00 00 00 19 00 00 00 1f 00 1f 00
330: 02 00 00 00 02 00 01 00 00 00 c1 56 53 05 00 00
340: 01 00 00 00 04 00 00 b0 20 20 00 00 0c 00 00 00
350: 90 20 00 00 00 00 00 00 00 00 00 00 00 00 00 00
420: 15 00 01 44 00 f0 07 00 22 0e 00 00 00 00 00 00
440: 0d 00 01 45 5f 00 1d 00 00 00 00 00 00 00 00 00
450: 23 00 01 46 98 1e c1 03 08 00 00 00 00 00 00 00
460: 2f 00 01 00 00 00 00 00 00 00 00 00 00 00 00 00
`
