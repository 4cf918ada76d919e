// Draws what was decoded as a tree: any object of plain fields, so that a decoder's new field shows without a word here.
import { byteSize, hex } from './format.js'
import type { Style } from './style.js'

/** A line, and what hangs below it. */
export interface Node {
  readonly text: string
  readonly children?: readonly Node[]
}

/** The lines of a forest; the roots have no branches before them. */
export function drawTree(roots: readonly Node[], style: Style): string {
  const lines: string[] = []
  const draw = ({ text, children = [] }: Node, before: string, branch: string, below: string): void => {
    lines.push(`${style.dim(before + branch)}${text}\n`)
    children.forEach((child, index) => {
      const last = index === children.length - 1
      draw(child, before + below, last ? '└─ ' : '├─ ', last ? '   ' : '│  ')
    })
  }
  for (const root of roots) draw(root, '', '', '')
  return lines.join('')
}

/** `maxReadRequest` -> `max read request`. */
export function words(name: string): string {
  return name
    .replace(/([a-z])([A-Z])|([a-z]{2})(?=[0-9])/g, '$1$3 $2')
    .replace(/([0-9])([A-Z])/g, '$1 $2')
    .toLowerCase()
}

/** Bits of the status and mask words of Advanced Error Reporting (PCI_ERR_UNC_*, PCI_ERR_COR_*). */
const UNCORRECTABLE: Readonly<Record<number, string>> = {
  4: 'data link protocol',
  5: 'surprise down',
  12: 'poisoned TLP',
  13: 'flow control protocol',
  14: 'completion timeout',
  15: 'completer abort',
  16: 'unexpected completion',
  17: 'receiver overflow',
  18: 'malformed TLP',
  19: 'ECRC',
  20: 'unsupported request',
  21: 'ACS violation',
  22: 'internal',
  23: 'multicast blocked TLP',
  24: 'AtomicOp egress blocked',
  25: 'TLP prefix blocked',
  26: 'poisoned TLP egress blocked',
}
const CORRECTABLE: Readonly<Record<number, string>> = {
  0: 'receiver',
  6: 'bad TLP',
  7: 'bad DLLP',
  8: 'replay rollover',
  12: 'replay timeout',
  13: 'advisory non-fatal',
  14: 'internal',
  15: 'header log overflow',
}

const bitNames =
  (names: Readonly<Record<number, string>>) =>
  (value: number | bigint): string => {
    const set = Object.entries(names).flatMap(([bit, name]) =>
      ((BigInt(value) >> BigInt(bit)) & 1n) === 1n ? [name] : [],
    )
    return set.length === 0 ? hex(value, 8) : `${hex(value, 8)} (${set.join(', ')})`
  }

/** Fields whose number is more than a number, by name. */
const UNITS: Readonly<Record<string, (value: number | bigint) => string>> = {
  address: (value) => hex(value),
  cacheLineSize: byteSize,
  data: (value) => hex(value, 4),
  correctableMask: bitNames(CORRECTABLE),
  correctableStatus: bitNames(CORRECTABLE),
  deviceId: (value) => hex(value, 4),
  dvsecId: (value) => hex(value, 4),
  length: (value) => byteSize(value),
  mask: (value) => hex(value, 8),
  maxPayload: byteSize,
  maxReadRequest: byteSize,
  maxSpeed: (value) => `${value} GT/s`,
  maxWidth: (value) => `x${value}`,
  offset: (value) => hex(value),
  pending: (value) => hex(value, 8),
  serialNumber: (value) =>
    value
      .toString(16)
      .padStart(16, '0')
      .replace(/(..)(?=.)/g, '$1-'),
  size: byteSize,
  smallestTranslationUnit: byteSize,
  speed: (value) => `${value} GT/s`,
  supportedPageSizes: byteSize,
  supportedSizes: byteSize,
  systemPageSize: byteSize,
  uncorrectableMask: bitNames(UNCORRECTABLE),
  uncorrectableSeverity: bitNames(UNCORRECTABLE),
  uncorrectableStatus: bitNames(UNCORRECTABLE),
  vendorId: (value) => hex(value, 4),
  vfDeviceId: (value) => hex(value, 4),
  vsecId: (value) => hex(value, 4),
}

function valueText(name: string, value: unknown): string {
  if (value === null) return 'unknown'
  if (typeof value === 'number' || typeof value === 'bigint') return UNITS[name]?.(value) ?? String(value)
  return typeof value === 'string' ? value : JSON.stringify(value)
}

const isObject = (value: unknown): value is object => typeof value === 'object' && value !== null

/**
 * The fields of an object as lines: first a line of all that is on or off, then a line for each value, then what is an
 * object itself.
 * @param left names of fields that are shown elsewhere
 */
export function fields(object: object, style: Style, left: readonly string[] = []): Node[] {
  const entries: [string, unknown][] = Object.entries(object).filter(([name]) => !left.includes(name))
  const flags = entries.filter((entry): entry is [string, boolean] => typeof entry[1] === 'boolean')
  const plain: Node[] = []
  const nested: Node[] = []
  for (const [name, value] of entries) {
    if (typeof value === 'boolean') continue
    if (Array.isArray(value)) {
      const items: readonly unknown[] = value
      if (items.some(isObject)) {
        const children = items.filter(isObject).map((item) => ({ text: summary(item, style) }))
        nested.push({ text: words(name), children })
      } else if (items.length > 0)
        plain.push({ text: `${words(name)}: ${items.map((item) => valueText(name, item)).join(', ')}` })
    } else if (isObject(value)) {
      if (isShort(value)) plain.push({ text: `${words(name)}: ${summary(value, style)}` })
      else nested.push({ text: words(name), children: fields(value, style) })
    } else if (value !== null) plain.push({ text: `${words(name)}: ${valueText(name, value)}` })
  }
  const first = flags.length === 0 ? [] : [{ text: flags.map((flag) => flagText(flag, style)).join('  ') }]
  return [...first, ...plain, ...nested]
}

const FITS_A_LINE = 4

/** A handful of numbers and words, such as where a table is. */
function isShort(object: object): boolean {
  const values: unknown[] = Object.values(object)
  return values.length <= FITS_A_LINE && values.every((each) => !isObject(each) && typeof each !== 'boolean')
}

/** As lspci has it: a plus for what is on, a minus for what is off. */
function flagText([name, on]: [string, boolean], style: Style): string {
  return on ? style.good(`${words(name)}+`) : style.dim(`${words(name)}-`)
}

/** An object on one line. */
function summary(object: object, style: Style): string {
  return Object.entries(object)
    .map(([name, value]: [string, unknown]) => {
      if (typeof value === 'boolean') return flagText([name, value], style)
      if (Array.isArray(value))
        return `${words(name)} ${value.map((item) => valueText(name, item)).join(', ')}`
      return `${words(name)} ${valueText(name, value)}`
    })
    .join('  ')
}
