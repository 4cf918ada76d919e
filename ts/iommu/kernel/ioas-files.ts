// What an IOAS can do with files: maps parts of them, copies what another IOAS of its iommufd has mapped, and keeps addresses
// for itself.
import { addon, type NativeHandle } from '../../native/index.js'
import { type IovaRange, flatRanges, rangesFrom } from '../../uapi/iova-range.js'
import type { FilePiece, SpaceCopies, SpaceFiles } from '../backend.js'

export class IoasFiles implements SpaceFiles, SpaceCopies {
  readonly copies = this
  readonly #native: () => NativeHandle

  constructor(own: () => NativeHandle) {
    this.#native = own
  }

  map({ file, offset, size }: FilePiece, iova: bigint, flags: number): Promise<NativeHandle> {
    return addon().ioasMapFile(this.#native(), file, offset, size, iova, flags)
  }

  mapSync({ file, offset, size }: FilePiece, iova: bigint, flags: number): NativeHandle {
    return addon().ioasMapFileSync(this.#native(), file, offset, size, iova, flags)
  }

  copy(source: NativeHandle, from: bigint, size: bigint, iova: bigint, flags: number): Promise<NativeHandle> {
    return addon().ioasCopy(this.#native(), source, from, size, iova, flags)
  }

  copySync(source: NativeHandle, from: bigint, size: bigint, iova: bigint, flags: number): NativeHandle {
    return addon().ioasCopySync(this.#native(), source, from, size, iova, flags)
  }

  allow(ranges: readonly IovaRange[]): void {
    addon().ioasAllowIovas(this.#native(), flatRanges(ranges))
  }

  /** What was allowed; empty where nothing was. */
  get allowed(): IovaRange[] {
    return rangesFrom(addon().ioasAllowed(this.#native()))
  }
}
