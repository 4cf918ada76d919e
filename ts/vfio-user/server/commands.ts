// What each command does, but accesses to regions: reads it, does it, and says what is to be answered. Knows no order of answers.
import { EINVAL, VfioError, type VfioErrorReason } from '../../errors.js'
import { EventFd } from '../../event/eventfd.js'
import { PCI_IRQS, PCI_REGIONS } from '../../device/names.js'
import {
  COMMAND,
  DEVICE_FLAG,
  HEADER_BYTES,
  IRQ_ACTION,
  IRQ_DATA,
  REGION_FLAG,
  commandName,
} from '../protocol/constants.js'
import * as info from '../protocol/device-info.js'
import { decodeDmaMap, decodeDmaUnmap, encodeDmaUnmapReply } from '../protocol/dma.js'
import {
  FEATURE_DATA,
  decodeFeature,
  encodeFeatureReply,
  encodeMigReadReply,
  migDataSize,
  migReadSize,
} from '../protocol/feature.js'
import { writeReply } from '../protocol/header.js'
import { decodeGetIoFds, encodeIoFdsReply, ioFdsBytes } from '../protocol/io-fds.js'
import { SET_IRQS_DATA, type SetIrqs, decodeSetIrqs } from '../protocol/irqs.js'
import { OWN_CLAIMS, answerTo, decodeVersion, encodeVersionReply } from '../protocol/negotiation.js'
import * as io from '../protocol/region-io.js'
import { MOST_RANGES } from './dma.js'
import { INTX } from './interrupts.js'
import type { CommandContext } from './command-context.js'

/** Writes a reply into the buffer that is sent; its size. */
type Encode = (out: DataView, id: number) => number
/** What is to be answered: bytes, with descriptors or something to be done afterwards. */
export type Reply =
  Encode | { readonly encode: Encode; readonly fds?: readonly number[]; readonly after?: () => void }

type Serve = (session: CommandContext, view: DataView, at: number, length: number) => Reply | Promise<Reply>

/** FILE_IO without MMAP: memory that is to be read and written by the file's calls, so by messages here. */
const MAP_MMAP = 4
const MAP_FILE_IO = 8

function refusal(command: number, errno: number = EINVAL, reason?: VfioErrorReason): VfioError {
  return new VfioError(errno, commandName(command), reason === undefined ? {} : { reason })
}

const NOTHING = new Uint8Array()

/** A reply that is a header. */
function bare(command: number): Encode {
  return (out, id) => writeReply(out, 0, id, command, HEADER_BYTES)
}

function version(
  session: CommandContext,
  view: DataView,
  at: number,
  length: number,
): Reply | Promise<Reply> {
  const proposal = decodeVersion(view, at, length)
  const { device, options } = session
  const limits = { ...OWN_CLAIMS, maxDmaMaps: MOST_RANGES }
  const own = device.migration === null ? limits : { ...limits, migration: {} }
  const answer = proposal === null ? null : answerTo(proposal, own)
  if (answer === null) throw refusal(COMMAND.version)
  const { agreement, claims } = answer
  const { windows } = options
  const ready = device.connect({ windows, messages: session.messages, mostMaps: agreement.maxDmaMaps })
  const agreed = (): Reply => {
    session.agreement = agreement
    session.messages.mostData = agreement.maxDataXferSize
    return {
      encode: (out, id) => encodeVersionReply(out, 0, id, agreement.minor, claims, length),
      after: () => session.run(device.told.onConnect),
    }
  }
  return ready instanceof Promise ? ready.then(agreed) : agreed()
}

function dmaMap(session: CommandContext, view: DataView, at: number, length: number): Reply | Promise<Reply> {
  const { device, options } = session
  const fds = session.takeFds()
  const map = decodeDmaMap(view, at, length)
  if (map === null || fds.length > 1) {
    fds.forEach(options.closeFd)
    throw refusal(COMMAND.dmaMap)
  }
  const byFile = (map.flags & (MAP_MMAP | MAP_FILE_IO)) === MAP_FILE_IO
  if (byFile) fds.splice(0).forEach(options.closeFd)
  const mapped = device.memory.map(map, fds[0])
  const reply = { encode: bare(COMMAND.dmaMap), after: () => session.run(device.told.onMemory) }
  return mapped instanceof Promise ? mapped.then(() => reply) : reply
}

function dmaUnmap(
  session: CommandContext,
  view: DataView,
  at: number,
  length: number,
): Reply | Promise<Reply> {
  const unmap = decodeDmaUnmap(view, at, length)
  const { memory, told } = session.device
  if (unmap === null || (unmap.bitmap !== undefined && !memory.logging)) throw refusal(COMMAND.dmaUnmap)
  const { iova, size: range, bitmap: wanted } = unmap
  const dirty = wanted === undefined ? NOTHING : memory.takeDirty(iova, range, wanted.pageSize)
  const done = (size: bigint): Reply => ({
    encode: (out, id) => {
      const bytes = encodeDmaUnmapReply(out, 0, id, { ...unmap, size })
      if (unmap.bitmap !== undefined) {
        const bitmap = session.channel.out.subarray(bytes - unmap.bitmap.bytes, bytes).fill(0)
        bitmap.set(dirty.subarray(0, bitmap.length))
      }
      return bytes
    },
    after: () => session.run(told.onMemory),
  })
  const size = memory.unmap(unmap)
  return size instanceof Promise ? size.then(done) : done(size)
}

