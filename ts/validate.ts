// Checks of arguments, with the bound in the message. Every public method uses them before any kernel call.

/** A name with its article. */
function one(name: string): string {
  return `${/^[AEIO]/i.test(name) ? 'an' : 'a'} ${name}`
}

/** What an object is, by its class. */
function kindOf(value: object): string {
  if (Array.isArray(value)) return `an array of ${String(value.length)}`
  const { constructor } = value as { constructor?: unknown }
  return typeof constructor !== 'function' || constructor === Object || constructor.name === ''
    ? 'an object'
    : one(constructor.name)
}

/** A value in a message. */
export function shown(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value)
  if (typeof value === 'bigint') return `${String(value)}n`
  if (typeof value === 'object' && value !== null) return kindOf(value)
  if (typeof value === 'function') return one('function')
  return String(value)
}

/** The bounds of a whole number, as a message has them. */
function bounds(least: number, most: number): string {
  return least === most ? String(least) : `a whole number from ${String(least)} to ${String(most)}`
}

/** A whole number within [least, most]. */
export function integer(value: unknown, name: string, least: number, most: number): number {
  if (typeof value !== 'number') throw new TypeError(`${name} must be a number, not ${shown(value)}`)
  if (!Number.isInteger(value) || value < least || value > most) {
    throw new RangeError(
      least > most
        ? `${name} cannot be ${shown(value)}, nor anything else: there is none here`
        : `${name} must be ${bounds(least, most)}, not ${shown(value)}`,
    )
  }
  return value
}

/** A bigint within [least, most]. */
export function bigint(value: unknown, name: string, least: bigint, most: bigint): bigint {
  if (typeof value !== 'bigint') throw new TypeError(`${name} must be a bigint, not ${shown(value)}`)
  if (value < least || value > most) {
    throw new RangeError(`${name} must be from ${shown(least)} to ${shown(most)}, not ${shown(value)}`)
  }
  return value
}

export function boolean(value: unknown, name: string): boolean {
  if (typeof value !== 'boolean') throw new TypeError(`${name} must be a boolean, not ${shown(value)}`)
  return value
}

export function string(value: unknown, name: string): string {
  if (typeof value !== 'string') throw new TypeError(`${name} must be a string, not ${shown(value)}`)
  if (value.includes('\0')) throw new TypeError(`${name} must not contain a NUL character`)
  return value
}

export function callable<T>(value: T, name: string): T {
  if (typeof value !== 'function') throw new TypeError(`${name} must be a function, not ${shown(value)}`)
  return value
}

/** An object, whose members are still to be checked. */
export function object<T extends object>(value: T, name: string): T {
  if (typeof value !== 'object' || (value as unknown) === null) {
    throw new TypeError(`${name} must be an object, not ${shown(value)}`)
  }
  return value
}

/** An options object, or nothing. */
export function options<T extends object>(value: T | undefined, name: string): Partial<T> {
  return value === undefined ? {} : object(value, name)
}

/** An array, whose members are still to be checked. */
export function array<T>(value: readonly T[], name: string): readonly T[] {
  const matches: boolean = Array.isArray(value)
  if (!matches) throw new TypeError(`${name} must be an array, not ${shown(value)}`)
  return value
}

/** An instance of a class; `called` is what a caller knows it by. */
export function instance<T>(
  value: unknown,
  type: { readonly prototype: T; readonly name: string },
  name: string,
  called: string = type.name,
): T {
  // Written so, because constructors here may be private, which no constructor type admits.
  const matches = typeof type === 'function' && value instanceof type
  if (matches) return value as T
  const plain =
    typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype
  // What a structured clone makes of an object with private members has none of them.
  const posted =
    plain && 'claim' in type
      ? `; if a Worker posted it, post ${type.name}.share() there and ${type.name}.claim() it here`
      : ''
  throw new TypeError(`${name} must be ${one(called)}, not ${shown(value)}${posted}`)
}

/** What a constructor that is not public was given. TypeScript refuses `new` there; whoever writes JavaScript is told. */
export function internal<T>(value: T, name: string, instead: string): T {
  if ((value as unknown) === undefined)
    throw new TypeError(`${name} has no public constructor: call ${instead}`)
  return value
}

/** Refuses members that nothing reads, which are misspelt. */
export function onlyNamed(value: object, name: string, names: readonly string[]): void {
  const unknown = Object.keys(value).find((key) => !names.includes(key))
  if (unknown !== undefined) throw new TypeError(`${name} has no ${unknown}; it has ${names.join(', ')}`)
}

/** One of a few strings. */
export function oneOf<T extends string>(value: unknown, name: string, choices: readonly T[]): T {
  if (!choices.includes(value as T)) {
    throw new TypeError(`${name} must be one of ${choices.join(', ')}, not ${shown(value)}`)
  }
  return value as T
}

/** The bytes of a view. */
export function bytes(value: unknown, name: string): Uint8Array {
  if (!ArrayBuffer.isView(value))
    throw new TypeError(`${name} must be a typed array, DataView or Buffer, not ${shown(value)}`)
  try {
    return new Uint8Array(value.buffer, value.byteOffset, value.byteLength)
  } catch {
    // Its length reads as zero then; a buffer that is empty from the start is no mistake.
    throw new TypeError(`${name} is a view of an ArrayBuffer that was detached`)
  }
}

export const MAX_U64 = 0xffff_ffff_ffff_ffffn
