// The Linux loader: what a kernel finds in memory by either protocol, and files that it refuses.
import test from 'ava'

import { layOutGuest, loadLinux } from '../../../ts/vmm/index.js'

const MIB = 1 << 20
const PARAMETERS = 0x7000

const RSDP = 0xe_0000n

function bzImage({
  version = 0x20f,
  sectors = 3,
  initrdMost = 0x7fff_ffff,
  cmdlineMost = 2047,
  flags = 1,
  initSize = 0x1234,
} = {}): Uint8Array {
  const bytes = new Uint8Array((sectors + 1) * 512 + 5000).fill(0x90, (sectors + 1) * 512)
  const view = new DataView(bytes.buffer)
  view.setUint8(0x1f1, sectors)
  view.setUint16(0x1fe, 0xaa55, true)
  view.setUint8(0x201, 0x6a)
  view.setUint32(0x202, 0x53726448, true)
  view.setUint16(0x206, version, true)
  view.setUint8(0x211, flags)
  view.setUint32(0x22c, initrdMost, true)
  view.setUint32(0x238, cmdlineMost, true)
  view.setUint32(0x260, initSize, true)
  return bytes
}

interface Program {
  type: number
  address: number
  bytes: number[]
  memorySize?: number
}

function elf(programs: Program[]): Uint8Array {
  const bytes = new Uint8Array(0x3000)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, 0x464c457f, true)
  view.setUint8(4, 2)
  view.setBigUint64(0x20, 0x40n, true)
  view.setUint16(0x36, 56, true)
  view.setUint16(0x38, programs.length, true)
  for (const [i, { type, address, bytes: content, memorySize = content.length }] of programs.entries()) {
    const [at, offset] = [0x40 + i * 56, 0x1000 + i * 0x400]
    view.setUint32(at, type, true)
    for (const [field, value] of [
      [0x08, offset],
      [0x18, address],
      [0x20, content.length],
      [0x28, memorySize],
      [0x30, 4],
    ] as const) {
      view.setBigUint64(at + field, BigInt(value), true)
    }
    bytes.set(content, offset)
  }
  return bytes
}

const words = (...values: number[]): number[] => [...new Uint8Array(new Uint32Array(values).buffer)]
/** Two notes, the second of which is Xen's with the entry point. */
const NOTES = [
  ...words(4, 3, 7),
  ...words(0x41414141, 0x00020202),
  ...words(4, 4, 18),
  ...words(0x006e6558, 0x0100_0200),
]

const load = (
  kernel: Uint8Array,
  memory = 16 * MIB,
  initrd?: Uint8Array,
): [Uint8Array, ReturnType<typeof loadLinux>] => {
  const bytes = new Uint8Array(memory)
  const layout = layOutGuest(Math.max(memory, 2 * MIB))
  return [bytes, loadLinux(bytes, { kernel, initrd, cmdline: 'console=ttyS0', layout, acpi: RSDP })]
}
const text = (memory: Uint8Array, address: number): string =>
  Buffer.from(memory.subarray(address, memory.indexOf(0, address))).toString()

/** A memory map: start, size and kind of each entry. */
const mapAt = (view: DataView, at: number, step: number, count: number): [bigint, bigint, number][] =>
  Array.from({ length: count }, (_, i) => [
    view.getBigUint64(at + i * step, true),
    view.getBigUint64(at + i * step + 8, true),
    view.getUint32(at + i * step + 16, true),
  ])

const MAP_16_MIB = [
  [0n, 0x9_fc00n, 1],
  [0x9_fc00n, 0x400n, 2],
  [0xe_0000n, 0x1_0000n, 3],
  [0xf_0000n, 0x1_0000n, 2],
  [0x10_0000n, 0xf0_0000n, 1],
  [0xe000_0000n, 0x10_0000n, 2],
]

test('a bzImage: the kernel at 1 MiB, its header and the memory map in the parameters', (t) => {
  const initrd = new Uint8Array(5000).fill(7)
  const [memory, start] = load(bzImage(), 16 * MIB, initrd)
  t.deepEqual(start, { entry: MIB, registers: { rsi: BigInt(PARAMETERS) } })
  t.true(memory.subarray(MIB, MIB + 5000).every((byte) => byte === 0x90))
  const parameters = new DataView(memory.buffer, PARAMETERS)
  t.is(parameters.getUint32(0x202, true), 0x53726448)
  t.is(parameters.getUint32(0x260, true), 0x1234, 'the header as far as it says')
  t.is(parameters.getUint8(0x210), 0xff, 'a boot loader without a number')
  t.is(parameters.getUint8(0x211), 0x81)
  t.is(text(memory, parameters.getUint32(0x228, true)), 'console=ttyS0')
  const at = parameters.getUint32(0x218, true)
  t.is(parameters.getUint32(0x21c, true), 5000)
  t.is(at, 16 * MIB - 8192)
  t.true(memory.subarray(at, at + 5000).every((byte) => byte === 7))
  t.is(parameters.getBigUint64(0x70, true), RSDP)
  t.deepEqual(mapAt(parameters, 0x2d0, 20, parameters.getUint8(0x1e8)), MAP_16_MIB)
})

