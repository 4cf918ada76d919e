// The buses: who is found, how an exit becomes accesses, and that nothing which a guest does throws.
import test from 'ava'

import { Bus, type BusDevice } from '../../../ts/vmm/index.js'
import type { IoExit, MmioExit } from '../../../ts/kvm/index.js'

const mmio = (address: bigint, data: number[], isWrite = false): MmioExit => ({
  reason: 'mmio',
  address,
  length: data.length,
  isWrite,
  data: Uint8Array.from(data),
})
const io = (port: number, size: number, data: number[], direction: 'in' | 'out' = 'in'): IoExit => ({
  reason: 'io',
  port,
  direction,
  size,
  count: data.length / size,
  data: Uint8Array.from(data),
})

type Seen = (number | string)[][]

/** A device that tells what it is asked, and reads as its offset. */
function recorder(): { seen: Seen; device: BusDevice } {
  const seen: Seen = []
  const device: BusDevice = {
    read: (offset, width, cpu) => {
      seen.push(['read', offset, width, cpu])
      return offset
    },
    write: (offset, width, value, cpu) => {
      seen.push(['write', offset, width, value, cpu])
    },
  }
  return { seen, device }
}

test('an access reaches the device at its address, counted from its start', (t) => {
  const bus = new Bus()
  const { seen, device } = recorder()
  bus.attachMemory(0x1000n, 16, device)
  const read = mmio(0x100fn, [9])
  t.true(bus.serve(read, 3))
  t.deepEqual([...read.data], [15])
  t.true(bus.serve(mmio(0x1004n, [1, 2, 3, 4], true)))
  t.deepEqual(seen, [
    ['read', 15, 1, 3],
    ['write', 4, 4, 0x0403_0201, 0],
  ])
  t.false(bus.serve(mmio(0x1010n, [1])))
  t.false(bus.serve(mmio(0xfffn, [1])))
  t.false(bus.serve(io(0x1000, 1, [1])))
})

test('wide and odd accesses come as aligned ones', (t) => {
  const bus = new Bus()
  const { seen, device } = recorder()
  bus.attachMemory(0x1000n, 16, device)
  bus.serve(mmio(0x1000n, new Array<number>(8).fill(0xff), true))
  bus.serve(mmio(0x1003n, [0, 0, 0, 0]))
  t.deepEqual(seen, [
    ['write', 0, 4, 0xffff_ffff, 0],
    ['write', 4, 4, 0xffff_ffff, 0],
    ['read', 3, 1, 0],
    ['read', 4, 2, 0],
    ['read', 6, 1, 0],
  ])
})

test('what runs out of a device reads all ones there, and is not written', (t) => {
  const bus = new Bus()
  const { seen, device } = recorder()
  bus.attachPorts(0x60, 1, device)
  const read = io(0x60, 4, [1, 1, 1, 1])
  t.true(bus.serve(read))
  t.deepEqual([...read.data], [0, 0xff, 0xff, 0xff])
  t.true(bus.serve(io(0x60, 4, [1, 2, 3, 4], 'out')))
  t.deepEqual(seen, [
    ['read', 0, 1, 0],
    ['write', 0, 1, 1, 0],
  ])
})

test('a string instruction is as many accesses of the same port', (t) => {
  const bus = new Bus()
  const { seen, device } = recorder()
  bus.attachPorts(0x3f8, 8, device)
  bus.serve(io(0x3f8, 2, [1, 0, 2, 0, 3, 0], 'out'))
  t.deepEqual(seen, [
    ['write', 0, 2, 1, 0],
    ['write', 0, 2, 2, 0],
    ['write', 0, 2, 3, 0],
  ])
})

test('devices do not overlap, and can be taken away', (t) => {
  const bus = new Bus()
  const { device } = recorder()
  const detach = bus.attachMemory(0x1000n, 0x1000, device)
  for (const [start, size] of [
    [0x1fffn, 1],
    [0xfffn, 2],
    [0n, 0x10000],
    [0x1400n, 4],
  ] as const)
    t.throws(() => bus.attachMemory(start, size, device), { instanceOf: RangeError, message: /overlaps/ })
  bus.attachMemory(0x2000n, 1, device)
  bus.attachMemory(0xfffn, 1, device)
  t.true(bus.serve(mmio(0x1000n, [0])))
  detach()
  detach()
  t.false(bus.serve(mmio(0x1000n, [0])))
  t.true(bus.serve(mmio(0x2000n, [0])))
  t.throws(() => bus.attachMemory(1n << 52n, 1, device), { instanceOf: RangeError })
  t.throws(() => bus.attachPorts(0xffff, 2, device), { instanceOf: RangeError })
})

test('a device that throws reads all ones, is told of once, and takes nothing with it', (t) => {
  const errors: unknown[] = []
  const bus = new Bus({ onError: (error) => errors.push(error) })
  const fail = (): never => {
    throw new Error('broken')
  }
  bus.attachPorts(0x10, 4, { read: fail, write: fail })
  const read = io(0x10, 4, [0, 0, 0, 0])
  t.true(bus.serve(read))
  t.deepEqual([...read.data], [0xff, 0xff, 0xff, 0xff])
  t.true(bus.serve(io(0x10, 1, [0], 'out')))
  t.is(errors.length, 1)
})

test('addresses up to the last of 64 bits find nobody', (t) => {
  const bus = new Bus()
  t.false(bus.serve(mmio((1n << 64n) - 1n, [0, 0])))
  const read = mmio((1n << 64n) - 8n, [0, 0, 0, 0, 0, 0, 0, 0])
  Bus.answerNothing(read)
  t.true(read.data.every((byte) => byte === 0xff))
  const write = io(0x80, 1, [5], 'out')
  Bus.answerNothing(write)
  t.is(write.data[0], 5)
})
