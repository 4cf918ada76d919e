// Accesses to registers: what a client sends, what its author's handlers see, and what the client gets back whatever these do.
import test from 'ava'
import { setTimeout as sleep } from 'node:timers/promises'

import { GuestMemory } from '../../../../ts/memory/guest-memory.js'
import { COMMAND } from '../../../../ts/vfio-user/protocol/constants.js'
import * as header from '../../../../ts/vfio-user/protocol/header.js'
import * as io from '../../../../ts/vfio-user/protocol/region-io.js'
import { bytesOf32, connected, own, registers, until, writing } from './peer.js'

const ONES = (count: number): Uint8Array => new Uint8Array(count).fill(0xff)

test('an aligned access of 1, 2 or 4 bytes is one call of a handler', async (t) => {
  const { options, log } = registers()
  const { peer } = await connected(t, options)
  await peer.write(0, 0x10, bytesOf32(0x8765_4321))
  t.is(await peer.read32(0, 0x10), 0x8765_4321)
  await peer.write(0, 0x20, Uint8Array.of(0x34, 0x12))
  await peer.write(0, 0x31, Uint8Array.of(0x56))
  t.deepEqual(await peer.read(0, 0x31, 1), Uint8Array.of(0x56))
  t.deepEqual(log, [
    'write bar0 16 4 2271560481',
    'read bar0 16 4',
    'write bar0 32 2 4660',
    'write bar0 49 1 86',
    'read bar0 49 1',
  ])
})

test('other accesses are cut into the widest aligned ones, in order', async (t) => {
  const { options, log } = registers()
  const { peer } = await connected(t, options)
  await peer.write(0, 0x0f, Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8))
  await peer.read(0, 0x10, 8)
  t.deepEqual(log, [
    'write bar0 15 1 1',
    'write bar0 16 4 84148994',
    'write bar0 20 2 1798',
    'write bar0 22 1 8',
    'read bar0 16 4',
    'read bar0 20 4',
  ])
})

test('8 bytes go to the handlers for 64 bits where there are some', async (t) => {
  const log: unknown[] = []
  const { peer } = await connected(t, {
    regions: { bar0: { size: 0x100 }, bar1: { size: 0x100, read64: () => 0x1122_3344_5566_7788n } },
    onRead: () => 0x99,
    onRead64: () => -1n,
    onWrite64: (...call) => log.push(call),
    onWrite: (...call) => log.push(call),
  })
  await peer.write(0, 8, Uint8Array.of(1, 0, 0, 0, 2, 0, 0, 0))
  t.deepEqual(await peer.read(0, 0, 8), ONES(8))
  t.deepEqual(await peer.read(1, 8, 8), Uint8Array.of(0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11))
  t.deepEqual(log, [['bar0', 8, 0x2_0000_0001n]])
})

test('what a handler answers counts modulo the width', async (t) => {
  let answer: number | bigint = 0
  const { peer } = await connected(t, { regions: { bar0: { size: 0x100, read: () => answer } } })
  for (const [given, expected] of [
    [-1, 0xffff_ffff],
    [2 ** 32 + 5, 5],
    [0x1_2345_6789n, 0x2345_6789],
    [-2n, 0xffff_fffe],
  ] as const) {
    answer = given
    t.is(await peer.read32(0, 0), expected)
  }
})

test('beyond a region, or in one that is not there, all ones are read in full and nothing is written', async (t) => {
  const { options, log } = registers(0x1000)
  const { peer, server, errors } = await connected(t, options)
  for (const [region, offset] of [
    [0, 0xffe],
    [0, 0x1000],
    [0, 2 ** 50],
    [1, 0],
    [8, 0],
    [9, 0],
    [0xffff_ffff, 0],
    [7, 0xfe],
  ] as const) {
    t.deepEqual(await peer.read(region, offset, 4), ONES(4))
    await peer.write(region, offset, bytesOf32(1))
  }
  t.deepEqual(log, [])
  t.is(server.statistics.beyond, 16)
  t.deepEqual(errors, [])
})

