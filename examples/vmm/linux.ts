// Loads a Linux kernel where a boot loader would and says how to start it: a bzImage by the 32-bit boot protocol, an ELF
// vmlinux by PVH. Both begin in 32-bit code with flat segments. Knows bytes only, nothing of KVM.

/** How to start what was loaded. */
export interface Start {
  /** The address of the first instruction. */
  entry: number
  /** Registers that point the kernel to its parameters. */
  registers: { rsi?: bigint; rbx?: bigint }
}

export interface LinuxFiles {
  kernel: Uint8Array
  initrd: Uint8Array | undefined
  cmdline: string
}

const PARAMETERS = 0x7000
const MEMORY_MAP = 0x8000
const COMMAND_LINE = 0x20000
const KERNEL = 0x100000
const LOW_MEMORY_END = 0x9fc00
const PAGE = 0x1000

const E820_RAM = 1
const MEMORY_RANGES = (size: number): [number, number][] => [
  [0, LOW_MEMORY_END],
  [KERNEL, size - KERNEL],
]

/** bzImage: the setup header, at this offset of the file and of the parameters (Documentation/arch/x86/boot.rst). */
const SETUP = {
  start: 0x1f1,
  sectors: 0x1f1,
  boot: 0x1fe,
  jump: 0x201,
  magic: 0x202,
  version: 0x206,
} as const
const HEADER = {
  loader: 0x210,
  flags: 0x211,
  initrd: 0x218,
  initrdSize: 0x21c,
  commandLine: 0x228,
  initrdMost: 0x22c,
} as const
const E820 = { count: 0x1e8, table: 0x2d0, entry: 20 } as const
const BOOT_MAGIC = 0xaa55
const HEADER_MAGIC = 0x53726448 // "HdrS"
const OLDEST_VERSION = 0x206
const LOADER_UNDEFINED = 0xff
const CAN_USE_HEAP = 0x80

const ELF_MAGIC = 0x464c457f
const ELF_LOAD = 1
const ELF_NOTE = 4
const PVH_NOTE = 18 // XEN_ELFNOTE_PHYS32_ENTRY
const PVH_MAGIC = 0x336ec578

const view = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)

/**
 * Puts the kernel, its initial file system and its command line into the guest's memory, which starts at address 0.
 * @throws Error when the file is no kernel that can be started so, or the memory is too small
 */
export function loadLinux(memory: Uint8Array, files: LinuxFiles): Start {
  const file = view(files.kernel)
  if (file.byteLength > 0x1000 && file.getUint32(0, true) === ELF_MAGIC) return loadElf(memory, files)
  if (
    file.byteLength > 0x1000 &&
    file.getUint16(SETUP.boot, true) === BOOT_MAGIC &&
    file.getUint32(SETUP.magic, true) === HEADER_MAGIC
  ) {
    return loadBzImage(memory, files)
  }
  throw new Error('the kernel is neither a bzImage nor an ELF vmlinux')
}

function loadBzImage(memory: Uint8Array, { kernel, initrd, cmdline }: LinuxFiles): Start {
  const file = view(kernel)
  const version = file.getUint16(SETUP.version, true)
  if (version < OLDEST_VERSION)
    throw new Error(`the kernel's boot protocol is too old (0x${version.toString(16)})`)
  const sectors = file.getUint8(SETUP.sectors) || 4
  place(memory, KERNEL, kernel.subarray((sectors + 1) * 512), 'the kernel')

  const parameters = memory.subarray(PARAMETERS, PARAMETERS + PAGE).fill(0)
  const headerEnd = SETUP.magic + file.getUint8(SETUP.jump)
  parameters.set(kernel.subarray(SETUP.start, headerEnd), SETUP.start)
  const out = view(parameters)
  out.setUint8(HEADER.loader, LOADER_UNDEFINED)
  out.setUint8(HEADER.flags, file.getUint8(HEADER.flags) | CAN_USE_HEAP)
  out.setUint32(HEADER.commandLine, placeCommandLine(memory, cmdline), true)
  if (initrd !== undefined) {
    out.setUint32(HEADER.initrd, placeInitrd(memory, initrd, file.getUint32(HEADER.initrdMost, true)), true)
    out.setUint32(HEADER.initrdSize, initrd.length, true)
  }
  const ranges = MEMORY_RANGES(memory.length)
  out.setUint8(E820.count, ranges.length)
  for (const [i, [start, length]] of ranges.entries()) {
    const at = E820.table + i * E820.entry
    out.setBigUint64(at, BigInt(start), true)
    out.setBigUint64(at + 8, BigInt(length), true)
    out.setUint32(at + 16, E820_RAM, true)
  }
  return { entry: KERNEL, registers: { rsi: BigInt(PARAMETERS) } }
}

