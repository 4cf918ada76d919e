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
import { callFeature } from './features.js'
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

function version(session: CommandContext, view: DataView, at: number, length: number): Reply {
  const proposal = decodeVersion(view, at, length)
  const { migration, options } = session.device.parts
  const limits = { ...OWN_CLAIMS, maxDmaMaps: MOST_RANGES }
  const own = migration === null ? limits : { ...limits, migration: {} }
  const answer = proposal === null ? null : answerTo(proposal, own)
  if (answer === null) throw refusal(COMMAND.version)
  const { agreement, claims } = answer
  session.device.dma.attach({
    windows: session.options.windows(),
    messages: session.messages,
    mostMaps: agreement.maxDmaMaps,
  })
  session.agreement = agreement
  session.messages.mostData = agreement.maxDataXferSize
  return {
    encode: (out, id) => encodeVersionReply(out, 0, id, agreement.minor, claims, length),
    after: () => session.run(options.onConnect),
  }
}

function dmaMap(session: CommandContext, view: DataView, at: number, length: number): Reply {
  const { closeFd } = session.options
  const fds = session.takeFds()
  const map = decodeDmaMap(view, at, length)
  if (map === null || fds.length > 1) {
    fds.forEach(closeFd)
    throw refusal(COMMAND.dmaMap)
  }
  const byFile = (map.flags & (MAP_MMAP | MAP_FILE_IO)) === MAP_FILE_IO
  try {
    session.device.dma.map(map, byFile ? undefined : fds[0])
  } finally {
    // What is mapped stays mapped.
    fds.forEach(closeFd)
  }
  return { encode: bare(COMMAND.dmaMap), after: () => session.run(session.device.parts.options.onMemory) }
}

function dmaUnmap(session: CommandContext, view: DataView, at: number, length: number): Reply {
  const unmap = decodeDmaUnmap(view, at, length)
  const { dma, parts } = session.device
  if (unmap === null || (unmap.bitmap !== undefined && !dma.logging)) throw refusal(COMMAND.dmaUnmap)
  const { iova, size: range, bitmap: wanted } = unmap
  const dirty = wanted === undefined ? NOTHING : dma.takeDirty(iova, range, wanted.pageSize)
  const size = dma.unmap(unmap)
  const encode: Encode = (out, id) => {
    const reply = { ...unmap, size }
    const bytes = encodeDmaUnmapReply(out, 0, id, reply)
    if (unmap.bitmap !== undefined) {
      const bitmap = session.channel.out.subarray(bytes - unmap.bitmap.bytes, bytes).fill(0)
      bitmap.set(dirty.subarray(0, bitmap.length))
    }
    return bytes
  }
  return { encode, after: () => session.run(parts.options.onMemory) }
}

function getInfo(_session: CommandContext, view: DataView, at: number, length: number): Reply {
  if (info.decodeGetInfo(view, at, length) === null) throw refusal(COMMAND.deviceGetInfo)
  // A reset is offered always: QEMU resets with its machine then. cloud-hypervisor resets the others.
  const described = {
    flags: DEVICE_FLAG.reset | DEVICE_FLAG.pci,
    numRegions: PCI_REGIONS.length,
    numIrqs: PCI_IRQS.length,
  }
  return (out, id) => info.encodeGetInfoReply(out, 0, id, described)
}

function regionInfo(session: CommandContext, view: DataView, at: number, length: number): Reply {
  const request = info.decodeGetRegionInfo(view, at, length)
  const { regions, placed } = session.device.parts
  const region = request === null ? undefined : regions[request.index]
  if (request === null || region === undefined) throw refusal(COMMAND.deviceGetRegionInfo)
  const { argsz, index } = request
  const place = placed.find((each) => each.index === index)
  const memory = place?.memory ?? null
  const mapped = place !== undefined && memory !== null && (place.areas === null || place.areas.length > 0)
  const access = index === 6 ? REGION_FLAG.read : REGION_FLAG.read | REGION_FLAG.write
  const description = {
    index,
    flags: region.size === 0 ? 0 : access | (mapped ? REGION_FLAG.mmap : 0),
    size: region.size,
    fileOffset: mapped ? place.memoryOffset : 0,
    areas: mapped ? place.areas : null,
  }
  const complete = argsz >= info.regionInfoBytes(description.areas)
  const encode: Encode = (out, id) => info.encodeRegionInfoReply(out, 0, id, argsz, description)
  // One descriptor, and none with a reply that is not complete: QEMU ends at more.
  return mapped && complete ? { encode, fds: [memory.fd] } : encode
}

function irqInfo(session: CommandContext, view: DataView, at: number, length: number): Reply {
  const request = info.decodeGetIrqInfo(view, at, length)
  const { interrupts } = session.device.parts
  if (request === null || request.index >= PCI_IRQS.length) throw refusal(COMMAND.deviceGetIrqInfo)
  const { index } = request
  const described = { index, flags: interrupts.flags(index), count: interrupts.count(index) }
  return (out, id) => info.encodeIrqInfoReply(out, 0, id, described)
}

function regionIoFds(session: CommandContext, view: DataView, at: number, length: number): Reply {
  const request = decodeGetIoFds(view, at, length)
  if (request === null || session.device.parts.regions[request.index] === undefined)
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
  const { interrupts } = session.device.parts
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
  const { onCommand } = session.device.parts.options
  return { encode: bare(COMMAND.deviceSetIrqs), after: () => session.run(onCommand) }
}

function trigger(
  session: CommandContext,
  set: SetIrqs,
  eventfds: EventFd[],
  view: DataView,
  at: number,
): void {
  const { interrupts } = session.device.parts
  const { index, start, count, data } = set
  if (data === IRQ_DATA.none && count === 0) interrupts.disable(index)
  for (let i = 0; i < count; i++) {
    if (data === IRQ_DATA.eventfd) interrupts.set(index, start + i, eventfds[i] ?? null)
    else if (data === IRQ_DATA.none || view.getUint8(at + SET_IRQS_DATA + i) !== 0)
      interrupts.trigger(index, start + i)
  }
}

/** Masks or unmasks the pin, or takes the eventfd that will. */
function level(session: CommandContext, set: SetIrqs, eventfds: EventFd[], view: DataView, at: number): void {
  const { interrupts } = session.device.parts
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
  const { resetState, migration, options } = session.device.parts
  resetState()
  migration?.reset()
  const done = options.onReset?.()
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
  const result = callFeature(session.device, call, data)
  const reply =
    (bytes: Uint8Array): Reply =>
    (out, id) =>
      encodeFeatureReply(out, 0, id, call.flags, bytes)
  return result instanceof Promise ? result.then(reply) : reply(result)
}

function migRead(session: CommandContext, view: DataView, at: number, length: number): Reply {
  const size = migReadSize(view, at, length)
  const most = Math.min(size, session.agreement?.maxDataXferSize ?? 0)
  const { migration } = session.device.parts
  if (size < 0 || migration === null) throw refusal(COMMAND.migDataRead)
  const taken = migration.take(session.channel.out.subarray(FEATURE_DATA, FEATURE_DATA + most))
  if (taken < 0) throw refusal(COMMAND.migDataRead)
  return (out, id) => encodeMigReadReply(out, 0, id, taken)
}

function migWrite(session: CommandContext, view: DataView, at: number, length: number): Reply {
  const size = migDataSize(view, at, length)
  const { migration } = session.device.parts
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
