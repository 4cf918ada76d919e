// A histogram of times: buckets whose width grows with their value, so that each is known to a thousandth, or as well as is
// wanted, from nanoseconds to hours, in little memory.

const BITS = 10

/** The first value of each bucket that was hit, and how many fell into it, in the order of their values. */
export type Buckets = readonly (readonly [value: number, count: number])[]

export class Histogram {
  readonly #counts = new Map<number, number>()
  readonly #bits: number
  #total = 0

  /** @param bits how many bits of a value are kept */
  constructor(bits = BITS) {
    this.#bits = bits
  }

  /** @param values 0 or more, whole or not */
  static of(values: Iterable<number>): Histogram {
    const histogram = new Histogram()
    for (const value of values) histogram.record(value)
    return histogram
  }

  record(value: number, times = 1): void {
    const bucket = bucketOf(value, this.#bits)
    this.#counts.set(bucket, (this.#counts.get(bucket) ?? 0) + times)
    this.#total += times
  }

  add(other: Histogram): void {
    for (const [value, count] of other.buckets) this.record(value, count)
  }

  get total(): number {
    return this.#total
  }

  get buckets(): Buckets {
    return [...this.#counts].sort(([a], [b]) => a - b)
  }

  /** The value that so many of all, from 0 to 1, do not exceed; NaN for none. */
  quantile(at: number): number {
    const wanted = Math.max(1, Math.ceil(at * this.#total))
    let seen = 0
    for (const [value, count] of this.buckets) {
      seen += count
      if (seen >= wanted) return value
    }
    return Number.NaN
  }
}

/** Small ones are kept as they are. */
function bucketOf(value: number, bits: number): number {
  if (value < 2 ** bits) return Math.round(value)
  const width = 2 ** (Math.floor(Math.log2(value)) - bits)
  return Math.round(value / width) * width
}