function getInfo(session: CommandContext, view: DataView, at: number, length: number): Reply {
  if (info.decodeGetInfo(view, at, length) === null) throw refusal(COMMAND.deviceGetInfo)
  const described = {
    flags: DEVICE_FLAG.pci | (session.device.resettable ? DEVICE_FLAG.reset : 0),
    numRegions: PCI_REGIONS.length,
    numIrqs: PCI_IRQS.length,
  }
  return (out, id) => info.encodeGetInfoReply(out, 0, id, described)
}

function regionInfo(session: CommandContext, view: DataView, at: number, length: number): Reply {
  const request = info.decodeGetRegionInfo(view, at, length)
  const { device } = session
  const region = request === null ? undefined : device.regions[request.index]
  if (request === null || region === undefined) throw refusal(COMMAND.deviceGetRegionInfo)
  const { argsz, index } = request
  const file = device.file(index)
  const access = index === 6 ? REGION_FLAG.read : REGION_FLAG.read | REGION_FLAG.write
  const description = {
    index,
    flags: region.size === 0 ? 0 : access | (file === null ? 0 : REGION_FLAG.mmap),
    size: region.size,
    fileOffset: file?.offset ?? 0,
    areas: file?.areas ?? null,
  }
  const complete = argsz >= info.regionInfoBytes(description.areas)
  const encode: Encode = (out, id) => info.encodeRegionInfoReply(out, 0, id, argsz, description)
  // One descriptor, and none with a reply that is not complete: QEMU ends at more.
  return file !== null && complete ? { encode, fds: [file.fd] } : encode
}

function irqInfo(session: CommandContext, view: DataView, at: number, length: number): Reply {
  const request = info.decodeGetIrqInfo(view, at, length)
  const { interrupts } = session.device
  if (request === null || request.index >= PCI_IRQS.length) throw refusal(COMMAND.deviceGetIrqInfo)
  const { index } = request
  const described = { index, flags: interrupts.flags(index), count: interrupts.count(index) }
  return (out, id) => info.encodeIrqInfoReply(out, 0, id, described)
}

function regionIoFds(session: CommandContext, view: DataView, at: number, length: number): Reply {
  const request = decodeGetIoFds(view, at, length)
  if (request === null || session.device.regions[request.index] === undefined)
    throw refusal(COMMAND.deviceGetRegionIoFds)
  const { entries, fds } = session.rings.of(request.index, session.agreement?.maxMsgFds ?? 1)
  const complete = request.argsz >= ioFdsBytes(entries.length)
  const encode: Encode = (out, id) => encodeIoFdsReply(out, 0, id, request, entries)
  return complete && fds.length > 0 ? { encode, fds } : encode
}

/** The eventfds among descriptors; all of them are closed when one is none. */
function eventfdsOf(session: CommandContext, fds: readonly number[]): EventFd[] {
  const made: EventFd[] = []
  try {
    for (const fd of fds) made.push(EventFd.fromFd(fd))
    return made
  } catch (error) {
    for (const fd of fds.slice(made.length)) session.options.closeFd(fd)
    for (const eventfd of made) eventfd.close()
    throw error
  }
}

function setIrqs(session: CommandContext, view: DataView, at: number, length: number): Reply {
  const fds = session.takeFds()
  const set = decodeSetIrqs(view, at, length)
  const { interrupts, told } = session.device
  const off = set?.data === IRQ_DATA.none && set.action === IRQ_ACTION.trigger && set.count === 0
  // Switching off what is not there is no mistake.
  const fits = set !== null && (off || set.start + set.count <= interrupts.count(set.index))
  const right = set?.data === IRQ_DATA.eventfd ? [0, set.count] : [0]
  const levels = set?.action === IRQ_ACTION.trigger || set?.index === INTX
  if (!fits || !right.includes(fds.length) || !levels || set.index >= PCI_IRQS.length) {
    fds.forEach(session.options.closeFd)
    throw refusal(COMMAND.deviceSetIrqs)
  }
  const eventfds = eventfdsOf(session, fds)
  try {
    if (set.action === IRQ_ACTION.trigger) trigger(session, set, eventfds, view, at)
    else level(session, set, eventfds, view, at)
  } catch (error) {
    // Those that were taken close once only.
    for (const eventfd of eventfds) eventfd.close()
    throw error
  }
  return { encode: bare(COMMAND.deviceSetIrqs), after: () => session.run(told.onCommand) }
}

