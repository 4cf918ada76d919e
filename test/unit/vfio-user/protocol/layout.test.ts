// The bytes of every command, both ways: against bytes written down here by hand, and read back.
import test from 'ava'

import { FEATURE_FLAG } from '../../../../ts/device/features/ids.js'
import {
  COMMAND,
  DMA_FLAG,
  IRQ_ACTION,
  IRQ_DATA,
  REGION_FLAG,
  UNMAP_FLAG,
  commandName,
} from '../../../../ts/vfio-user/protocol/constants.js'
import * as info from '../../../../ts/vfio-user/protocol/device-info.js'
import * as logging from '../../../../ts/vfio-user/protocol/dma-logging.js'
import * as dma from '../../../../ts/vfio-user/protocol/dma.js'
import * as feature from '../../../../ts/vfio-user/protocol/feature.js'
import * as header from '../../../../ts/vfio-user/protocol/header.js'
import * as ioFds from '../../../../ts/vfio-user/protocol/io-fds.js'
import * as irqs from '../../../../ts/vfio-user/protocol/irqs.js'
import * as io from '../../../../ts/vfio-user/protocol/region-io.js'

/** Not at the beginning of anything, so that an offset which forgets where the message is shows. */
const AT = 40
const GARBAGE = 0xa5

function buffer(): { bytes: Uint8Array; view: DataView; message: (size: number) => string } {
  const bytes = new Uint8Array(4096).fill(GARBAGE)
  const shifted = bytes.subarray(8)
  const view = new DataView(shifted.buffer, shifted.byteOffset, shifted.byteLength)
  return {
    bytes: shifted,
    view,
    message: (size) => Buffer.from(shifted.subarray(AT, AT + size)).toString('hex'),
  }
}

/** Fields as they lie on the wire: [bytes, value] each, little-endian. */
function wire(...fields: readonly (readonly [bytes: number, value: number | bigint])[]): string {
  return fields
    .map(([bytes, value]) => {
      const field = Buffer.alloc(8)
      field.writeBigUInt64LE(BigInt(value))
      return field.subarray(0, bytes).toString('hex')
    })
    .join('')
}

const COMMAND_TYPE = 0
const REPLY = 1
const POSTED = 0x10
const ERROR_REPLY = 0x21

function head(id: number, command: number, size: number, flags: number, errno = 0): string {
  return wire([2, id], [2, command], [4, size], [4, flags], [4, errno])
}

test('a header is 16 bytes: id, command, length, flags and errno', (t) => {
  const { view, message } = buffer()
  t.is(header.writeCommand(view, AT, 0x1234, COMMAND.deviceReset, 16), 16)
  t.is(message(16), head(0x1234, 13, 16, COMMAND_TYPE))
  t.is(header.messageId(view, AT), 0x1234)
  t.is(header.commandOf(view, AT), 13)
  t.is(header.sizeOf(view, AT), 16)
  t.false(header.isReply(view, AT))
  t.false(header.wantsNoReply(view, AT))

  header.writePosted(view, AT, 7, COMMAND.regionWrite, 36)
  t.is(message(16), head(7, 10, 36, POSTED))
  t.true(header.wantsNoReply(view, AT))

  header.writeReply(view, AT, 7, COMMAND.regionRead, 36)
  t.is(message(16), head(7, 9, 36, REPLY))
  t.true(header.isReply(view, AT))
  t.false(header.isError(view, AT))

  t.is(header.writeError(view, AT, 9, COMMAND.dmaMap, 22), 16)
  t.is(message(16), head(9, 2, 16, ERROR_REPLY, 22))
  t.true(header.isError(view, AT))
  t.is(header.errnoOf(view, AT), 22)
})

test('a header that cannot be right is called by what is wrong with it', (t) => {
  const { view } = buffer()
  header.writeCommand(view, AT, 1, 1, 32)
  t.is(header.headerProblem(view, AT, 32), null)
  t.regex(header.headerProblem(view, AT, 15) ?? '', /has no header/)
  t.regex(header.headerProblem(view, AT, 33) ?? '', /33 bytes that says to be 32/)
  header.writeCommand(view, AT, 1, 1, 15)
  t.regex(header.headerProblem(view, AT, 16) ?? '', /says to be 15 bytes/)
  header.writeCommand(view, AT, 1, 1, 0xffff_ffff)
  t.regex(header.headerProblem(view, AT, 16) ?? '', /4294967295 bytes, above 1048640/)
  header.writeCommand(view, AT, 1, 1, 16)
  view.setUint32(AT + 8, 2, true)
  t.regex(header.headerProblem(view, AT, 16) ?? '', /type 2/)
})

