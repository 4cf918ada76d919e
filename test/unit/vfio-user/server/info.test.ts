// What a server tells of its device, and what it does with commands that are none: every rule that QEMU and the Rust crate make
// necessary, which end or hang at an answer that is another.
import test from 'ava'
import { closeSync, fstatSync } from 'node:fs'

import { GuestMemory } from '../../../../ts/memory/guest-memory.js'
import { COMMAND } from '../../../../ts/vfio-user/protocol/constants.js'
import * as info from '../../../../ts/vfio-user/protocol/device-info.js'
import * as header from '../../../../ts/vfio-user/protocol/header.js'
import * as ioFds from '../../../../ts/vfio-user/protocol/io-fds.js'
import { encodeVersion } from '../../../../ts/vfio-user/protocol/negotiation.js'
import { decodeVersion } from '../../../../ts/vfio-user/protocol/negotiation.js'
import { type Received, type Peer, connected, own, registers, serve, until } from './peer.js'
import { setTimeout as sleep } from 'node:timers/promises'
import { EventFd } from '../../../../ts/event/eventfd.js'

const bare = (command: number) => (view: DataView, id: number) =>
  header.writeCommand(view, 0, id, command, 16)

function regionInfo(peer: Peer, index: number, argsz = 32): Promise<Received> {
  return peer.call((view, id) => info.encodeGetRegionInfo(view, 0, id, { argsz, index }))
}

test('QEMU is answered in no more bytes than it sent, with version 0.0', async (t) => {
  const { connect } = serve(t, registers().options)
  const peer = connect()
  const text =
    '{"capabilities": {"pgsizes": 4096, "max_msg_fds": 16, "max_dma_maps": 65535, "max_data_xfer_size": 1048576, ' +
    '"migration": {"max_bitmap_size": 268435456, "pgsize": 4096}, "write_multiple": true}}\0'
  const reply = await peer.call((view, id) => {
    new Uint8Array(view.buffer).set(Buffer.from(text), 20)
    view.setUint32(16, 0, true)
    return header.writeCommand(view, 0, id, COMMAND.version, 20 + text.length)
  })
  t.true(reply.bytes.length <= 20 + text.length)
  const version = decodeVersion(reply.view, 0, reply.bytes.length)
  t.deepEqual(version, {
    major: 0,
    minor: 0,
    claims: { maxMsgFds: 16, maxDataXferSize: 1 << 20, maxDmaMaps: 16_384, writeMultiple: true },
  })
})

test('a device that migrates says so to who asks for it', async (t) => {
  const { connect } = serve(t, { migration: { save: () => new Uint8Array(), load: () => undefined } })
  const reply = await connect().negotiate()
  t.is(decodeVersion(reply.view, 0, reply.bytes.length)?.claims?.migration?.pgsize, 4096)
})

test('there are nine regions, five interrupts, and a reset, whatever the device has', async (t) => {
  const { peer } = await connected(t, {})
  const reply = await peer.call((view, id) => info.encodeGetInfo(view, 0, id))
  t.is(reply.bytes.length, 32)
  t.like(info.decodeGetInfoReply(reply.view, 0, 32), {
    numRegions: 9,
    numIrqs: 5,
    resettable: true,
    bus: 'pci',
  })
})

test('regions are described, those that are not there as empty', async (t) => {
  const { peer } = await connected(t, {
    regions: { bar1: { size: 0x2000 }, rom: { size: 0x800, plain: true } },
  })
  const expected = [
    [0, 0, 0],
    [1, 0x2000, 3],
    [6, 0x800, 1],
    [7, 256, 3],
    [8, 0, 0],
  ] as const
  for (const [index, size, flags] of expected) {
    const reply = await regionInfo(peer, index)
    t.is(reply.bytes.length, 48)
    t.is(reply.view.getUint32(16, true), 32)
    t.like(info.decodeRegionInfoReply(reply.view, 0, 48)?.info, { index, size, fileOffset: 0 })
    t.is(reply.view.getUint32(20, true), flags)
    t.is(reply.fds.length, 0)
  }
  t.is((await regionInfo(peer, 9)).errno, 22)
  t.is((await regionInfo(peer, 0xffff_ffff)).errno, 22)
  t.is((await regionInfo(peer, 0, 31)).errno, 22)
})

