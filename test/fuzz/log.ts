// The calls that were made: the last ones for a failure, and, in a file, for a process that crashes. A call is on the disk
// before it is made.
import { closeSync, ftruncateSync, openSync, writeSync } from 'node:fs'
import { createHash } from 'node:crypto'
import { types } from 'node:util'

import { CLASSES } from './kinds.js'

const KEPT = 25
const LINES_IN_FILE = 2000
const LONGEST = 100

/** Short, and without looking into objects: a look may do something, and takes longer than most calls. */
export function brief(value: unknown): string {
  switch (typeof value) {
    case 'string':
      return JSON.stringify(value.length > 30 ? `${value.slice(0, 30)}...` : value)
    case 'bigint':
      return `${value}n`
    case 'function':
      return 'a function'
    case 'symbol':
      return 'a symbol'
    case 'object':
      return value === null ? 'null' : briefObject(value)
    default:
      return Object.is(value, -0) ? '-0' : String(value)
  }
}

function briefObject(value: object): string {
  if (types.isProxy(value)) return 'a proxy'
  const tag = Object.prototype.toString.call(value).slice(8, -1)
  if (Array.isArray(value)) return `[${value.length}]`
  if (ArrayBuffer.isView(value)) return `${tag}(${value.byteLength})`
  const kind = kindOf(value)
  if (kind !== undefined) return kind
  if (tag !== 'Object') return tag
  const fields = Object.entries(Object.getOwnPropertyDescriptors(value)).map(([key, property]) => {
    if (property.get !== undefined) return `get ${key}`
    const { value: content } = property as { value?: unknown }
    return typeof content === 'object' && content !== null ? key : `${key}: ${brief(content)}`
  })
  return `{ ${fields.join(', ')} }`
}

function kindOf(value: object): string | undefined {
  const { name } =
    (Object.getPrototypeOf(value) as { constructor?: { name?: string } } | null)?.constructor ?? {}
  return name !== undefined && CLASSES.has(name) ? name : undefined
}

export class Log {
  readonly #file: number | null
  readonly #hash = createHash('sha1')
  readonly #recent: string[] = []
  #lines = 0

  constructor(path: string | undefined) {
    this.#file = path === undefined ? null : openSync(path, 'a')
  }

  /** Calls so far. */
  get lines(): number {
    return this.#lines
  }

  get recent(): readonly string[] {
    return this.#recent
  }

  note(text: string): void {
    this.#lines++
    // The tree is another one each time.
    this.#hash.update(text.replaceAll(/fuzz-host-\w+/g, 'tree'))
    this.#recent.push(text)
    if (this.#recent.length > KEPT) this.#recent.shift()
    if (this.#file === null) return
    if (this.#lines % LINES_IN_FILE === 0) ftruncateSync(this.#file, 0)
    writeSync(this.#file, `${text}\n`)
  }

  /** A number for all calls, the same for the same ones. */
  digest(): string {
    return this.#hash.copy().digest('hex').slice(0, 12)
  }

  close(): void {
    if (this.#file !== null) closeSync(this.#file)
  }
}

export function briefArguments(args: readonly unknown[]): string {
  return args
    .map(brief)
    .map((text) => (text.length > LONGEST ? `${text.slice(0, LONGEST)}...` : text))
    .join(', ')
}
