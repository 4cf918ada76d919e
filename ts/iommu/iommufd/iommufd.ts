// Iommufd: an open /dev/iommu. Address spaces, hardware page tables and their queues live in it; devices that are opened
// by their own nodes are bound to it.
import { VfioError, attempt } from '../../errors.js'
import { type ShareToken, SharedHandle } from '../../handle.js'
import { addon, type NativeHandle } from '../../native/index.js'
import { boolean, integer, internal, oneOf, options as optionsOf, string } from '../../validate.js'
import { iommufdContext } from '../node-errors.js'

export interface IommufdOptions {
  /** Where device nodes are (default `/dev`). */
  devRoot?: string
  /**
   * Take the one that this process shares, which address spaces use that are given none (default false). Mappings can be
   * copied between spaces of one Iommufd only.
   */
  shared?: boolean
}

/** Whose RLIMIT_MEMLOCK pinned memory counts against: the user's, all processes together, or the process's own. */
export type RlimitMode = 'user' | 'process'

const OPTION_RLIMIT_MODE = 0 // IOMMU_OPTION_RLIMIT_MODE
// IOMMU_VFIO_IOAS_GET, IOMMU_VFIO_IOAS_SET, IOMMU_VFIO_IOAS_CLEAR
const VFIO_IOAS = { get: 0, set: 1, clear: 2 } as const

/**
 * An open `/dev/iommu` (Linux 6.2). Most programs need none of their own: `AddressSpace.open({ iommu: 'iommufd' })` and
 * `VfioDevice.open` use the one of the process. What is made in it keeps it open.
 */
export class Iommufd extends SharedHandle<'Iommufd'> {
  private constructor(native: NativeHandle) {
    super(internal(native, 'Iommufd', 'Iommufd.open()'), 'Iommufd')
  }

  /**
   * Opens `/dev/iommu`.
   * @throws VfioError `no-iommufd`, `permission`
   */
  static open(options?: IommufdOptions): Iommufd {
    const { devRoot = '/dev', shared = false } = optionsOf(options, 'options')
    boolean(shared, 'shared')
    const path = `${string(devRoot, 'devRoot')}/iommu`
    return new Iommufd(
      attempt(
        (error) => iommufdContext(path, error),
        () => addon().iommufdOpen(path, shared),
      ),
    )
  }

  /** Takes ownership of the descriptor of an open `/dev/iommu`. @throws VfioError ENOTTY when it is something else */
  static fromFd(fd: number): Iommufd {
    return new Iommufd(addon().iommufdFromFd(integer(fd, 'fd', 0, 0x7fff_ffff)))
  }

  /** @internal */
  static over(native: NativeHandle): Iommufd {
    return new Iommufd(native)
  }

  /** The object behind a token, in this environment. */
  static claim(token: ShareToken): Iommufd {
    return SharedHandle.claimed(token, 'Iommufd', Iommufd.over)
  }

  /** The descriptor's number. The object keeps ownership. */
  get fd(): number {
    return addon().handleFd(this.native)
  }

  /**
   * How pinned memory is counted (IOMMU_OPTION_RLIMIT_MODE, default `user`). To be set before anything is made in it.
   * @throws VfioError EBUSY when something is; EPERM without CAP_SYS_RESOURCE
   */
  get rlimitMode(): RlimitMode {
    return addon().iommufdOption(this.native, OPTION_RLIMIT_MODE, 0, null) === 1n ? 'process' : 'user'
  }
  set rlimitMode(mode: RlimitMode) {
    oneOf(mode, 'mode', ['user', 'process'])
    addon().iommufdOption(this.native, OPTION_RLIMIT_MODE, 0, mode === 'process' ? 1n : 0n)
  }

  /**
   * The id of the IOAS that VFIO's compatibility mode uses (IOMMU_VFIO_IOAS); null while there is none. Containers made of
   * this descriptor (`AddressSpace.open({ container: 'iommufd' })`) map into that one; set it to an AddressSpace's
   * `ioasId` to share it with them, or to null for no compatibility.
   */
  get compatibilityIoas(): number | null {
    try {
      return addon().iommufdVfioIoas(this.native, VFIO_IOAS.get, 0)
    } catch (error) {
      if (error instanceof VfioError && error.code === 'ENODEV') return null
      throw error
    }
  }
  set compatibilityIoas(id: number | null) {
    if (id === null) addon().iommufdVfioIoas(this.native, VFIO_IOAS.clear, 0)
    else addon().iommufdVfioIoas(this.native, VFIO_IOAS.set, integer(id, 'id', 0, 0xffff_ffff))
  }

  /**
   * Makes this process the one whose memory limit the mappings count against (IOMMU_IOAS_CHANGE_PROCESS, Linux 6.14): for
   * a program that hands its devices over to a newly started one. Every mapping must be of a file (`mapFile`).
   * @throws VfioError EINVAL when one is not; ENOMEM when the limit does not allow what is pinned
   */
  changeProcess(): void {
    addon().iommufdChangeProcess(this.native)
  }

  /** Lets go of it; the kernel closes it with the last object in it. Idempotent. */
  close(): void {
    this.closeNow()
  }

  [Symbol.dispose](): void {
    this.close()
  }
}
