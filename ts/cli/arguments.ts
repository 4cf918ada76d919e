// Arguments and options that several commands take, and how their texts are read.
import { Argument, InvalidArgumentError, Option } from 'commander'
import type { PciIrqName } from '../device/interrupts.js'
import type { PciRegionName } from '../device/region.js'
import { socketOf } from './socket-name.js'

export const IRQ_NAMES: readonly PciIrqName[] = ['intx', 'msi', 'msix', 'err', 'req']
export const REGION_NAMES: readonly string[] = [
  'bar0',
  'bar1',
  'bar2',
  'bar3',
  'bar4',
  'bar5',
  'rom',
  'config',
  'vga',
]
const WIDTHS = ['1', '2', '4', '8']

export function bigNumber(text: string): bigint {
  if (!/^(0x[0-9a-f]+|\d+)$/i.test(text))
    throw new InvalidArgumentError('It must be a number such as 16 or 0x10.')
  return BigInt(text)
}

export function number(text: string): number {
  const value = Number(bigNumber(text))
  if (!Number.isSafeInteger(value)) throw new InvalidArgumentError('It is too large.')
  return value
}

export function positive(text: string): number {
  const value = number(text)
  if (value === 0) throw new InvalidArgumentError('It must be at least 1.')
  return value
}

/** Seconds, such as 0.5, from a millisecond to a day. */
export function seconds(text: string): number {
  const value = /^\d+(\.\d+)?$/.test(text) ? Number(text) : Number.NaN
  if (!(value >= 0.001 && value <= 86_400))
    throw new InvalidArgumentError('It must be a number of seconds from 0.001 to 86400.')
  return value
}

function regionName(text: string): PciRegionName | number {
  if (REGION_NAMES.includes(text)) return text as PciRegionName
  if (/^\d+$/.test(text)) return Number(text)
  throw new InvalidArgumentError(`It must be one of ${REGION_NAMES.join(', ')}, or a number.`)
}

export const device = (): Argument =>
  new Argument(
    '<device>',
    'a PCI address, the UUID of an mdev, a path in sysfs, or user:PATH for a vfio-user socket',
  )
function socket(text: string, before: string[] | undefined): string[] {
  if (socketOf(text) === null)
    throw new InvalidArgumentError('It must be user:PATH. Without one, every device of the host is listed.')
  return [...(before ?? []), text]
}

/** Devices that processes serve, any number of them. */
export const sockets = (): Argument =>
  new Argument('[sockets...]', 'user:PATH for a device on a vfio-user socket, instead of those of the host')
    .argParser<string[]>(socket)
    .default([])
export const region = (): Argument =>
  new Argument('<region>', `${REGION_NAMES.join(', ')}, or a number`).argParser(regionName)
export const offset = (): Argument =>
  new Argument('<offset>', 'bytes from the start of the region').argParser(number)
export const width = (): Option => new Option('--width <bytes>', 'width of the access').choices(WIDTHS)
export const jsonOption = (): Option => new Option('--json', 'print JSON; docs/cli.md describes the schema')

/** For the end of a command's help: what to type, and what it does. */
export function examples(...lines: readonly (readonly [command: string, what: string])[]): string {
  const widest = Math.max(...lines.map(([command]) => command.length))
  return `\nExamples:\n${lines.map(([command, what]) => `  ${command.padEnd(widest)}  ${what}`).join('\n')}`
}

export const RESETS =
  '\nThe command opens the device, which resets it if it can be reset, and closes it at the end.'