test('64-bit offsets are exact as numbers to 2^53, and stay large beyond', (t) => {
  const { view } = buffer()
  for (const value of [0, 1, 0xffff_ffff, 0x1_0000_0000, 2 ** 53 - 1]) {
    header.writeU64(view, AT, value)
    t.is(view.getBigUint64(AT, true), BigInt(value))
    t.is(header.readU64(view, AT), value)
  }
  view.setBigUint64(AT, 0xffff_ffff_ffff_ffffn, true)
  t.true(header.readU64(view, AT) > 2 ** 63)
})

test('every command is called by its name in the protocol', (t) => {
  t.is(commandName(COMMAND.regionRead), 'VFIO_USER_REGION_READ')
  t.is(commandName(COMMAND.migDataWrite), 'VFIO_USER_MIG_DATA_WRITE')
  t.is(commandName(14), 'vfio-user command 14')
  t.is(commandName(900), 'vfio-user command 900')
  for (const command of Object.values(COMMAND)) t.regex(commandName(command), /^VFIO_USER_/)
})

test('REGION_READ and its reply', (t) => {
  const { view, message } = buffer()
  t.is(io.writeRegionRead(view, AT, 3, 2, 0x1_0000_0010, 4), 32)
  const fields = wire([8, 0x1_0000_0010], [4, 2], [4, 4])
  t.is(message(32), head(3, 9, 32, COMMAND_TYPE) + fields)
  t.true(io.isRegionRead(view, AT, 32))
  t.false(io.isRegionRead(view, AT, 31))
  t.is(io.accessOffset(view, AT), 0x1_0000_0010)
  t.is(io.accessRegion(view, AT), 2)
  t.is(io.accessCount(view, AT), 4)
  view.setUint32(AT + 28, (1 << 20) + 1, true)
  t.false(io.isRegionRead(view, AT, 32))

  view.setUint32(AT + io.ACCESS_DATA, 0xdeadbeef, true)
  t.is(io.writeRegionReadReply(view, AT, 3, 2, 0x1_0000_0010, 4), 36)
  t.is(message(36), head(3, 9, 36, REPLY) + fields + 'efbeadde')
  t.true(io.isRegionReadReply(view, AT, 36, 4))
  t.true(io.isRegionReadReply(view, AT, 40, 4))
  t.false(io.isRegionReadReply(view, AT, 35, 4))
  t.false(io.isRegionReadReply(view, AT, 16, 4))
  t.false(io.isRegionReadReply(view, AT, 36, 2))
})

test('REGION_WRITE, waited for and posted, and its reply', (t) => {
  const { view, message } = buffer()
  view.setUint16(AT + io.ACCESS_DATA, 0xbeef, true)
  t.is(io.writeRegionWrite(view, AT, 4, 7, 4, 2, false), 34)
  const fields = wire([8, 4], [4, 7], [4, 2])
  t.is(message(34), head(4, 10, 34, COMMAND_TYPE) + fields + 'efbe')
  t.true(io.isRegionWrite(view, AT, 34))
  t.false(io.isRegionWrite(view, AT, 33))
  t.false(io.isRegionWrite(view, AT, 16))
  io.writeRegionWrite(view, AT, 4, 7, 4, 2, true)
  t.is(message(16), head(4, 10, 34, POSTED))
  t.is(io.writeRegionWriteReply(view, AT, 4, 7, 4, 2), 32)
  t.is(message(32), head(4, 10, 32, REPLY) + fields)
})

