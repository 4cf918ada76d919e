// Words for people and JSON for programs. It must not know what any command shows.
import { VfioError } from '../errors.js'
import { visibleLength } from './style.js'
import { inWordsOfTheCommand } from './words.js'

/** A failure that is the user's to mend, with nothing more to say than its message. */
export class CliError extends Error {
  /** The exit status. */
  readonly status: number

  constructor(message: string, status = 1) {
    super(message)
    this.status = status
  }
}

export function hex(value: number | bigint, digits = 0): string {
  return `0x${value.toString(16).padStart(digits, '0')}`
}

/** `1234:11e8`. */
export function ids(vendor: number, device: number): string {
  return `${vendor.toString(16).padStart(4, '0')}:${device.toString(16).padStart(4, '0')}`
}

/** Narrower columns of text are worse to read than what the terminal breaks. */
const LEAST_ROOM = 20

const UNITS = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB']

/** `4 KiB`, `100 bytes`: the largest unit that divides it. */
export function byteSize(size: number | bigint): string {
  let rest = BigInt(size)
  let unit = 0
  while (rest !== 0n && rest % 1024n === 0n && unit < UNITS.length - 1) {
    rest /= 1024n
    unit++
  }
  return `${String(rest)} ${UNITS[unit] ?? ''}`
}

/** A text in lines that fit between an indent and the last column. Without columns, and where too few are left, it stays one. */
export function wrapped(text: string, columns: number | null, indent: string): string {
  const room = (columns ?? 0) - indent.length
  if (room < LEAST_ROOM) return indent + text
  const lines: string[] = []
  for (const word of text.split(' ')) {
    const last = lines.at(-1)
    if (last === undefined || last.length + 1 + word.length > room) lines.push(word)
    else lines[lines.length - 1] = `${last} ${word}`
  }
  return lines.map((line) => indent + line).join('\n')
}

export function plural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`
}

export interface TableOptions {
  /** Before each line. */
  readonly indent?: string
  /** Cut lines that are longer; null keeps them whole. */
  readonly width?: number | null
}

/** Shortens a line to a width, its colours kept. */
function cut(line: string, width: number | null): string {
  if (width === null || visibleLength(line) <= width) return line
  let room = width - 1
  // eslint-disable-next-line no-control-regex -- colours take no room
  return line.replace(/(\x1b\[\d+m)|[^]/gu, (each, colour?: string) => {
    if (colour !== undefined) return colour
    return room-- > 0 ? each : room === -1 ? '…' : ''
  })
}

/** Rows in columns as wide as their widest cell. A cell is one line: breaks in it become blanks. */
export function table(rows: readonly (readonly string[])[], options: TableOptions | string = {}): string {
  const { indent = '', width = null } = typeof options === 'string' ? { indent: options } : options
  const lines = rows.map((row) => row.map((cell) => cell.replaceAll('\n', ' ')))
  const widths: number[] = []
  for (const row of lines) {
    row.forEach((cell, column) => (widths[column] = Math.max(widths[column] ?? 0, visibleLength(cell))))
  }
  const pad = (cell: string, column: number): string =>
    cell + ' '.repeat((widths[column] ?? 0) - visibleLength(cell))
  return lines.map((row) => `${cut(`${indent}${row.map(pad).join('  ')}`.trimEnd(), width)}\n`).join('')
}

/** Addresses exceed what a JSON number holds everywhere, so bigints become hexadecimal strings. */
export function json(value: unknown): string {
  const text = JSON.stringify(
    value,
    (_key, each: unknown) => {
      if (typeof each === 'bigint') return hex(each)
      return each instanceof Uint8Array ? [...each] : each
    },
    2,
  )
  return `${text}\n`
}

/** What failed, without a remedy. */
export function failure(error: VfioError): string {
  const { message, remedy } = error
  return remedy === undefined ? message : message.slice(0, -(remedy.length + 2))
}

/** An error as the command line shows it: what failed, and below it what to do. */
export function errorText(error: unknown): string {
  if (!(error instanceof VfioError))
    return `vfio: ${inWordsOfTheCommand(error instanceof Error ? error.message : String(error))}\n`
  const { remedy } = error
  return `vfio: ${failure(error)}\n${remedy === undefined ? '' : `  ${inWordsOfTheCommand(remedy)}\n`}`
}