test('a region that may be mapped comes with one descriptor, where it is complete', async (t) => {
  const memory = own(t, GuestMemory.create(0x4000))
  const areas = [
    { offset: 0, size: 0x1000 },
    { offset: 0x1000, size: 0x1000 },
  ]
  const { peer } = await connected(t, {
    regions: {
      bar0: { size: 0x2000, memory, memoryOffset: 0x2000 },
      bar2: { size: 0x2000, memory, memoryOffset: 0x1000, mmapAreas: areas },
      bar4: { size: 0x2000, memory, mmapAreas: [] },
    },
  })
  const whole = await regionInfo(peer, 0)
  t.is(whole.bytes.length, 48)
  t.is(whole.view.getUint32(20, true), 7)
  t.like(info.decodeRegionInfoReply(whole.view, 0, 48)?.info, { fileOffset: 0x2000, capabilities: [] })
  t.is(whole.fds.length, 1)
  t.is(fstatSync(whole.fds[0]!).ino, fstatSync(memory.fd).ino)

  const short = await regionInfo(peer, 2)
  t.is(short.bytes.length, 48)
  t.is(short.view.getUint32(16, true), 80)
  t.is(short.view.getUint32(20, true), 7)
  t.is(short.fds.length, 0)
  const full = await regionInfo(peer, 2, 80)
  t.is(full.bytes.length, 96)
  t.is(full.view.getUint32(20, true), 15)
  t.is(full.fds.length, 1)
  const decoded = info.decodeRegionInfoReply(full.view, 0, 96)?.info
  t.is(decoded?.fileOffset, 0x1000)
  t.deepEqual(decoded?.capabilities, [{ name: 'sparseMmap', areas }])

  const trapped = await regionInfo(peer, 4, 4096)
  t.is(trapped.view.getUint32(20, true), 3)
  t.is(trapped.fds.length, 0)
})

test('interrupts are described', async (t) => {
  const { peer } = await connected(t, { irqs: { intx: true, msi: 2, msix: 5 } })
  for (const [index, count, flags] of [
    [0, 1, 7],
    [1, 2, 9],
    [2, 5, 9],
    [3, 1, 1],
    [4, 1, 1],
  ] as const) {
    const reply = await peer.call((view, id) => info.encodeGetIrqInfo(view, 0, id, index))
    t.is(reply.bytes.length, 32)
    t.deepEqual(
      [reply.view.getUint32(24, true), reply.view.getUint32(28, true), reply.view.getUint32(20, true)],
      [index, count, flags],
    )
  }
  t.is((await peer.call((view, id) => info.encodeGetIrqInfo(view, 0, id, 5))).errno, 22)
  const none = await connected(t, {})
  const reply = await none.peer.call((view, id) => info.encodeGetIrqInfo(view, 0, id, 0))
  t.is(reply.view.getUint32(28, true), 0)
})

test('a command that nobody knows is refused, and the next one served', async (t) => {
  const { peer, errors } = await connected(t, {})
  for (const command of [0, 11, 12, 14, 19, 0xffff]) t.is((await peer.call(bare(command))).errno, 38)
  t.is((await peer.read(7, 0, 2)).length, 2)
  t.deepEqual(
    errors.map(({ message }) => message),
    [],
  )
})

test('a command that is too short is refused, and the next one served', async (t) => {
  const { peer } = await connected(t, {})
  for (const command of [2, 3, 4, 5, 6, 7, 8, 9, 10, 15, 16, 17, 18])
    t.is((await peer.call(bare(command))).errno, 22, String(command))
  t.is((await peer.read(7, 0, 2)).length, 2)
})

test('who does not say a version first is hung up on', async (t) => {
  const { connect, errors, device } = serve(t, {})
  const peer = connect()
  const reply = await peer.call((view, id) => info.encodeGetInfo(view, 0, id))
  t.is(reply.errno, 22)
  await peer.ended
  t.regex(errors[0]?.message ?? '', /VFIO_USER_DEVICE_GET_INFO before a version/)
  t.false(device.connected)
})

test('a version that cannot be agreed on, and a second one, end the connection', async (t) => {
  const { connect } = serve(t, {})
  const other = connect()
  const reply = await other.call((view, id) => {
    const size = encodeVersion(view, 0, id, {})
    view.setUint16(16, 1, true)
    return size
  })
  t.is(reply.errno, 22)
  await other.ended

  const twice = connect()
  t.is((await twice.negotiate()).errno, null)
  t.is((await twice.negotiate()).errno, 22)
  await twice.ended

  const garbage = connect()
  const answer = await garbage.call((view, id) => {
    new Uint8Array(view.buffer).set(Buffer.from('{"capabilities":7}\0'), 20)
    view.setUint32(16, 0, true)
    return header.writeCommand(view, 0, id, COMMAND.version, 39)
  })
  t.is(answer.errno, 22)
  await garbage.ended
})