test('a read of no bytes has a reply of its full header', async (t) => {
  const { options } = registers()
  const { peer } = await connected(t, options)
  t.is((await peer.read(0, 0, 0)).length, 0)
})

test('an access of a megabyte is served, one above it refused', async (t) => {
  const memory = own(t, GuestMemory.create(1 << 20))
  new Uint8Array(memory.buffer).fill(0x5a)
  const { peer } = await connected(t, { regions: { bar0: { size: 1 << 20, memory } } })
  const bytes = await peer.read(0, 0, 1 << 20)
  t.true(bytes.every((each) => each === 0x5a))
  await peer.write(0, 0, new Uint8Array(1 << 20).fill(0x33))
  t.is(new Uint8Array(memory.buffer)[(1 << 20) - 1], 0x33)
  const reply = await peer.call((view, id) => io.writeRegionRead(view, 0, id, 0, 0, (1 << 20) + 1))
  t.is(reply.errno, 22)
})

test('a write that says more bytes than it brings is refused, and the next message is served', async (t) => {
  const { options } = registers()
  const { peer, device } = await connected(t, options)
  const reply = await peer.call((view, id) => {
    io.writeRegionWrite(view, 0, id, 0, 0, 64, false)
    return header.writeCommand(view, 0, id, COMMAND.regionWrite, 36)
  })
  t.is(reply.errno, 22)
  t.is(await peer.read32(7, 0), (0x11e8 << 16) | 0x1234)
  t.true(device.connected)
})

test('posted writes have no reply, and are done in order', async (t) => {
  const { options, log } = registers()
  const { peer } = await connected(t, options)
  const before = peer.received.length
  for (let i = 0; i < 300; i++) peer.post32(0, 4 * i, i)
  t.is(await peer.read32(0, 4 * 299), 299)
  t.is(peer.received.length, before + 1)
  t.is(log.length, 301)
  t.deepEqual(log.slice(0, 2), ['write bar0 0 4 0', 'write bar0 4 4 1'])
})

test('nobody is answered an error to a posted write', async (t) => {
  const { peer } = await connected(t, {
    regions: { bar0: { size: 16 } },
    onWrite: () => {
      throw new Error('broken')
    },
  })
  const before = peer.received.length
  peer.post32(0, 0, 1)
  peer.post32(3, 0, 1)
  peer.send((view, id) => {
    io.writeRegionWrite(view, 0, id, 0, 0, 64, true)
    return header.writePosted(view, 0, id, COMMAND.regionWrite, 36)
  })
  await peer.read(7, 0, 2)
  t.is(peer.received.length, before + 1)
})

test('several writes of one message are done in order, to several regions', async (t) => {
  const { options, log } = registers()
  const { peer } = await connected(t, { ...options, regions: { bar0: { size: 64 }, bar2: { size: 64 } } })
  const multi =
    (posted: boolean, count = 4) =>
    (view: DataView, id: number) => {
      for (const [i, region] of [0, 2, 5].entries()) {
        const at = io.multiWriteAt(0, i)
        io.putMultiWrite(view, at, region, 8 * i, count)
        view.setUint32(at + 16, i + 1, true)
      }
      return io.writeMulti(view, 0, id, 3, posted)
    }
  const reply = await peer.call(multi(false))
  t.is(reply.bytes.length, 24)
  t.is(reply.view.getUint32(16, true), 3)
  t.deepEqual(log, ['write bar0 0 4 1', 'write bar2 8 4 2'])
  peer.send(multi(true))
  await peer.read(7, 0, 2)
  t.is(log.length, 4)
  t.is((await peer.call(multi(false, 9))).errno, 22)
  t.is(log.length, 4)
})