function trigger(
  session: CommandContext,
  set: SetIrqs,
  eventfds: EventFd[],
  view: DataView,
  at: number,
): void {
  const { interrupts } = session.device
  const { index, start, count, data } = set
  if (data === IRQ_DATA.none && count === 0) interrupts.disable(index)
  if (data === IRQ_DATA.eventfd) {
    const given = Array.from({ length: count }, (_, i) => eventfds[i] ?? null)
    if (count > 0) interrupts.assign(index, start, given)
    return
  }
  for (let i = 0; i < count; i++) {
    if (data === IRQ_DATA.none || view.getUint8(at + SET_IRQS_DATA + i) !== 0)
      interrupts.trigger(index, start + i)
  }
}

/** Masks or unmasks the pin, or takes the eventfd that will. */
function level(session: CommandContext, set: SetIrqs, eventfds: EventFd[], view: DataView, at: number): void {
  const { interrupts } = session.device
  const unmasks = set.action === IRQ_ACTION.unmask
  // As in the kernel; taking an eventfd away is no mistake.
  if (set.count > 0 && !interrupts.taken(INTX)) throw refusal(COMMAND.deviceSetIrqs)
  if (set.data === IRQ_DATA.eventfd) {
    if (!unmasks) throw refusal(COMMAND.deviceSetIrqs)
    interrupts.setUnmask(eventfds[0] ?? null, session.options.watcher)
    return
  }
  if (set.count === 0 || (set.data === IRQ_DATA.bool && view.getUint8(at + SET_IRQS_DATA) === 0)) return
  if (unmasks) interrupts.unmask()
  else interrupts.mask()
}

function reset(session: CommandContext): Reply | Promise<Reply> {
  const done = session.device.reset()
  return done instanceof Promise ? done.then(() => bare(COMMAND.deviceReset)) : bare(COMMAND.deviceReset)
}

function writeMulti(session: CommandContext, view: DataView, at: number, length: number): Reply {
  const writes = io.multiWrites(view, at, length)
  if (writes < 0) throw refusal(COMMAND.regionWriteMulti)
  for (let i = 0; i < writes; i++)
    if (io.multiCount(view, io.multiWriteAt(at, i)) > 8) throw refusal(COMMAND.regionWriteMulti)
  for (let i = 0; i < writes && !session.over; i++) {
    const write = io.multiWriteAt(at, i)
    const region = io.multiRegion(view, write)
    session.writeTo(region, io.multiOffset(view, write), io.multiCount(view, write), view, write + 16)
  }
  return (out, id) => io.writeMultiReply(out, 0, id, writes)
}

function feature(
  session: CommandContext,
  view: DataView,
  at: number,
  length: number,
): Reply | Promise<Reply> {
  const call = decodeFeature(view, at, length)
  if (call === null) throw refusal(COMMAND.deviceFeature)
  const data = new Uint8Array(view.buffer, view.byteOffset + at + FEATURE_DATA, call.bytes)
  const result = session.device.feature(call, data)
  const reply =
    (bytes: Uint8Array): Reply =>
    (out, id) =>
      encodeFeatureReply(out, 0, id, call.flags, bytes)
  return result instanceof Promise ? result.then(reply) : reply(result)
}

function migRead(session: CommandContext, view: DataView, at: number, length: number): Reply {
  const size = migReadSize(view, at, length)
  const most = Math.min(size, session.agreement?.maxDataXferSize ?? 0)
  const { migration } = session.device
  if (size < 0 || migration === null) throw refusal(COMMAND.migDataRead)
  const taken = migration.take(session.channel.out.subarray(FEATURE_DATA, FEATURE_DATA + most))
  if (taken < 0) throw refusal(COMMAND.migDataRead)
  return (out, id) => encodeMigReadReply(out, 0, id, taken)
}

function migWrite(session: CommandContext, view: DataView, at: number, length: number): Reply {
  const size = migDataSize(view, at, length)
  const { migration } = session.device
  if (size < 0 || migration === null) throw refusal(COMMAND.migDataWrite)
  migration.give(new Uint8Array(view.buffer, view.byteOffset + at + FEATURE_DATA, size))
  return bare(COMMAND.migDataWrite)
}

/** By number. */
export const COMMANDS: readonly (Serve | undefined)[] = Object.assign([] as (Serve | undefined)[], {
  [COMMAND.version]: version,
  [COMMAND.dmaMap]: dmaMap,
  [COMMAND.dmaUnmap]: dmaUnmap,
  [COMMAND.deviceGetInfo]: getInfo,
  [COMMAND.deviceGetRegionInfo]: regionInfo,
  [COMMAND.deviceGetRegionIoFds]: regionIoFds,
  [COMMAND.deviceGetIrqInfo]: irqInfo,
  [COMMAND.deviceSetIrqs]: setIrqs,
  [COMMAND.deviceReset]: reset,
  [COMMAND.regionWriteMulti]: writeMulti,
  [COMMAND.deviceFeature]: feature,
  [COMMAND.migDataRead]: migRead,
  [COMMAND.migDataWrite]: migWrite,
})