interface Segment {
  type: number
  offset: number
  address: number
  fileSize: number
  memorySize: number
  align: number
}

function segments(file: DataView): Segment[] {
  const [table, size, count] = [
    Number(file.getBigUint64(0x20, true)),
    file.getUint16(0x36, true),
    file.getUint16(0x38, true),
  ]
  return Array.from({ length: count }, (_, i) => {
    const at = table + i * size
    const long = (offset: number): number => Number(file.getBigUint64(at + offset, true))
    return {
      type: file.getUint32(at, true),
      offset: long(0x08),
      address: long(0x18),
      fileSize: long(0x20),
      memorySize: long(0x28),
      align: long(0x30),
    }
  })
}

function loadElf(memory: Uint8Array, { kernel, initrd, cmdline }: LinuxFiles): Start {
  const all = segments(view(kernel))
  const entry = pvhEntry(kernel, all)
  for (const { type, offset, address, fileSize, memorySize } of all) {
    if (type !== ELF_LOAD) continue
    if (address + memorySize > memory.length) throw new Error('the memory is too small for the kernel')
    place(memory, address, kernel.subarray(offset, offset + fileSize), 'the kernel')
  }

  // hvm_start_info, a list of one module behind it, and a map of the memory.
  const out = view(memory.subarray(PARAMETERS, PARAMETERS + PAGE).fill(0))
  const modules = 0x100
  out.setUint32(0, PVH_MAGIC, true)
  out.setUint32(4, 1, true)
  if (initrd !== undefined) {
    out.setUint32(12, 1, true)
    out.setBigUint64(16, BigInt(PARAMETERS + modules), true)
    out.setBigUint64(modules, BigInt(placeInitrd(memory, initrd, memory.length)), true)
    out.setBigUint64(modules + 8, BigInt(initrd.length), true)
  }
  out.setBigUint64(24, BigInt(placeCommandLine(memory, cmdline)), true)
  out.setBigUint64(40, BigInt(MEMORY_MAP), true)
  const map = view(memory.subarray(MEMORY_MAP, MEMORY_MAP + PAGE).fill(0))
  const ranges = MEMORY_RANGES(memory.length)
  out.setUint32(48, ranges.length, true)
  for (const [i, [start, length]] of ranges.entries()) {
    map.setBigUint64(i * 24, BigInt(start), true)
    map.setBigUint64(i * 24 + 8, BigInt(length), true)
    map.setUint32(i * 24 + 16, E820_RAM, true)
  }
  return { entry, registers: { rbx: BigInt(PARAMETERS) } }
}

/** The 32-bit entry point, which a note of the kernel names. */
function pvhEntry(kernel: Uint8Array, all: readonly Segment[]): number {
  const file = view(kernel)
  for (const { type, offset, fileSize, align } of all) {
    if (type !== ELF_NOTE) continue
    const padded = (length: number): number => Math.ceil(length / (align || 4)) * (align || 4)
    for (let at = offset; at < offset + fileSize;) {
      const [nameSize, size, kind] = [0, 4, 8].map((field) => file.getUint32(at + field, true)) as [
        number,
        number,
        number,
      ]
      const description = at + 12 + padded(nameSize)
      if (kind === PVH_NOTE) return file.getUint32(description, true)
      at = description + padded(size)
    }
  }
  throw new Error('the kernel has no PVH entry point (CONFIG_PVH): give its bzImage')
}

function place(memory: Uint8Array, address: number, bytes: Uint8Array, what: string): void {
  if (address + bytes.length > memory.length) throw new Error(`the memory is too small for ${what}`)
  memory.set(bytes, address)
}

function placeCommandLine(memory: Uint8Array, cmdline: string): number {
  place(memory, COMMAND_LINE, Buffer.from(`${cmdline}\0`, 'latin1'), 'the command line')
  return COMMAND_LINE
}

/** As high as it may lie, out of the way of what the kernel unpacks. */
function placeInitrd(memory: Uint8Array, initrd: Uint8Array, most: number): number {
  const end = Math.min(memory.length, most + 1)
  const address = Math.floor((end - initrd.length) / PAGE) * PAGE
  if (address < KERNEL) throw new Error('the memory is too small for the initial file system')
  place(memory, address, initrd, 'the initial file system')
  return address
}