test('a reply to nothing, and a type that is none, end the connection', async (t) => {
  const { connect, errors } = serve(t, {})
  const peer = connect()
  await peer.negotiate()
  peer.send((view, id) => header.writeReply(view, 0, id, COMMAND.dmaRead, 16))
  await peer.ended
  t.regex(errors[0]?.message ?? '', /a reply to nothing that was asked/)
  const other = connect()
  await other.negotiate()
  other.send((view, id) => {
    header.writeCommand(view, 0, id, 4, 16)
    view.setUint32(8, 5, true)
    return 16
  })
  await other.ended
  t.regex(errors[1]?.message ?? '', /type 5/)
})

test('a reset puts configuration space and the table back, and calls the author', async (t) => {
  let resets = 0
  const { peer, device } = await connected(t, {
    regions: { bar0: { size: 0x1000 } },
    irqs: { intx: true },
    onReset: () => resets++,
  })
  await peer.write32(7, 0x10, 0xfe00_0000)
  device.raise('intx')
  const reply = await peer.call((view, id) => info.encodeReset(view, 0, id))
  t.is(reply.bytes.length, 16)
  t.is(reply.errno, null)
  t.is(resets, 1)
  t.is(await peer.read32(7, 0x10), 0)
  t.is(await peer.read32(7, 4), 0)
  t.false(device.line)
})

test('a reset waits for its handler, and one that fails is refused', async (t) => {
  let resolve: (() => void) | undefined
  const { peer, errors } = await connected(t, {
    onReset: () => new Promise<void>((each) => (resolve = each)),
  })
  const reply = peer.call((view, id) => info.encodeReset(view, 0, id))
  const next = peer.read(7, 0, 2)
  await until(() => resolve !== undefined)
  await sleep(20)
  t.is(peer.received.length, 2)
  resolve?.()
  t.is((await reply).errno, null)
  await next
  const broken = await connected(t, { onReset: () => Promise.reject(new Error('stuck')) })
  t.is((await broken.peer.call((view, id) => info.encodeReset(view, 0, id))).errno, 5)
  t.is(broken.errors[0]?.message, 'stuck')
  t.deepEqual(errors, [])
})

test('doorbells ring by message and by eventfd, and other writes do not', async (t) => {
  const rings: unknown[] = []
  const { options, log } = registers()
  const { peer } = await connected(t, {
    ...options,
    regions: {
      bar0: {
        size: 0x100,
        doorbells: [
          { offset: 0x10, width: 2, onRing: (count) => rings.push(['any', count]) },
          { offset: 0x20, width: 4, match: 7, onRing: (count) => rings.push(['seven', count]) },
          { offset: 0x20, width: 4, match: 8n, onRing: (count) => rings.push(['eight', count]) },
        ],
      },
    },
  })
  await peer.write(0, 0x10, Uint8Array.of(1, 2))
  await peer.write32(0, 0x20, 8)
  await peer.write32(0, 0x20, 9)
  await peer.write32(0, 0x10, 1)
  t.deepEqual(rings, [
    ['any', 1],
    ['eight', 1],
  ])
  t.deepEqual(log, ['write bar0 32 4 9', 'write bar0 16 4 1'])

  const ask = (argsz: number, index = 0) =>
    peer.call((view, id) => ioFds.encodeGetIoFds(view, 0, id, { argsz, index }))
  const short = await ask(16)
  t.like(ioFds.decodeIoFdsReply(short.view, 0, short.bytes.length), { argsz: 136, count: 3, entries: [] })
  t.is(short.fds.length, 0)
  const full = await ask(136)
  const entries = ioFds.decodeIoFdsReply(full.view, 0, full.bytes.length)?.entries
  t.like(entries?.[2], { offset: 0x20, size: 4, fdIndex: 2, flags: 1, datamatch: 8n })
  t.is(full.fds.length, 3)
  const eventfds = full.fds.splice(0).map((fd) => own(t, EventFd.fromFd(fd)))
  eventfds[1]?.signal(3)
  await until(() => rings.length === 3)
  t.deepEqual(rings[2], ['seven', 3])
  const none = await ask(136, 7)
  t.like(ioFds.decodeIoFdsReply(none.view, 0, none.bytes.length), { count: 0 })
  t.is((await ask(136, 99)).errno, 22)
})

test('a client gets no more descriptors than it takes', async (t) => {
  const { connect } = serve(t, {
    regions: {
      bar0: { size: 0x100, doorbells: [0, 4, 8].map((offset) => ({ offset, onRing: () => undefined })) },
    },
  })
  const peer = connect()
  await peer.negotiate({ maxMsgFds: 2 })
  const reply = await peer.call((view, id) => ioFds.encodeGetIoFds(view, 0, id, { argsz: 4096, index: 0 }))
  t.is(reply.fds.length, 2)
  t.is(ioFds.decodeIoFdsReply(reply.view, 0, reply.bytes.length)?.entries.length, 2)
  for (const fd of reply.fds.splice(0)) closeSync(fd)
})
