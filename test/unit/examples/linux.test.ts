// The example's Linux loader: what a kernel finds in memory by either protocol, and files that it refuses.
import test from 'ava'

import { loadLinux } from '../../../examples/vmm/linux.js'

const MIB = 1 << 20
const PARAMETERS = 0x7000

function bzImage({ version = 0x20f, sectors = 3, initrdMost = 0x7fff_ffff } = {}): Uint8Array {
  const bytes = new Uint8Array((sectors + 1) * 512 + 5000).fill(0x90, (sectors + 1) * 512)
  const view = new DataView(bytes.buffer)
  view.setUint8(0x1f1, sectors)
  view.setUint16(0x1fe, 0xaa55, true)
  view.setUint8(0x201, 0x6a)
  view.setUint32(0x202, 0x53726448, true)
  view.setUint16(0x206, version, true)
  view.setUint8(0x211, 1)
  view.setUint32(0x22c, initrdMost, true)
  view.setUint32(0x260, 0x1234, true)
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
  return [bytes, loadLinux(bytes, { kernel, initrd, cmdline: 'console=ttyS0' })]
}
const text = (memory: Uint8Array, address: number): string =>
  Buffer.from(memory.subarray(address, memory.indexOf(0, address))).toString()

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
  t.is(parameters.getUint8(0x1e8), 2)
  t.is(parameters.getBigUint64(0x2d0 + 20, true), BigInt(MIB))
  t.is(parameters.getBigUint64(0x2d0 + 28, true), BigInt(15 * MIB))
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
  t.is(info.getUint32(48, true), 2)
  t.is(map.getBigUint64(24, true), BigInt(MIB))
  t.is(map.getUint32(24 + 16, true), 1)
})

test('what it refuses', (t) => {
  const refused: [Uint8Array, RegExp, number?, Uint8Array?][] = [
    [new Uint8Array(0), /neither/],
    [new Uint8Array(8192), /neither/],
    [bzImage({ version: 0x204 }), /too old/],
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
