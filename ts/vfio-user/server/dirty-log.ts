// DirtyLog: which pages a device has written to, while a client wants to know. One bit for each page of the ranges that it named.
import { EINVAL, VfioError } from '../../errors.js'
import type { LoggingReport, LoggingStart } from '../protocol/dma-logging.js'

const SYSCALL = 'VFIO_DEVICE_FEATURE_DMA_LOGGING_START'
const LEAST_PAGE = 4096n
/** A log of at most so many pages: 64 MiB of bits. */
const MOST_PAGES = 2n ** 29n

interface LoggedRange {
  readonly iova: bigint
  readonly end: bigint
  readonly bits: Uint8Array
}

export class DirtyLog {
  #pageSize = 0n
  #ranges: readonly LoggedRange[] = []

  get active(): boolean {
    return this.#pageSize !== 0n
  }

  /** @throws VfioError EINVAL while it logs already, and for ranges that overlap or are too large */
  start({ pageSize, ranges }: LoggingStart): void {
    const page = pageSize < LEAST_PAGE ? LEAST_PAGE : pageSize
    const sorted = [...ranges].sort((a, b) => (a.iova < b.iova ? -1 : 1))
    const overlap = sorted.some(({ iova }, i) => {
      const before = sorted[i - 1]
      return before !== undefined && before.iova + before.length > iova
    })
    const pages = sorted.reduce((total, { length }) => total + length / page + 1n, 0n)
    if (this.active || overlap || sorted.length === 0 || pages > MOST_PAGES)
      throw new VfioError(EINVAL, SYSCALL)
    this.#ranges = sorted.map(({ iova, length }) => ({
      iova,
      end: iova + length,
      bits: new Uint8Array(Number((length + page - 1n) / page + 7n) >> 3),
    }))
    this.#pageSize = page
  }

  stop(): void {
    this.#pageSize = 0n
    this.#ranges = []
  }

  /** The device has written there. */
  mark(iova: bigint, length: number): void {
    if (!this.active || length === 0) return
    const end = iova + BigInt(length)
    for (const range of this.#ranges) {
      if (iova >= range.end || end <= range.iova) continue
      const from = iova > range.iova ? iova - range.iova : 0n
      const to = (end < range.end ? end : range.end) - range.iova
      const last = Number((to - 1n) / this.#pageSize)
      for (let page = Number(from / this.#pageSize); page <= last; page++)
        range.bits[page >> 3] = (range.bits[page >> 3] ?? 0) | (1 << (page & 7))
    }
  }

  /** One bit for each page of the report, into `bitmap`; what is reported is forgotten. */
  report({ iova, length, pageSize }: LoggingReport, bitmap: Uint8Array): void {
    const end = iova + length
    for (const range of this.#ranges) {
      for (let page = 0; page < range.bits.length * 8; page++) {
        const byte = range.bits[page >> 3] ?? 0
        if (byte === 0) {
          page |= 7
          continue
        }
        if (((byte >> (page & 7)) & 1) === 0) continue
        const start = range.iova + BigInt(page) * this.#pageSize
        const stop = start + this.#pageSize
        if (start >= end || stop <= iova) continue
        range.bits[page >> 3] = byte & ~(1 << (page & 7))
        const first = Number(((start > iova ? start : iova) - iova) / pageSize)
        const last = Number(((stop < end ? stop : end) - 1n - iova) / pageSize)
        for (let bit = first; bit <= last; bit++)
          bitmap[bit >> 3] = (bitmap[bit >> 3] ?? 0) | (1 << (bit & 7))
      }
    }
  }
}