test('REGION_WRITE_MULTI and its reply', (t) => {
  const { view, message } = buffer()
  const first = io.multiWriteAt(AT, 0)
  const second = io.multiWriteAt(AT, 1)
  io.putMultiWrite(view, first, 0, 8, 4)
  view.setBigUint64(first + 16, 0x11n, true)
  io.putMultiWrite(view, second, 1, 16, 8)
  view.setBigUint64(second + 16, 0x2222_3333_4444_5555n, true)
  t.is(io.writeMulti(view, AT, 5, 2, true), 72)
  const writes = wire([8, 8], [4, 0], [4, 4], [8, 0x11], [8, 16], [4, 1], [4, 8], [8, 0x2222_3333_4444_5555n])
  t.is(message(72), head(5, 15, 72, POSTED) + wire([8, 2]) + writes)
  t.is(io.multiWrites(view, AT, 72), 2)
  t.is(io.multiWrites(view, AT, 71), -1)
  t.is(io.multiWrites(view, AT, 16), -1)
  t.deepEqual(
    [io.multiOffset(view, second), io.multiRegion(view, second), io.multiCount(view, second)],
    [16, 1, 8],
  )
  t.is(io.writeMultiReply(view, AT, 5, 2), 24)
  t.is(message(24), head(5, 15, 24, REPLY) + wire([8, 2]))
  view.setBigUint64(AT + 16, 0xffff_ffff_ffff_ffffn, true)
  t.is(io.multiWrites(view, AT, 4000), -1)
})

test('DMA_MAP', (t) => {
  const { view, message } = buffer()
  const map = { flags: DMA_FLAG.read | DMA_FLAG.write, offset: 0x2000n, iova: 0x1_0000_0000n, size: 0x4000n }
  t.is(dma.encodeDmaMap(view, AT, 6, map), 48)
  const fields = wire([4, 32], [4, 3], [8, 0x2000], [8, 0x1_0000_0000], [8, 0x4000])
  t.is(message(48), head(6, 2, 48, COMMAND_TYPE) + fields)
  t.deepEqual(dma.decodeDmaMap(view, AT, 48), map)
  t.is(dma.decodeDmaMap(view, AT, 47), null)
  t.deepEqual(dma.dmaAccess(2), { read: false, write: true })
  for (const wrong of [
    { ...map, size: 0n },
    { ...map, iova: 0xffff_ffff_ffff_f000n, size: 0x1001n },
    { ...map, offset: 0xffff_ffff_ffff_f000n, size: 0x1001n },
  ]) {
    dma.encodeDmaMap(view, AT, 6, wrong)
    t.is(dma.decodeDmaMap(view, AT, 48), null)
  }
  dma.encodeDmaMap(view, AT, 6, { ...map, offset: 0n, iova: 0xffff_ffff_ffff_f000n, size: 0x1000n })
  t.not(dma.decodeDmaMap(view, AT, 48), null)
})

test('DMA_UNMAP and its reply, with and without a bitmap', (t) => {
  const { view, message } = buffer()
  const unmap = { flags: 0, iova: 0x1000n, size: 0x2000n }
  t.is(dma.encodeDmaUnmap(view, AT, 7, unmap), 40)
  t.is(message(40), head(7, 3, 40, COMMAND_TYPE) + wire([4, 24], [4, 0], [8, 0x1000], [8, 0x2000]))
  t.deepEqual(dma.decodeDmaUnmap(view, AT, 40), unmap)
  t.is(dma.decodeDmaUnmap(view, AT, 39), null)
  t.is(dma.encodeDmaUnmapReply(view, AT, 7, unmap), 40)
  t.is(message(16), head(7, 3, 40, REPLY))
  t.deepEqual(dma.decodeDmaUnmapReply(view, AT, 40), { size: 0x2000n, bitmapAt: 40, bitmapBytes: 0 })

  const tracked = { ...unmap, flags: UNMAP_FLAG.dirtyBitmap, bitmap: { pageSize: 0x1000n, bytes: 8 } }
  t.is(dma.encodeDmaUnmap(view, AT, 8, tracked), 56)
  const fields = wire([4, 48], [4, 1], [8, 0x1000], [8, 0x2000], [8, 0x1000], [8, 8])
  t.is(message(56), head(8, 3, 56, COMMAND_TYPE) + fields)
  t.deepEqual(dma.decodeDmaUnmap(view, AT, 56), tracked)
  t.is(dma.decodeDmaUnmap(view, AT, 40), null)
  view.setUint8(AT + 56, 3)
  t.is(dma.encodeDmaUnmapReply(view, AT, 8, tracked), 64)
  t.is(message(16), head(8, 3, 64, REPLY))
  t.deepEqual(dma.decodeDmaUnmapReply(view, AT, 64), { size: 0x2000n, bitmapAt: 56, bitmapBytes: 8 })
  t.is(dma.decodeDmaUnmapReply(view, AT, 63), null)
  t.is(dma.decodeDmaUnmapReply(view, AT, 16), null)
})

