// Values that do something when they are looked at, and handlers that do something when they are called: getters, proxies,
// conversions, iterators, functions. What they do is one call of `act`; it must not know what that is.
import type { Random } from './random.js'

/** What a handler of the fuzzer's throws, on purpose: one of the errors that may come out of a call. */
export class Thrown extends TypeError {}

/** Calls inside a call, inside a call. */
const DEEPEST = 2
/** How often one value does something: a handler that adds itself anew would never come to an end. */
const TIMES = 3

type Key = string | symbol

export class Effects {
  readonly #random: Random
  readonly #act: (random: Random) => void
  #depth = 0

  /** @param act gets a stream of its own, so that handlers which run at any time leave the others' as they are */
  constructor(random: Random, act: (random: Random) => void) {
    this.#random = random
    this.#act = act
  }

  /** Something to run when the moment comes. */
  #effect(): () => void {
    const own = this.#random.fork()
    let left = 1 + this.#random.below(TIMES)
    return () => {
      if (left <= 0 || this.#depth >= DEEPEST) return
      left--
      this.#depth++
      try {
        this.#act(own)
      } finally {
        this.#depth--
      }
      if (own.chance(0.05)) throw new Thrown('a handler of the fuzzer throws')
    }
  }

  /** A handler: acts, and gives what it was told to give. */
  handler(result?: unknown): (...args: unknown[]) => unknown {
    const effect = this.#effect()
    return () => {
      effect()
      return result
    }
  }

  /** The same object with some of its properties as getters; some of those give another value the second time. */
  getters<T extends object>(object: T, steady: (key: string) => boolean): T {
    for (const key of Object.keys(object)) {
      if (steady(key) || !this.#random.chance(0.5)) continue
      const effect = this.#effect()
      const box = { value: Reflect.get(object, key) as unknown }
      const fickle = this.#random.chance(0.2)
      Object.defineProperty(object, key, {
        configurable: true,
        enumerable: true,
        get: () => {
          effect()
          const { value } = box
          if (fickle) box.value = undefined
          return value
        },
        set: (value: unknown) => {
          box.value = value
        },
      })
    }
    return object
  }

  /** Seen through a proxy that acts on every look. */
  proxy<T extends object>(object: T): T {
    const effect = this.#effect()
    return new Proxy(object, {
      get: (target, key: Key) => {
        effect()
        // As the object itself, whose private fields a proxy does not have.
        const value: unknown = Reflect.get(target, key)
        return typeof value === 'function' ? (value.bind(target) as unknown) : value
      },
      has: (target, key) => {
        effect()
        return Reflect.has(target, key)
      },
      ownKeys: (target) => {
        effect()
        return Reflect.ownKeys(target)
      },
      getPrototypeOf: (target) => {
        effect()
        return Reflect.getPrototypeOf(target)
      },
    })
  }

  /** No number, but becomes one. */
  convertible(value: number | bigint | string): object {
    const effect = this.#effect()
    const convert = () => {
      effect()
      return value
    }
    return this.#random.of<object>([
      { valueOf: convert },
      { toString: () => String(convert()) },
      { [Symbol.toPrimitive]: convert },
    ])
  }

  /** Goes over values, and acts before each. */
  *iterator(values: readonly unknown[]): Generator {
    const effect = this.#effect()
    for (const value of values) {
      effect()
      yield value
    }
  }
}
