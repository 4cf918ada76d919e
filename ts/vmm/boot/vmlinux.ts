// An ELF vmlinux, by PVH (Xen's hvm_start_info): its segments, and a note that names the 32-bit entry point. The file is the user's
// claim: nothing beyond its end is read, and nothing beyond the memory is written.
import { type Kernel, PARAMETERS, PARAMETERS_BYTES, type Start } from './start.js'
import { place, placeCommandLine, placeInitrd, view } from './place.js'

const LEAST_BYTES = 0x1000
const MEMORY_MAP = 0x8000
const MEMORY_MAP_BYTES = 0x1000
const MOST_COMMAND_LINE = 2047

const ELF_MAGIC = 0x464c_457f
const CLASS_AT = 4
const CLASS_64 = 2
const HEADER = { table: 0x20, entrySize: 0x36, entries: 0x38 } as const
const ENTRY_BYTES = 0x38
const LOAD = 1
const NOTE = 4
const NOTE_HEADER = 12
const PHYS32_ENTRY = 18
const PVH_MAGIC = 0x336e_c578

/** struct hvm_start_info, version 1. Its list of modules lies behind it. */
const INFO = { version: 4, modules: 12, moduleList: 16, commandLine: 24, rsdp: 32, map: 40, mapEntries: 48 }
const MODULES = 0x100
const MAP_ENTRY = 24

interface Segment {
  readonly type: number
  readonly offset: number
  readonly address: number
  readonly fileSize: number
  readonly memorySize: number
  readonly align: number
}

export function isVmlinux(file: Uint8Array): boolean {
  return file.length > LEAST_BYTES && view(file).getUint32(0, true) === ELF_MAGIC
}

function inFile(file: Uint8Array, offset: number, size: number, what: string): void {
  if (offset + size > file.length) throw new RangeError(`${what} of the kernel leave its file`)
}

function segments(file: Uint8Array): Segment[] {
  const bytes = view(file)
  if (bytes.getUint8(CLASS_AT) !== CLASS_64) throw new RangeError('the kernel is an ELF file of 32 bits')
  const table = Number(bytes.getBigUint64(HEADER.table, true))
  const size = bytes.getUint16(HEADER.entrySize, true)
  const count = bytes.getUint16(HEADER.entries, true)
  if (size < ENTRY_BYTES) throw new RangeError('the program headers of the kernel are too short')
  inFile(file, table, size * count, 'the program headers')
  return Array.from({ length: count }, (_, i) => {
    const at = table + i * size
    const long = (offset: number): number => Number(bytes.getBigUint64(at + offset, true))
    const [offset, fileSize] = [long(0x08), long(0x20)]
    inFile(file, offset, fileSize, 'segments')
    return {
      type: bytes.getUint32(at, true),
      offset,
      address: long(0x18),
      fileSize,
      memorySize: long(0x28),
      align: long(0x30),
    }
  })
}

/** The 32-bit entry point, which a note of the kernel names. */
function entryPoint(file: Uint8Array, all: readonly Segment[]): number {
  const bytes = view(file)
  for (const { type, offset, fileSize, align } of all) {
    if (type !== NOTE) continue
    // Notes are aligned to 4 or 8 bytes; a file may say anything.
    const step = align === 8 ? 8 : 4
    const padded = (length: number): number => Math.ceil(length / step) * step
    const end = offset + fileSize
    for (let at = offset; at + NOTE_HEADER + 4 <= end;) {
      const nameSize = bytes.getUint32(at, true)
      const size = bytes.getUint32(at + 4, true)
      const description = at + NOTE_HEADER + padded(nameSize)
      if (bytes.getUint32(at + 8, true) === PHYS32_ENTRY && description + 4 <= end)
        return bytes.getUint32(description, true)
      at = description + padded(size)
    }
  }
  throw new RangeError('the kernel has no PVH entry point (CONFIG_PVH): give its bzImage')
}

export function loadVmlinux(memory: Uint8Array, { file, initrd, cmdline, map, acpi }: Kernel): Start {
  const all = segments(file)
  const entry = entryPoint(file, all)
  let kernelEnd = 0
  for (const { type, offset, address, fileSize, memorySize } of all) {
    if (type !== LOAD) continue
    if (fileSize > memorySize) throw new RangeError('a segment of the kernel is longer than its memory')
    kernelEnd = Math.max(kernelEnd, address + memorySize)
    if (kernelEnd > memory.length) throw new RangeError('the memory is too small for the kernel')
    place(memory, address, file.subarray(offset, offset + fileSize), 'the kernel')
    memory.fill(0, address + fileSize, address + memorySize)
  }

  const out = view(memory.subarray(PARAMETERS, PARAMETERS + PARAMETERS_BYTES).fill(0))
  out.setUint32(0, PVH_MAGIC, true)
  out.setUint32(INFO.version, 1, true)
  if (initrd !== undefined) {
    const at = placeInitrd(memory, initrd, memory.length, kernelEnd)
    out.setUint32(INFO.modules, 1, true)
    out.setBigUint64(INFO.moduleList, BigInt(PARAMETERS + MODULES), true)
    out.setBigUint64(MODULES, BigInt(at), true)
    out.setBigUint64(MODULES + 8, BigInt(initrd.length), true)
  }
  const commandLine = placeCommandLine(memory, cmdline, MOST_COMMAND_LINE)
  out.setBigUint64(INFO.commandLine, BigInt(commandLine), true)
  out.setBigUint64(INFO.rsdp, acpi, true)
  out.setBigUint64(INFO.map, BigInt(MEMORY_MAP), true)
  out.setUint32(INFO.mapEntries, map.length, true)
  const entries = view(memory.subarray(MEMORY_MAP, MEMORY_MAP + MEMORY_MAP_BYTES).fill(0))
  for (const [i, { start, size, kind }] of map.entries()) {
    entries.setBigUint64(i * MAP_ENTRY, start, true)
    entries.setBigUint64(i * MAP_ENTRY + 8, size, true)
    entries.setUint32(i * MAP_ENTRY + 16, kind, true)
  }
  return { entry, registers: { rbx: BigInt(PARAMETERS) } }
}
