// The client's memory: windows that it shows and takes away, and messages for what has none.
import test from 'ava'
import { closeSync, ftruncateSync, openSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

import { FEATURE_FLAG, FEATURES } from '../../../../ts/device/features/ids.js'
import { GuestMemory } from '../../../../ts/memory/guest-memory.js'
import { UNMAP_FLAG } from '../../../../ts/vfio-user/protocol/constants.js'
import {
  bitmapBytes,
  encodeLoggingReport,
  encodeLoggingStart,
} from '../../../../ts/vfio-user/protocol/dma-logging.js'
import * as dma from '../../../../ts/vfio-user/protocol/dma.js'
import { encodeFeature } from '../../../../ts/vfio-user/protocol/feature.js'
import * as header from '../../../../ts/vfio-user/protocol/header.js'
import { decodeVersion } from '../../../../ts/vfio-user/protocol/negotiation.js'
import { temporaryFolder } from '../../../temporary.js'
import { openDescriptors } from '../transport.js'
import { type Peer, type Received, connected, own, serve, until } from './peer.js'

const PAGE = 0x1000n

function feature(peer: Peer, flags: number, data: Uint8Array, room?: number): Promise<Received> {
  return peer.call((view, id) => encodeFeature(view, 0, id, flags, data, room))
}

/** Answers the server's DMA messages from memory of the test's, as QEMU does. */
function answering(peer: Peer, memory: Uint8Array, base: bigint): Received[] {
  const commands: Received[] = []
  peer.onCommand = (command) => {
    commands.push(command)
    const { view, bytes } = command
    const id = header.messageId(view, 0)
    const iova = dma.dmaAddress(view, 0)
    const count = dma.dmaCount(view, 0)
    const at = Number(iova - base)
    const { outData, out } = peer.connection
    if (header.commandOf(view, 0) === 11) {
      out.set(memory.subarray(at, at + count), 32)
      peer.connection.send(dma.encodeDmaReadReply(outData, 0, id, iova, count))
    } else {
      memory.set(bytes.subarray(32), at)
      peer.connection.send(dma.encodeDmaWriteReply(outData, 0, id, iova, count))
    }
  }
  return commands
}

test('a device reads and writes what the client shows, across ranges', async (t) => {
  const memory = own(t, GuestMemory.create(0x4000))
  const bytes = new Uint8Array(memory.buffer)
  const { peer, device } = await connected(t, {})
  t.is((await peer.map(memory, 0x10000n, PAGE, 0x1000n)).errno, null)
  t.is((await peer.map(memory, 0x11000n, PAGE, 0x3000n)).errno, null)
  bytes.fill(1, 0x1ff0, 0x2000)
  bytes.fill(2, 0x3000, 0x3010)
  const target = new Uint8Array(32)
  device.dma.copyIn(0x10ff0n, target)
  t.deepEqual([...target], [...Array<number>(16).fill(1), ...Array<number>(16).fill(2)])
  device.dma.copyOut(0x10ffcn, Uint8Array.of(9, 9, 9, 9, 8, 8, 8, 8))
  t.deepEqual(bytes.subarray(0x1ffc, 0x2000), Uint8Array.of(9, 9, 9, 9))
  t.deepEqual(bytes.subarray(0x3000, 0x3004), Uint8Array.of(8, 8, 8, 8))
  t.deepEqual(await device.dma.read(0x10ffcn, 8), Uint8Array.of(9, 9, 9, 9, 8, 8, 8, 8))
  await device.dma.write(0x10000n, Uint8Array.of(5))
  t.is(bytes[0x1000], 5)
  const pieces = BigUint64Array.of(0x11000n, 2n, 0x10000n, 1n)
  const gathered = new Uint8Array(3)
  device.dma.gather(pieces, gathered)
  t.deepEqual(gathered, Uint8Array.of(8, 8, 5))
  device.dma.scatter(pieces, Uint8Array.of(1, 2, 3))
  t.is(bytes[0x1000], 3)
  t.deepEqual(
    device.dma.ranges.map(({ iova, mapped }) => [iova, mapped]),
    [
      [0x10000n, true],
      [0x11000n, true],
    ],
  )
})

test('a window is the memory itself, and is detached before the client is told that it may have it back', async (t) => {
  const memory = own(t, GuestMemory.create(0x2000))
  const { peer, device } = await connected(t, {})
  await peer.map(memory, 0x1000n, 0x2000n)
  const window = device.dma.window(0x1800n, 0x100)
  new Uint8Array(window)[0] = 7
  t.is(new Uint8Array(memory.buffer)[0x800], 7)
  const reply = await peer.unmap(0x1000n, 0x2000n)
  t.is(reply.bytes.length, 40)
  t.is(reply.view.getBigUint64(32, true), 0x2000n)
  t.is(window.byteLength, 0)
  t.throws(() => device.dma.copyIn(0x1000n, new Uint8Array(1)), { code: 'EFAULT' })
})

test('a range is taken away as a whole, and several may be at once', async (t) => {
  const memory = own(t, GuestMemory.create(0x4000))
  const { peer, device } = await connected(t, {})
  for (const i of [0n, 1n, 2n, 3n]) await peer.map(memory, i * PAGE, PAGE, i * PAGE)
  t.is((await peer.unmap(0x800n, PAGE)).errno, 22)
  t.is((await peer.unmap(PAGE, 0x800n)).errno, 22)
  t.is(device.dma.ranges.length, 4)
  t.is((await peer.unmap(PAGE, 2n * PAGE)).view.getBigUint64(32, true), 2n * PAGE)
  t.deepEqual(
    device.dma.ranges.map(({ iova }) => iova),
    [0n, 3n * PAGE],
  )
  const none = await peer.unmap(0x100000n, PAGE)
  t.is(none.errno, null)
  t.is(none.bytes.length, 40)
  t.is(none.view.getBigUint64(32, true), 0n)
  const all = await peer.call((view, id) =>
    dma.encodeDmaUnmap(view, 0, id, { flags: UNMAP_FLAG.all, iova: 0n, size: 0n }),
  )
  t.is(all.view.getBigUint64(32, true), 2n * PAGE)
  t.deepEqual(device.dma.ranges, [])
})

test.serial('what a client cannot show is refused, with its descriptor closed', async (t) => {
  const memory = own(t, GuestMemory.create(0x2000))
  const { peer, device, errors } = await connected(t, {})
  const pipe = openSync('/dev/zero', 'r')
  t.teardown(() => closeSync(pipe))
  await peer.map(memory, 0x10000n, 0x2000n)
  const before = openDescriptors()
  t.is((await peer.map(memory, 0x10000n, 0x2000n)).errno, 17)
  t.is((await peer.map(memory, 0x11000n, 0x1000n)).errno, 17)
  t.not((await peer.map(memory, 0x20000n, 0x3000n)).errno, null)
  t.not((await peer.map(memory, 0x20000n, 0x1000n, 0x2000n)).errno, null)
  t.is((await peer.map(memory, 0x20000n, 0n)).errno, 22)
  t.is((await peer.map(memory, 0xffff_ffff_ffff_f000n, 0x2000n)).errno, 22)
  const map = { flags: 3, offset: 0n, iova: 0x20000n, size: 0x1000n }
  t.not((await peer.call((view, id) => dma.encodeDmaMap(view, 0, id, map), [pipe])).errno, null)
  t.is((await peer.call((view, id) => dma.encodeDmaMap(view, 0, id, map), [memory.fd, memory.fd])).errno, 22)
  t.is(openDescriptors(), before)
  t.is(device.dma.ranges.length, 1)
  t.true(errors.length > 0)
})

test('a client may not show more ranges than were agreed on', async (t) => {
  const { connect, device } = serve(t, {})
  const peer = connect()
  await peer.negotiate({ maxDmaMaps: 2 })
  for (const [i, errno] of [null, null, 28].entries())
    t.is((await peer.map(null, BigInt(i) * PAGE, PAGE)).errno, errno)
  t.is(device.dma.ranges.length, 2)
})

test('without bus mastering, and without a client, there is no DMA', async (t) => {
  const memory = own(t, GuestMemory.create(0x1000))
  const { peer, device } = await connected(t, {})
  await peer.map(memory, 0n, PAGE)
  await peer.write(7, 4, Uint8Array.of(2, 0))
  t.throws(() => device.dma.copyOut(0n, new Uint8Array(1)), { code: 'EACCES', message: /bus mastering off/ })
  await peer.master()
  t.notThrows(() => device.dma.copyOut(0n, new Uint8Array(1)))
  peer.close()
  await until(() => !device.connected)
  t.throws(() => device.dma.copyIn(0n, new Uint8Array(1)), { code: 'ENOTCONN' })
  await t.throwsAsync(device.dma.read(0n, 1), { code: 'ENOTCONN' })
  t.is(device.dma.reach(0n, 1, 'read'), 'none')
})

test('what the client lets be read only cannot be written', async (t) => {
  const memory = own(t, GuestMemory.create(0x1000))
  const { peer, device } = await connected(t, {})
  await peer.map(memory, 0n, PAGE, 0n, 1)
  t.notThrows(() => device.dma.copyIn(0n, new Uint8Array(1)))
  t.throws(() => device.dma.copyOut(0n, new Uint8Array(1)), { code: 'EACCES' })
  t.throws(() => device.dma.window(0n, 1), { code: 'EACCES' })
})

test('memory without a descriptor is reached by messages, in pieces that the client takes', async (t) => {
  const { peer, device, server } = await connected(t, {})
  const memory = new Uint8Array(0x100000).map((_, i) => i & 0xff)
  await peer.map(null, 0x100000n, 0x100000n)
  t.is(device.dma.reach(0x100000n, 16, 'read'), 'message')
  t.throws(() => device.dma.copyIn(0x100000n, new Uint8Array(1)), { code: 'EFAULT' })
  const commands = answering(peer, memory, 0x100000n)
  const bytes = await device.dma.read(0x100001n, 300_000)
  t.deepEqual(bytes, memory.subarray(1, 300_001))
  t.deepEqual(
    commands.map(({ view }) => dma.dmaCount(view, 0)),
    [131072, 131072, 37856],
  )
  await device.dma.write(0x100000n, new Uint8Array(0x100000).fill(0x77))
  t.true(memory.every((each) => each === 0x77))
  t.is(commands.length, 4)
  t.is(server.statistics.dmaRead, 300_000)
  t.is(server.statistics.dmaWritten, 0x100000)
})

test('writes by message arrive in the order of their calls', async (t) => {
  const { peer, device } = await connected(t, {})
  const memory = new Uint8Array(0x1000)
  await peer.map(null, 0n, PAGE)
  const commands = answering(peer, memory, 0n)
  await Promise.all([1, 2, 3].map((value) => device.dma.write(0n, Uint8Array.of(value))))
  t.deepEqual(
    commands.map(({ bytes }) => bytes[32]),
    [1, 2, 3],
  )
})

test('a message is sent after the answer to what is being served', async (t) => {
  const { peer, device } = await connected(t, {
    regions: { bar0: { size: 16 } },
    onRead: () => {
      void device.dma.write(0n, Uint8Array.of(1))
      return 5
    },
    onWrite: () => device.dma.write(0n, Uint8Array.of(2)),
  })
  await peer.map(null, 0n, PAGE)
  answering(peer, new Uint8Array(0x1000), 0n)
  const first = peer.received.length
  await peer.read32(0, 0)
  await peer.write32(0, 0, 1)
  await until(() => peer.received.length === first + 4)
  t.deepEqual(
    peer.received.slice(first).map(({ view }) => header.commandOf(view, 0)),
    [9, 12, 10, 12],
  )
})

test('a client shows so many ranges as it was told, and one more is refused', async (t) => {
  const { connect, device } = serve(t, {}, { onError: () => undefined })
  const peer = connect()
  const reply = await peer.negotiate()
  const most = decodeVersion(reply.view, 0, reply.bytes.length)?.claims?.maxDmaMaps ?? 0
  t.is(most, 16_384)
  const map = (index: number): Promise<Received> => peer.map(null, BigInt(index) * 0x2000n, PAGE)
  const replies: Promise<Received>[] = []
  for (let index = 0; index < most; index++) {
    replies.push(map(index))
    if (index % 256 === 0) await replies.at(-1)
  }
  t.true((await Promise.all(replies)).every(({ errno }) => errno === null))
  t.is((await map(most)).errno, 28)
  t.is(device.dma.ranges.length, most)
  await peer.unmap(0n, PAGE)
  t.is((await map(most)).errno, null)
})

test('a client that offers a second socket is told of none, and a command that crosses a message is served', async (t) => {
  const { connect, device } = serve(t, {})
  const peer = connect()
  const proposal = { maxMsgFds: 16, maxDataXferSize: 1 << 20, twinSocket: { supported: true } }
  const reply = await peer.negotiate(proposal)
  t.deepEqual(reply.fds, [])
  t.is(decodeVersion(reply.view, 0, reply.bytes.length)?.claims?.twinSocket, undefined)
  await peer.master()
  await peer.map(null, 0n, PAGE)
  const crossing: Promise<number>[] = []
  peer.onCommand = ({ view }) => {
    crossing.push(peer.read32(7, 0))
    peer.connection.outData.setUint8(dma.DMA_DATA, 7)
    const id = header.messageId(view, 0)
    peer.connection.send(dma.encodeDmaReadReply(peer.connection.outData, 0, id, 0n, 1))
  }
  t.deepEqual([...(await device.dma.read(0n, 1))], [7])
  t.deepEqual(await Promise.all(crossing), [0x11e8_1234])
})

test('what the client says to a message is what the caller gets', async (t) => {
  const { peer, device } = await connected(t, {})
  await peer.map(null, 0n, PAGE)
  let answer: (view: DataView, id: number) => number = () => 0
  peer.onCommand = ({ view }) => {
    peer.connection.send(answer(peer.connection.outData, header.messageId(view, 0)))
  }
  answer = (view, id) => header.writeError(view, 0, id, 11, 19)
  await t.throwsAsync(device.dma.read(0n, 4), { code: 'ENODEV' })
  answer = (view, id) => header.writeError(view, 0, id, 11, 0)
  await t.throwsAsync(device.dma.read(0n, 4), { code: 'EIO' })
  answer = (view, id) => dma.encodeDmaReadReply(view, 0, id, 0n, 2)
  await t.throwsAsync(device.dma.read(0n, 4), { code: 'EIO', message: /fewer bytes/ })
  answer = (view, id) => header.writeReply(view, 0, id, 11, 16)
  await t.throwsAsync(device.dma.read(0n, 4), { code: 'EIO' })
})

test('a client that goes leaves no caller waiting', async (t) => {
  const { peer, device } = await connected(t, {})
  await peer.map(null, 0n, PAGE)
  const reads = [device.dma.read(0n, 4), device.dma.read(0n, 4)]
  const results = Promise.allSettled(reads)
  await sleep(10)
  peer.close()
  for (const result of await results) t.like(result, { status: 'rejected', reason: { code: 'ECONNRESET' } })
})

test('a client that shortens its memory is an error, not an end', async (t) => {
  const path = join(temporaryFolder(t, 'short', '/dev/shm'), 'memory')
  const fd = openSync(path, 'w+')
  ftruncateSync(fd, 0x2000)
  t.teardown(() => closeSync(fd))
  const { peer, device } = await connected(t, {})
  const map = { flags: 3, offset: 0n, iova: 0n, size: 0x2000n }
  t.is((await peer.call((view, id) => dma.encodeDmaMap(view, 0, id, map), [fd])).errno, null)
  device.dma.copyOut(0x1000n, Uint8Array.of(1))
  t.is(readFileSync(path)[0x1000], 1)
  ftruncateSync(fd, 0x1000)
  t.throws(() => device.dma.copyIn(0x1000n, new Uint8Array(8)), { code: 'EIO' })
})

test('dirty pages are logged from start to stop, and forgotten when reported', async (t) => {
  const memory = own(t, GuestMemory.create(0x40000))
  const { peer, device } = await connected(t, {})
  await peer.map(memory, 0n, 0x40000n)
  await peer.map(null, 0x40000n, PAGE)
  answering(peer, new Uint8Array(0x1000), 0x40000n)
  const start = FEATURE_FLAG.set | FEATURES.dmaLoggingStart.id
  const stop = FEATURE_FLAG.set | FEATURES.dmaLoggingStop.id
  const range = { iova: 0n, length: 0x41000n }
  const report = async (): Promise<number[]> => {
    const asked = { ...range, pageSize: PAGE }
    const flags = FEATURE_FLAG.get | FEATURES.dmaLoggingReport.id
    const reply = await feature(peer, flags, encodeLoggingReport(asked), 24 + Number(bitmapBytes(asked)))
    if (reply.errno !== null) return [reply.errno]
    const bits = reply.bytes.subarray(24 + 24)
    return Array.from({ length: 65 }, (_, i) => i).filter((i) => ((bits[i >> 3]! >> (i & 7)) & 1) === 1)
  }
  t.deepEqual(await report(), [22])
  device.dma.copyOut(0x1000n, new Uint8Array(1))
  t.is((await feature(peer, start, encodeLoggingStart({ pageSize: PAGE, ranges: [range] }))).errno, null)
  t.is((await feature(peer, start, encodeLoggingStart({ pageSize: PAGE, ranges: [range] }))).errno, 16)
  device.dma.copyOut(0x2fffn, new Uint8Array(2))
  device.dma.markDirty(0x10000n, 1)
  await device.dma.write(0x40000n, Uint8Array.of(1))
  t.deepEqual(await report(), [2, 3, 16, 64])
  t.deepEqual(await report(), [])
  const last = {
    flags: UNMAP_FLAG.dirtyBitmap,
    iova: 0n,
    size: 0x40000n,
    bitmap: { pageSize: PAGE, bytes: 8 },
  }
  device.dma.copyOut(0x5000n, new Uint8Array(1))
  const unmapped = await peer.call((view, id) => dma.encodeDmaUnmap(view, 0, id, last))
  t.is(unmapped.bytes.length, 64)
  t.deepEqual([...unmapped.bytes.subarray(56)], [0x20, 0, 0, 0, 0, 0, 0, 0])
  t.is((await feature(peer, stop, new Uint8Array())).errno, null)
  t.deepEqual(await report(), [22])
})

test('the author is told when the client shows or takes memory', async (t) => {
  const memory = own(t, GuestMemory.create(0x1000))
  const seen: number[] = []
  const { peer, device } = await connected(t, { onMemory: () => seen.push(device.dma.ranges.length) })
  await peer.map(memory, 0n, PAGE)
  await peer.map(null, PAGE, PAGE)
  await peer.unmap(0n, PAGE)
  t.deepEqual(seen, [1, 2, 1])
})