test('DMA_UNMAP is refused for a range beyond 64 bits and for a bitmap that cannot be', (t) => {
  const { view } = buffer()
  dma.encodeDmaUnmap(view, AT, 7, { flags: 0, iova: 0xffff_ffff_ffff_ffffn, size: 2n })
  t.is(dma.decodeDmaUnmap(view, AT, 40), null)
  dma.encodeDmaUnmap(view, AT, 7, { flags: 0, iova: 0xffff_ffff_ffff_ffffn, size: 1n })
  t.not(dma.decodeDmaUnmap(view, AT, 40), null)
  for (const bitmap of [
    { pageSize: 0n, bytes: 8 },
    { pageSize: 0x1800n, bytes: 8 },
    { pageSize: 0x1000n, bytes: (1 << 20) + 1 },
  ]) {
    dma.encodeDmaUnmap(view, AT, 7, { flags: UNMAP_FLAG.dirtyBitmap, iova: 0n, size: 1n, bitmap })
    t.is(dma.decodeDmaUnmap(view, AT, 56), null)
  }
})

test('DMA_READ and DMA_WRITE, and their replies, have a count of 8 bytes', (t) => {
  const { view, message } = buffer()
  const fields = wire([8, 0xffff_0000_0000n], [8, 4])
  t.is(dma.encodeDmaRead(view, AT, 1, 0xffff_0000_0000n, 4), 32)
  t.is(message(32), head(1, 11, 32, COMMAND_TYPE) + fields)
  t.true(dma.isDmaRead(view, AT, 32))
  t.false(dma.isDmaRead(view, AT, 31))
  t.is(dma.dmaAddress(view, AT), 0xffff_0000_0000n)
  t.is(dma.dmaCount(view, AT), 4)
  view.setUint32(AT + dma.DMA_DATA, 0x04030201, true)
  t.is(dma.encodeDmaReadReply(view, AT, 1, 0xffff_0000_0000n, 4), 36)
  t.is(message(36), head(1, 11, 36, REPLY) + fields + '01020304')
  t.true(dma.isDmaData(view, AT, 36))
  t.false(dma.isDmaData(view, AT, 35))
  t.is(dma.encodeDmaWrite(view, AT, 2, 0xffff_0000_0000n, 4), 36)
  t.is(message(36), head(2, 12, 36, COMMAND_TYPE) + fields + '01020304')
  t.is(dma.encodeDmaWriteReply(view, AT, 2, 0xffff_0000_0000n, 4), 32)
  t.is(message(32), head(2, 12, 32, REPLY) + fields)
})

test('DEVICE_GET_INFO and its reply', (t) => {
  const { view, message } = buffer()
  t.is(info.encodeGetInfo(view, AT, 1), 32)
  t.is(message(32), head(1, 4, 32, COMMAND_TYPE) + wire([4, 16], [4, 0], [4, 0], [4, 0]))
  t.is(info.decodeGetInfo(view, AT, 32), 16)
  t.is(info.decodeGetInfo(view, AT, 31), null)
  t.is(info.encodeGetInfoReply(view, AT, 1, { flags: 3, numRegions: 9, numIrqs: 5 }), 32)
  t.is(message(32), head(1, 4, 32, REPLY) + wire([4, 16], [4, 3], [4, 9], [4, 5]))
  const decoded = info.decodeGetInfoReply(view, AT, 32)
  t.like(decoded, { bus: 'pci', resettable: true, numRegions: 9, numIrqs: 5, capabilities: [] })
  t.is(info.decodeGetInfoReply(view, AT, 31), null)
})

test('DEVICE_GET_REGION_INFO and its reply', (t) => {
  const { view, message } = buffer()
  t.is(info.encodeGetRegionInfo(view, AT, 1, { argsz: 32, index: 2 }), 48)
  const request = wire([4, 32], [4, 0], [4, 2], [4, 0], [8, 0], [8, 0])
  t.is(message(48), head(1, 5, 48, COMMAND_TYPE) + request)
  t.deepEqual(info.decodeGetRegionInfo(view, AT, 48), { argsz: 32, index: 2 })
  t.is(info.decodeGetRegionInfo(view, AT, 47), null)

  const plain = { index: 2, flags: 3, size: 0x1000, fileOffset: 0, areas: null }
  t.is(info.encodeRegionInfoReply(view, AT, 1, 32, plain), 48)
  t.is(message(48), head(1, 5, 48, REPLY) + wire([4, 32], [4, 3], [4, 2], [4, 0], [8, 0x1000], [8, 0]))
  t.like(info.decodeRegionInfoReply(view, AT, 48), {
    argsz: 32,
    info: { index: 2, size: 0x1000, capabilities: [] },
  })
})

