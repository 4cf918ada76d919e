// A seeded stream of numbers.

/** xorshift32. */
export class Random {
  #state: number

  constructor(seed: number) {
    this.#state = seed >>> 0 || 1
  }

  /** 0 to 2^32 - 1. */
  next(): number {
    let state = this.#state
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    this.#state = state >>> 0
    return this.#state
  }

  /** A whole number from 0 to below `bound`. */
  below(bound: number): number {
    return this.next() % bound
  }

  chance(probability: number): boolean {
    return this.next() < probability * 2 ** 32
  }

  /** A stream of its own that begins where this one is. */
  fork(): Random {
    return new Random(Math.imul(this.next(), 0x9e37_79b1))
  }

  of<T>(choices: readonly T[]): T {
    return choices[this.below(choices.length)] as T
  }
}
