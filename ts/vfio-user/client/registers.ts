// The registers of a region behind a socket: mapped where the server gave a file, by messages elsewhere.
import { attempt } from '../../errors.js'
import { NativeRegisters } from '../../device/kernel/registers.js'
import { type NativeHandle, addon } from '../../native/index.js'
import type { RegionArea, RegionInfo } from '../../uapi/vfio/device-info.js'

export interface UserRegion {
  readonly info: RegionInfo
  readonly areas: readonly RegionArea[]
  /** Whether it is memory rather than registers: copies then go in long messages. */
  readonly memoryLike: boolean
  /** Whether its writes wait for no reply. */
  readonly posted: boolean
  /** Where it is mapped from; null where nothing is. */
  readonly file: NativeHandle | null
}

const SHORT_FILE =
  "The server's descriptor cannot be mapped where it says so, or ends before that: connect with `guard: false` to do without mappings."

function openNative(
  channel: NativeHandle,
  { info, areas, memoryLike, posted, file }: UserRegion,
): NativeHandle {
  const { index, size, fileOffset, flags } = info
  const flat = areas.flatMap((area) => [area.offset, area.size])
  return attempt(
    ({ syscall }) => (syscall === 'mmap' ? { remedy: SHORT_FILE } : {}),
    () =>
      addon().userRegionOpen(
        channel,
        index,
        size,
        flags.read,
        flags.write,
        posted,
        memoryLike,
        file,
        fileOffset,
        flat,
      ),
  )
}

export class UserRegisters extends NativeRegisters {
  readonly #region: UserRegion

  constructor(channel: NativeHandle, region: UserRegion) {
    super(openNative(channel, region))
    this.#region = region
  }

  window(offset: number, length: number): ArrayBuffer {
    const { file, info } = this.#region
    const { fileOffset, flags } = info
    // Only what an area was mapped of is asked for.
    return addon().regionWindow(file as NativeHandle, fileOffset + offset, length, flags.read, flags.write)
  }
}