test('the areas of a region follow its info, where the asker has room for them', (t) => {
  const { view, message } = buffer()
  const areas = [
    { offset: 0, size: 0x1000 },
    { offset: 0x3000, size: 0x2000 },
  ]
  const flags = REGION_FLAG.read | REGION_FLAG.write | REGION_FLAG.mmap
  const sparse = { index: 1, flags, size: 0x8000, fileOffset: 0x10000, areas }
  t.is(info.encodeRegionInfoReply(view, AT, 1, 80, sparse), 96)
  const fixed = wire([4, 80], [4, 15], [4, 1], [4, 32], [8, 0x8000], [8, 0x10000])
  const capability = wire(
    [2, 1],
    [2, 1],
    [4, 0],
    [4, 2],
    [4, 0],
    [8, 0],
    [8, 0x1000],
    [8, 0x3000],
    [8, 0x2000],
  )
  t.is(message(96), head(1, 5, 96, REPLY) + fixed + capability)
  t.deepEqual(info.decodeRegionInfoReply(view, AT, 96)?.info.capabilities, [{ name: 'sparseMmap', areas }])

  t.is(info.encodeRegionInfoReply(view, AT, 1, 79, sparse), 48)
  t.is(message(48), head(1, 5, 48, REPLY) + wire([4, 80], [4, 7], [4, 1], [4, 0], [8, 0x8000], [8, 0x10000]))
  t.like(info.decodeRegionInfoReply(view, AT, 48), { argsz: 80, info: { capabilities: [] } })
})

test('a region of an impossible size is no region', (t) => {
  const { view } = buffer()
  info.encodeRegionInfoReply(view, AT, 1, 32, {
    index: 0,
    flags: 3,
    size: 0x1000,
    fileOffset: 0,
    areas: null,
  })
  t.not(info.decodeRegionInfoReply(view, AT, 48), null)
  t.is(info.decodeRegionInfoReply(view, AT, 47), null)
  view.setBigUint64(AT + 32, 0xffff_ffff_ffff_ffffn, true)
  t.is(info.decodeRegionInfoReply(view, AT, 48), null)
})

test('DEVICE_GET_IRQ_INFO and its reply', (t) => {
  const { view, message } = buffer()
  t.is(info.encodeGetIrqInfo(view, AT, 1, 2), 32)
  t.is(message(32), head(1, 7, 32, COMMAND_TYPE) + wire([4, 16], [4, 0], [4, 2], [4, 0]))
  t.deepEqual(info.decodeGetIrqInfo(view, AT, 32), { argsz: 16, index: 2 })
  t.is(info.decodeGetIrqInfo(view, AT, 31), null)
  t.is(info.encodeIrqInfoReply(view, AT, 1, { index: 2, flags: 9, count: 3 }), 32)
  t.is(message(32), head(1, 7, 32, REPLY) + wire([4, 16], [4, 9], [4, 2], [4, 3]))
  t.like(info.decodeIrqInfoReply(view, AT, 32), {
    index: 2,
    count: 3,
    flags: { eventfd: true, noresize: true },
  })
  t.is(info.decodeIrqInfoReply(view, AT, 31), null)
})

test('DEVICE_RESET is a header', (t) => {
  const { view, message } = buffer()
  t.is(info.encodeReset(view, AT, 8), 16)
  t.is(message(16), head(8, 13, 16, COMMAND_TYPE))
})

test('DEVICE_SET_IRQS', (t) => {
  const { view, message } = buffer()
  const set = { data: IRQ_DATA.eventfd, action: IRQ_ACTION.trigger, index: 2, start: 1, count: 3 }
  t.is(irqs.encodeSetIrqs(view, AT, 1, set), 36)
  t.is(message(36), head(1, 8, 36, COMMAND_TYPE) + wire([4, 20], [4, 0x24], [4, 2], [4, 1], [4, 3]))
  t.deepEqual(irqs.decodeSetIrqs(view, AT, 36), set)
  t.is(irqs.decodeSetIrqs(view, AT, 35), null)

  const bool = { data: IRQ_DATA.bool, action: IRQ_ACTION.mask, index: 0, start: 0, count: 2 }
  t.is(irqs.encodeSetIrqs(view, AT, 1, bool, Uint8Array.of(1, 0)), 38)
  t.is(message(38), head(1, 8, 38, COMMAND_TYPE) + wire([4, 22], [4, 0xa], [4, 0], [4, 0], [4, 2]) + '0100')
  t.deepEqual(irqs.decodeSetIrqs(view, AT, 38), bool)
  t.is(irqs.decodeSetIrqs(view, AT, 37), null)
})

