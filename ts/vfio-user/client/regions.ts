// The regions of a device behind a socket: what the server says of each, and the file that it gives for mapping. Owns those
// files; knows nothing of accesses.
import { releaseNative } from '../../handle.js'
import { type NativeHandle, addon } from '../../native/index.js'
import type { RegionInfo } from '../../uapi/vfio/device-info.js'
import { MOST_FDS, REGION_FLAG } from '../protocol/constants.js'
import { decodeRegionInfoReply, encodeGetRegionInfo } from '../protocol/device-info.js'
import { type Channel, type Reply, senseless, understood } from './channel.js'

const CALL = 'VFIO_USER_DEVICE_GET_REGION_INFO'
/** Bytes of an answer without capabilities, which is what is asked for first. */
const PLAIN = 32
/** More than any server's capabilities take. */
const MOST_INFO = 64 << 10

const CONFIG = 7
const ACCESS = REGION_FLAG.read | REGION_FLAG.write

/** libvfio-user up to 2023 says neither of configuration space, where its author said nothing; and takes both. */
function accessible(info: RegionInfo): RegionInfo {
  if (info.index !== CONFIG) return info
  const { flags } = info
  return { ...info, flags: { ...flags, read: true, write: true, raw: flags.raw | ACCESS } }
}

/** How many there are: libvfio-user up to 2023 sends the region's one file once for each. */
function areas({ capabilities }: RegionInfo): number {
  const sparse = capabilities.find(({ name }) => name === 'sparseMmap')
  return sparse?.name === 'sparseMmap' ? sparse.areas.length : 0
}

export class UserRegions {
  readonly #channel: Channel
  readonly #files = new Map<number, NativeHandle>()

  constructor(channel: Channel) {
    this.#channel = channel
  }

  /** Asks again with more room where the answer says that it needs it. */
  info(index: number): RegionInfo {
    let { reply, info, argsz } = this.#ask(index, PLAIN)
    if (argsz > PLAIN) {
      for (const file of reply.files) releaseNative(file)
      if (argsz > MOST_INFO) throw senseless(CALL)
      ;({ reply, info, argsz } = this.#ask(index, argsz))
    }
    const [file, ...more] = reply.files
    for (const each of more) releaseNative(each)
    if (
      argsz > MOST_INFO ||
      info.index !== index ||
      (more.length > 0 && reply.files.length !== areas(info))
    ) {
      if (file !== undefined) releaseNative(file)
      throw senseless(CALL)
    }
    return this.#keep(accessible(info), file)
  }

  /** The file of a region, as memory; null where nothing of it can be mapped. Stays this object's. */
  fileOf(index: number): NativeHandle | null {
    return this.#files.get(index) ?? null
  }

  close(): void {
    for (const file of this.#files.values()) releaseNative(file)
    this.#files.clear()
  }

  #ask(index: number, argsz: number): { reply: Reply; info: RegionInfo; argsz: number } {
    const reply = this.#channel.ask((view) => encodeGetRegionInfo(view, 0, 0, { argsz, index }), {
      mostFiles: MOST_FDS,
    })
    return { reply, ...understood(reply, decodeRegionInfoReply) }
  }

  #keep(info: RegionInfo, file: NativeHandle | undefined): RegionInfo {
    const before = this.#files.get(info.index)
    if (before !== undefined) releaseNative(before)
    this.#files.delete(info.index)
    const { flags, size, fileOffset } = info
    if (file !== undefined && flags.mmap && size > 0) {
      this.#files.set(info.index, addon().userRegionMemory(file, fileOffset + size))
      return info
    }
    if (file !== undefined) releaseNative(file)
    // What comes without a descriptor cannot be mapped, whatever its flags say.
    return { ...info, flags: { ...flags, mmap: false } }
  }
}
