// `vfio dump`: a region or a part of it, as hexadecimal or raw into a file.
import { createWriteStream, type WriteStream } from 'node:fs'
import { once } from 'node:events'
import type { PciRegionName, Region } from '../device/region.js'
import type { CliContext } from './context.js'
import { byteSize, CliError, json } from './format.js'
import { WRONG_ARGUMENTS } from './given.js'
import type { DumpOutput } from './output.js'
import { ACCESS, type Width, withRegion } from './register.js'

export interface DumpOptions {
  readonly region: PciRegionName | number
  /** Bytes from the region's start (default 0). */
  readonly offset?: number
  /** Bytes (default: up to the region's end). */
  readonly length?: number
  readonly width?: Width
  /** A file for the bytes, `-` for standard output. */
  readonly raw?: string
  readonly json?: boolean
}

/** Reads of these have no side effects, whatever their width. */
const HARMLESS = ['config', 'rom']
const CHUNK = 65_536
const ROW = 16

interface Range {
  readonly offset: number
  readonly length: number
}

function rangeOf(region: Region, { offset = 0, length = region.size - offset }: DumpOptions): Range {
  if (offset >= region.size || length < 1 || offset + length > region.size)
    throw new CliError(
      `offset and length must be within the ${byteSize(region.size)} of ${region.name}`,
      WRONG_ARGUMENTS,
    )
  return { offset, length }
}

function checkWidth(region: Region, { width }: DumpOptions, { offset, length }: Range): void {
  if (width === undefined) {
    if (region.memoryLike || HARMLESS.includes(region.name)) return
    throw new CliError(
      `${region.name} contains registers: reading can have side effects and depends on the width; choose one with --width`,
    )
  }
  if (offset % width !== 0 || length % width !== 0)
    throw new CliError(`offset and length must be multiples of the width, ${width} bytes`, WRONG_ARGUMENTS)
}

/** The bytes of a part of the region, as they stand in memory. */
function readChunk(region: Region, offset: number, length: number, width: Width | undefined): Uint8Array {
  const bytes = new Uint8Array(length)
  if (width === undefined) {
    region.read(offset, bytes)
    return bytes
  }
  const view = new DataView(bytes.buffer)
  for (let at = 0; at < length; at += width) {
    const value = BigInt(ACCESS[width].read(region, offset + at))
    for (let byte = 0; byte < width; byte++)
      view.setUint8(at + byte, Number((value >> BigInt(8 * byte)) & 0xffn))
  }
  return bytes
}

function* chunks(region: Region, range: Range, width: Width | undefined): Generator<[number, Uint8Array]> {
  const end = range.offset + range.length
  for (let at = range.offset; at < end; at += CHUNK)
    yield [at, readChunk(region, at, Math.min(CHUNK, end - at), width)]
}

const hexByte = (byte: number): string => byte.toString(16).padStart(2, '0')

function cells(row: Uint8Array, width: Width | undefined): string {
  const step = width ?? 1
  const words: string[] = []
  for (let at = 0; at < row.length; at += step)
    words.push([...row.subarray(at, at + step)].reverse().map(hexByte).join(''))
  return words.join(' ')
}

function printable(row: Uint8Array): string {
  return [...row].map((byte) => (byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : '.')).join('')
}

/** Rows of 16 bytes; those that repeat the one before are one `*`, as hexdump has it. */
function printHex(context: CliContext, region: Region, range: Range, width: Width | undefined): void {
  const digits = Math.max(4, (range.offset + range.length).toString(16).length)
  const widest = cells(new Uint8Array(ROW), width).length
  let before = ''
  let starred = false
  for (const [start, bytes] of chunks(region, range, width)) {
    const lines: string[] = []
    for (let at = 0; at < bytes.length; at += ROW) {
      const row = bytes.subarray(at, at + ROW)
      const text = `${cells(row, width).padEnd(widest)}  |${printable(row)}|`
      const last = start + at + ROW >= range.offset + range.length
      if (text === before && !last) {
        if (!starred) lines.push('*\n')
        starred = true
        continue
      }
      before = text
      starred = false
      lines.push(`${(start + at).toString(16).padStart(digits, '0')}  ${text}\n`)
    }
    context.out(lines.join(''))
  }
}

async function writeAll(
  file: WriteStream,
  region: Region,
  range: Range,
  width: Width | undefined,
): Promise<void> {
  for (const [, bytes] of chunks(region, range, width)) if (!file.write(bytes)) await once(file, 'drain')
  file.end()
  await once(file, 'finish')
}

export async function dump(context: CliContext, id: string, options: DumpOptions): Promise<void> {
  const { width, raw } = options
  await withRegion(context, id, options.region, async (region) => {
    const range = rangeOf(region, options)
    checkWidth(region, options, range)
    if (raw === '-') {
      for (const [, bytes] of chunks(region, range, width)) context.outBytes(bytes)
    } else if (raw !== undefined) {
      const file = createWriteStream(raw)
      await once(file, 'open')
      await writeAll(file, region, range, width)
      context.err(`${byteSize(range.length)} of ${region.name} written to ${raw}\n`)
    } else if (options.json === true) {
      const bytes = [...chunks(region, range, width)].map(([, chunk]) => Buffer.from(chunk).toString('hex'))
      const told = { device: id, region: region.name, ...range, width: width ?? null, bytes: bytes.join('') }
      context.out(json({ schema: 'vfio-dump/1', ...told } satisfies DumpOutput))
    } else printHex(context, region, range, width)
  })
}