test('DEVICE_SET_IRQS is refused for flags that contradict each other and for vectors that no interrupt has', (t) => {
  const { view } = buffer()
  const withFlags = (flags: number): irqs.SetIrqs | null => {
    irqs.encodeSetIrqs(view, AT, 1, { data: flags, action: 0, index: 0, start: 0, count: 1 })
    return irqs.decodeSetIrqs(view, AT, 36)
  }
  for (const flags of [0, 1, 3, 0x20, 0x31, 0x21 | 0x40, 0x8000_0021])
    t.is(withFlags(flags), null, String(flags))
  t.not(withFlags(0x21), null)
  for (const [start, count] of [
    [2048, 1],
    [1, 2048],
    [0xffff_ffff, 0xffff_ffff],
  ] as const) {
    irqs.encodeSetIrqs(view, AT, 1, { data: 4, action: 32, index: 2, start, count })
    t.is(irqs.decodeSetIrqs(view, AT, 36), null)
  }
})

test('DEVICE_GET_REGION_IO_FDS and its reply', (t) => {
  const { view, message } = buffer()
  t.is(ioFds.encodeGetIoFds(view, AT, 1, { argsz: 96, index: 2 }), 32)
  t.is(message(32), head(1, 6, 32, COMMAND_TYPE) + wire([4, 96], [4, 0], [4, 2], [4, 0]))
  t.deepEqual(ioFds.decodeGetIoFds(view, AT, 32), { argsz: 96, index: 2 })
  t.is(ioFds.decodeGetIoFds(view, AT, 31), null)
  view.setUint32(AT + 20, 1, true)
  t.is(ioFds.decodeGetIoFds(view, AT, 32), null)

  const entries = [
    { offset: 0x50, size: 2, fdIndex: 0, type: 0, flags: 0, datamatch: 0n },
    { offset: 0x54, size: 4, fdIndex: 1, type: 0, flags: 1, datamatch: 7n },
  ]
  const request = { argsz: 96, index: 2 }
  t.is(ioFds.encodeIoFdsReply(view, AT, 1, request, entries), 112)
  const first = wire([8, 0x50], [8, 2], [4, 0], [4, 0], [4, 0], [4, 0], [8, 0])
  const second = wire([8, 0x54], [8, 4], [4, 1], [4, 0], [4, 1], [4, 0], [8, 7])
  t.is(message(112), head(1, 6, 112, REPLY) + wire([4, 96], [4, 0], [4, 2], [4, 2]) + first + second)
  t.deepEqual(ioFds.decodeIoFdsReply(view, AT, 112), { argsz: 96, count: 2, entries })
  t.true(ioFds.matchesData(entries[1]!))

  t.is(ioFds.encodeIoFdsReply(view, AT, 1, { argsz: 16, index: 2 }, entries), 32)
  t.deepEqual(ioFds.decodeIoFdsReply(view, AT, 32), { argsz: 96, count: 2, entries: [] })
})

test("libvfio-user's entries of 48 bytes have their value in the last 8", (t) => {
  const { view } = buffer()
  header.writeReply(view, AT, 1, COMMAND.deviceGetRegionIoFds, 80)
  new Uint8Array(view.buffer, view.byteOffset + AT + 16, 64).fill(0)
  view.setUint32(AT + 16, 64, true)
  view.setUint32(AT + 28, 1, true)
  view.setBigUint64(AT + 32, 0x50n, true)
  view.setBigUint64(AT + 40, 4n, true)
  view.setUint32(AT + 56, 1, true)
  view.setUint32(AT + 60, 0xffff_ffff, true)
  view.setBigUint64(AT + 72, 9n, true)
  const entry = { offset: 0x50, size: 4, fdIndex: 0, type: 0, flags: 1, datamatch: 9n }
  t.deepEqual(ioFds.decodeIoFdsReply(view, AT, 80), { argsz: 64, count: 1, entries: [entry] })
  t.is(ioFds.decodeIoFdsReply(view, AT, 76), null)
  view.setBigUint64(AT + 40, 3n, true)
  t.is(ioFds.decodeIoFdsReply(view, AT, 80), null)
  view.setUint32(AT + 28, 1025, true)
  t.is(ioFds.decodeIoFdsReply(view, AT, 80), null)
})