test('an exception in a handler reads as all ones, drops the write, and is reported', async (t) => {
  const { peer, errors, server } = await connected(t, {
    regions: { bar0: { size: 16 } },
    onRead: (_region, offset) => {
      if (offset === 4) throw new Error('broken read')
      return 1
    },
    onWrite: () => {
      throw new TypeError('broken write')
    },
  })
  t.is(await peer.read32(0, 4), 0xffff_ffff)
  t.deepEqual(await peer.read(0, 0, 8), ONES(8))
  await peer.write32(0, 0, 5)
  t.deepEqual(
    errors.map(({ message }) => message),
    ['broken read', 'broken read', 'broken write'],
  )
  t.is(server.statistics.failed, 3)
  t.is(await peer.read32(0, 0), 1)
})

test('a handler that answers nothing is reported', async (t) => {
  const { peer, errors } = await connected(t, {
    regions: { bar0: { size: 16 } },
    onRead: (() => undefined) as never,
  })
  t.is(await peer.read32(0, 0), 0xffff_ffff)
  t.regex(errors[0]?.message ?? '', /must give a number or a bigint, not undefined/)
})

test('without a handler a region reads as zero and takes writes', async (t) => {
  const { peer } = await connected(t, { regions: { bar0: { size: 16 } } })
  await peer.write32(0, 0, 5)
  t.is(await peer.read32(0, 0), 0)
})

test('what comes behind a read whose handler has not answered waits for it', async (t) => {
  const log: string[] = []
  let resolve: (value: number) => void = () => undefined
  const { peer } = await connected(t, {
    regions: { bar0: { size: 64 } },
    onRead: (_region, offset) => {
      log.push(`read ${String(offset)}`)
      return offset === 0 ? new Promise<number>((each) => (resolve = each)) : 7
    },
    onWrite: (_region, offset) => void log.push(`write ${String(offset)}`),
  })
  const slow = peer.read32(0, 0)
  peer.post32(0, 4, 1)
  const quick = peer.read32(0, 8)
  while (log.length === 0) await sleep(1)
  await sleep(20)
  t.deepEqual(log, ['read 0'])
  resolve(0x1234)
  t.is(await slow, 0x1234)
  t.is(await quick, 7)
  t.deepEqual(log, ['read 0', 'write 4', 'read 8'])
})

test('a read of several accesses waits for each of them', async (t) => {
  const { peer } = await connected(t, {
    regions: { bar0: { size: 64 } },
    onRead: async (_region, offset) => {
      await sleep(1)
      return offset
    },
  })
  t.deepEqual(await peer.read(0, 4, 8), Uint8Array.of(4, 0, 0, 0, 8, 0, 0, 0))
})

test('a handler that does not answer in time is answered for with all ones, and reported', async (t) => {
  const { peer, errors, server } = await connected(
    t,
    {
      regions: { bar0: { size: 64 } },
      onRead: (_region, offset) => (offset === 0 ? new Promise<number>(() => undefined) : 7),
    },
    { deadlineMillis: 50 },
  )
  const slow = peer.read32(0, 0)
  const next = peer.read32(0, 4)
  t.is(await slow, 0xffff_ffff)
  t.is(await next, 7)
  t.is(server.statistics.late, 1)
  t.regex(errors[0]?.message ?? '', /has not answered within 50 ms/)
})

test('a promise that is rejected reads as all ones; that of a write is reported, and nobody waits for it', async (t) => {
  let reject: (error: Error) => void = () => undefined
  const { peer, errors } = await connected(t, {
    regions: { bar0: { size: 64 } },
    onRead: () => Promise.reject(new Error('late trouble')),
    onWrite: () => new Promise((_, each) => (reject = each)),
  })
  t.is(await peer.read32(0, 0), 0xffff_ffff)
  await peer.write32(0, 0, 1)
  t.is(errors.length, 1)
  reject(new Error('later trouble'))
  while (errors.length < 2) await sleep(5)
  t.deepEqual(
    errors.map(({ message }) => message),
    ['late trouble', 'later trouble'],
  )
})

