// A bzImage, by the 32-bit protocol (Linux, Documentation/arch/x86/boot.rst): its setup header becomes the head of its parameters. The
// file is the user's claim: nothing beyond its end is read.
import { type Kernel, PARAMETERS, PARAMETERS_BYTES, type Start } from './start.js'
import { place, placeCommandLine, placeInitrd, view } from './place.js'

const KERNEL = 0x10_0000
const SECTOR = 512
const LEAST_BYTES = 0x1000

/** Fields of the setup header, at these offsets of the file and of the parameters. */
const FIELD = {
  header: 0x1f1,
  sectors: 0x1f1,
  boot: 0x1fe,
  jump: 0x201,
  magic: 0x202,
  version: 0x206,
  loader: 0x210,
  flags: 0x211,
  initrd: 0x218,
  initrdSize: 0x21c,
  commandLine: 0x228,
  initrdMost: 0x22c,
  commandLineMost: 0x238,
  preferred: 0x258,
  initSize: 0x260,
} as const
/** Fields of the parameters that the file does not have. */
const ACPI_ROOT = 0x070
const E820 = { count: 0x1e8, table: 0x2d0, entry: 20 } as const
/** Behind the header lies the memory map. */
const HEADER_MOST = 0x290

const BOOT_MAGIC = 0xaa55
const HEADER_MAGIC = 0x5372_6448 // "HdrS"
const OLDEST_VERSION = 0x206
/** From here on the header says how much memory it takes to unpack. */
const HAS_INIT_SIZE = 0x20a
const LOADER_UNDEFINED = 0xff
const LOADED_HIGH = 0x01
const CAN_USE_HEAP = 0x80
const DEFAULT_SECTORS = 4

export function isBzImage(file: Uint8Array): boolean {
  return (
    file.length > LEAST_BYTES &&
    view(file).getUint16(FIELD.boot, true) === BOOT_MAGIC &&
    view(file).getUint32(FIELD.magic, true) === HEADER_MAGIC
  )
}

export function loadBzImage(memory: Uint8Array, { file, initrd, cmdline, map, acpi }: Kernel): Start {
  const header = view(file)
  const version = header.getUint16(FIELD.version, true)
  if (version < OLDEST_VERSION)
    throw new RangeError(`the kernel's boot protocol is too old (0x${version.toString(16)})`)
  const flags = header.getUint8(FIELD.flags)
  if ((flags & LOADED_HIGH) === 0) throw new RangeError('the kernel is a zImage, which starts below 1 MiB')
  const sectors = header.getUint8(FIELD.sectors) || DEFAULT_SECTORS
  if ((sectors + 1) * SECTOR >= file.length) throw new RangeError('the kernel ends within its own header')
  const code = file.subarray((sectors + 1) * SECTOR)
  place(memory, KERNEL, code, 'the kernel')

  const parameters = memory.subarray(PARAMETERS, PARAMETERS + PARAMETERS_BYTES).fill(0)
  const headerEnd = Math.min(FIELD.magic + header.getUint8(FIELD.jump), HEADER_MOST)
  parameters.set(file.subarray(FIELD.header, headerEnd), FIELD.header)
  const out = view(parameters)
  out.setBigUint64(ACPI_ROOT, acpi, true)
  out.setUint8(FIELD.loader, LOADER_UNDEFINED)
  out.setUint8(FIELD.flags, flags | CAN_USE_HEAP)
  const most = header.getUint32(FIELD.commandLineMost, true)
  out.setUint32(FIELD.commandLine, placeCommandLine(memory, cmdline, most), true)
  if (initrd !== undefined) {
    const end = Math.max(KERNEL + code.length, version < HAS_INIT_SIZE ? 0 : unpackedEnd(header))
    const last = header.getUint32(FIELD.initrdMost, true)
    out.setUint32(FIELD.initrd, placeInitrd(memory, initrd, last, end), true)
    out.setUint32(FIELD.initrdSize, initrd.length, true)
  }
  out.setUint8(E820.count, map.length)
  for (const [i, { start, size, kind }] of map.entries()) {
    const at = E820.table + i * E820.entry
    out.setBigUint64(at, start, true)
    out.setBigUint64(at + 8, size, true)
    out.setUint32(at + 16, kind, true)
  }
  return { entry: KERNEL, registers: { rsi: BigInt(PARAMETERS) } }
}

/** Where the kernel ends once it has unpacked itself at the address that it prefers. */
function unpackedEnd(header: DataView): number {
  return Number(header.getBigUint64(FIELD.preferred, true)) + header.getUint32(FIELD.initSize, true)
}