test('DEVICE_FEATURE and its reply', (t) => {
  const { view, message } = buffer()
  const flags = FEATURE_FLAG.set | feature.FEATURE.migDeviceState
  const data = Uint8Array.of(2, 0, 0, 0, 0, 0, 0, 0)
  t.is(feature.encodeFeature(view, AT, 1, flags, data), 32)
  t.is(message(32), head(1, 16, 32, COMMAND_TYPE) + wire([4, 16], [4, 0x20002], [4, 2], [4, 0]))
  t.deepEqual(feature.decodeFeature(view, AT, 32), { argsz: 16, flags, bytes: 8 })
  t.is(feature.decodeFeature(view, AT, 23), null)
  t.is(feature.encodeFeature(view, AT, 1, flags, data.subarray(0, 0), 64), 24)
  t.deepEqual(feature.decodeFeature(view, AT, 24), { argsz: 72, flags, bytes: 0 })
  t.is(feature.encodeFeatureReply(view, AT, 1, flags, data), 32)
  t.is(message(32), head(1, 16, 32, REPLY) + wire([4, 16], [4, 0x20002], [4, 2], [4, 0]))
})

test('MIG_DATA_READ and MIG_DATA_WRITE', (t) => {
  const { view, message } = buffer()
  t.is(feature.encodeMigRead(view, AT, 1, 4), 24)
  t.is(message(24), head(1, 17, 24, COMMAND_TYPE) + wire([4, 12], [4, 4]))
  t.is(feature.migReadSize(view, AT, 24), 4)
  t.is(feature.migReadSize(view, AT, 23), -1)
  view.setUint32(AT + 24, 0x04030201, true)
  t.is(feature.encodeMigReadReply(view, AT, 1, 4), 28)
  t.is(message(28), head(1, 17, 28, REPLY) + wire([4, 12], [4, 4]) + '01020304')
  t.is(feature.migDataSize(view, AT, 28), 4)
  t.is(feature.migDataSize(view, AT, 2000), 4)
  t.is(feature.migDataSize(view, AT, 27), -1)
  t.is(feature.encodeMigWrite(view, AT, 2, 4), 28)
  t.is(message(28), head(2, 18, 28, COMMAND_TYPE) + wire([4, 12], [4, 4]) + '01020304')
  feature.encodeMigRead(view, AT, 1, (1 << 20) + 1)
  t.is(feature.migReadSize(view, AT, 24), -1)
})

test('the data of the DMA logging features', (t) => {
  const start = { pageSize: 4096n, ranges: [{ iova: 0x1000n, length: 0x2000n }] }
  const bytes = logging.encodeLoggingStart(start)
  const fields = wire([8, 4096], [4, 1], [4, 0], [8, 0x1000], [8, 0x2000])
  t.is(Buffer.from(bytes).toString('hex'), fields)
  t.deepEqual(logging.decodeLoggingStart(bytes), start)
  t.is(logging.decodeLoggingStart(bytes.subarray(0, 31)), null)
  t.is(logging.decodeLoggingStart(bytes.subarray(0, 15)), null)
  t.is(logging.decodeLoggingStart(logging.encodeLoggingStart({ ...start, pageSize: 5n })), null)
  const wide = { iova: 0xffff_ffff_ffff_ffffn, length: 2n }
  t.is(logging.decodeLoggingStart(logging.encodeLoggingStart({ pageSize: 4096n, ranges: [wide] })), null)

  const report = { iova: 0x1000n, length: 0x41000n, pageSize: 0x1000n }
  t.is(
    Buffer.from(logging.encodeLoggingReport(report)).toString('hex'),
    wire([8, 0x1000], [8, 0x41000], [8, 0x1000]),
  )
  t.deepEqual(logging.decodeLoggingReport(logging.encodeLoggingReport(report)), report)
  t.is(logging.decodeLoggingReport(logging.encodeLoggingReport(report).subarray(1)), null)
  t.is(logging.bitmapBytes(report), 16n)
  t.is(logging.bitmapBytes({ ...report, length: 0x40000n }), 8n)
})