test('a bzImage: the initial file system stays below what the header allows', (t) => {
  const [memory] = load(bzImage({ initrdMost: 8 * MIB - 1 }), 16 * MIB, new Uint8Array(4096).fill(1))
  t.is(new DataView(memory.buffer, PARAMETERS).getUint32(0x218, true), 8 * MIB - 4096)
})

test('an ELF kernel: its segments, and the structure that PVH points to', (t) => {
  const kernel = elf([
    { type: 1, address: MIB, bytes: [1, 2, 3, 4], memorySize: 0x2000 },
    { type: 4, address: 0, bytes: NOTES },
  ])
  const [memory, start] = load(kernel, 16 * MIB, new Uint8Array(100).fill(9))
  t.deepEqual(start, { entry: 0x0100_0200, registers: { rbx: BigInt(PARAMETERS) } })
  t.deepEqual([...memory.subarray(MIB, MIB + 5)], [1, 2, 3, 4, 0])
  const info = new DataView(memory.buffer, PARAMETERS)
  t.is(info.getUint32(0, true), 0x336ec578)
  t.is(info.getUint32(12, true), 1)
  const module = Number(info.getBigUint64(16, true))
  const initrd = Number(new DataView(memory.buffer).getBigUint64(module, true))
  t.is(memory[initrd + 99], 9)
  t.is(text(memory, Number(info.getBigUint64(24, true))), 'console=ttyS0')
  const map = new DataView(memory.buffer, Number(info.getBigUint64(40, true)))
  t.is(info.getUint32(4, true), 1, 'version 1, which has a map')
  t.is(info.getBigUint64(32, true), RSDP)
  t.deepEqual(mapAt(map, 0, 24, info.getUint32(48, true)), MAP_16_MIB)
})

test('what it refuses', (t) => {
  const refused: [Uint8Array, RegExp, number?, Uint8Array?][] = [
    [new Uint8Array(0), /neither/],
    [new Uint8Array(8192), /neither/],
    [bzImage({ version: 0x204 }), /too old/],
    [bzImage({ flags: 0 }), /zImage/],
    [bzImage({ cmdlineMost: 12 }), /13 characters; the kernel takes 12/],
    [bzImage().subarray(0, 4097).fill(20, 0x1f1, 0x1f2), /ends within its own header/],
    [bzImage({ initSize: 16 * MIB }), /too small for the initial/, 16 * MIB, new Uint8Array(4096)],
    [bzImage(), /memory is too small for the kernel/, MIB + 4096],
    [bzImage(), /too small for the initial file system/, 2 * MIB, new Uint8Array(2 * MIB)],
    [elf([{ type: 1, address: MIB, bytes: [1] }]), /no PVH entry/],
    [
      elf([
        { type: 1, address: MIB, bytes: [1], memorySize: 32 * MIB },
        { type: 4, address: 0, bytes: NOTES },
      ]),
      /memory is too small for the kernel/,
    ],
  ]
  for (const [kernel, message, memory, initrd] of refused) {
    t.throws(() => load(kernel, memory, initrd), { message })
  }
})

test('memory above the devices is in the map, and goes on at 4 GiB', (t) => {
  const bytes = new Uint8Array(16 * MIB)
  loadLinux(bytes, { kernel: bzImage(), layout: layOutGuest(4 * 1024 * MIB) })
  const parameters = new DataView(bytes.buffer, PARAMETERS)
  const map = mapAt(parameters, 0x2d0, 20, parameters.getUint8(0x1e8))
  t.deepEqual(map.at(4), [0x10_0000n, 0xbff0_0000n, 1])
  t.deepEqual(map.at(-1), [0x1_0000_0000n, 0x4000_0000n, 1])
})

test('an ELF file that lies about itself is refused, and nothing beyond the memory is written', (t) => {
  const good = elf([
    { type: 1, address: MIB, bytes: [1], memorySize: 0x2000 },
    { type: 4, address: 0, bytes: NOTES },
  ])
  let seed = 1
  const random = (): number => (seed = (Math.imul(seed, 1103515245) + 12345) >>> 0) >>> 8
  const outcomes = { loaded: 0, refused: 0 }
  const memory = new Uint8Array(4 * MIB)
  const layout = layOutGuest(memory.length)
  for (let round = 0; round < 1000; round++) {
    const bad = good.slice()
    // The headers and the notes.
    for (let i = 0; i < 4; i++) {
      const at = random() % 3 === 0 ? 0x1400 + (random() % 64) : 4 + (random() % 0xb0)
      bad[at] = random() % 4 === 0 ? 0xff : random()
    }
    try {
      loadLinux(memory, { kernel: bad, layout })
      outcomes.loaded++
    } catch (error) {
      if (!(error instanceof RangeError)) throw error
      outcomes.refused++
    }
  }
  t.true(outcomes.loaded > 0 && outcomes.refused > 0, JSON.stringify(outcomes))
})