test('more than can wait behind an answer ends the connection', async (t) => {
  // So long that a slow machine has sent all of it before.
  const { peer, errors } = await connected(
    t,
    { regions: { bar0: { size: 1 << 20 } }, onRead: () => new Promise<number>(() => undefined) },
    { deadlineMillis: 4000 },
  )
  peer.send((view, id) => io.writeRegionRead(view, 0, id, 0, 0, 4))
  const data = new Uint8Array(1 << 20)
  for (let i = 0; i < 20; i++) peer.connection.send(writing(0, 0, data, true)(peer.connection.outData, 5))
  await until(() => errors.length > 0)
  t.regex(errors[0]?.message ?? '', /more than can wait/)
  await peer.ended
})

test('a plain region and memory hold what is written, and cost no handler', async (t) => {
  const bytes = new Uint8Array(64)
  const memory = own(t, GuestMemory.create(0x2000))
  const { peer } = await connected(t, {
    regions: {
      bar0: { size: 64, plain: bytes },
      bar1: { size: 0x1000, memory, memoryOffset: 0x1000 },
      rom: { size: 4, plain: Uint8Array.of(0x55, 0xaa, 1, 2) },
    },
    onRead: () => t.fail(),
    onWrite: () => t.fail(),
  })
  await peer.write32(0, 4, 0x0102_0304)
  t.deepEqual([...bytes.subarray(4, 8)], [4, 3, 2, 1])
  await peer.write(1, 0x10, Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8))
  t.deepEqual(new Uint8Array(memory.buffer, 0x1010, 8), Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8))
  t.deepEqual(await peer.read(1, 0x10, 8), Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8))
  t.is(await peer.read32(0, 4), 0x0102_0304)
  await peer.write32(6, 0, 0)
  await peer.write(6, 0, new Uint8Array(4))
  t.deepEqual(await peer.read(6, 0, 4), Uint8Array.of(0x55, 0xaa, 1, 2))
})

test('memory that its owner has closed reads as all ones, and is reported', async (t) => {
  const memory = GuestMemory.create(0x1000)
  const { peer, errors } = await connected(t, { regions: { bar0: { size: 0x1000, memory } } })
  memory.close()
  t.is(await peer.read32(0, 0), 0xffff_ffff)
  t.deepEqual(await peer.read(0, 0, 64), ONES(64))
  await peer.write32(0, 0, 1)
  t.is(errors.length, 3)
})

test('registers beside memory that may be mapped have handlers', async (t) => {
  const memory = own(t, GuestMemory.create(0x2000))
  const { options, log } = registers()
  const { peer } = await connected(t, {
    ...options,
    regions: { bar0: { size: 0x2000, memory, mmapAreas: [{ offset: 0x1000, size: 0x1000 }] } },
  })
  await peer.write32(0, 0x1010, 9)
  t.deepEqual(log, [])
  t.is(new DataView(memory.buffer).getUint32(0x1010, true), 9)
  await peer.write32(0, 0x10, 9)
  t.deepEqual(log, ['write bar0 16 4 9'])
})

test('the MSI-X table holds what is written, and its pending bits cannot be', async (t) => {
  const { peer } = await connected(t, { irqs: { msix: 3 } })
  t.is(await peer.read32(0, 12), 1)
  await peer.write32(0, 12, 0)
  t.is(await peer.read32(0, 12), 0)
  await peer.write32(0, 2048, 0xff)
  t.is(await peer.read32(0, 2048), 0)
})

test('configuration space is read and written in accesses of any length', async (t) => {
  const { peer, device } = await connected(t, { regions: { bar0: { size: 0x1000 } } })
  const all = await peer.read(7, 0, 256)
  t.is(new DataView(all.buffer, all.byteOffset).getUint16(0, true), 0x1234)
  await peer.write32(7, 0x10, 0xffff_ffff)
  t.is(await peer.read32(7, 0x10), 0xffff_f000)
  t.true(device.config.command.memorySpace)
})
