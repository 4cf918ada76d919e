// DmaBufFile: a dma-buf, a device's memory as a file that other devices can be given. Owns the descriptor.
import { type ShareToken, SharedHandle } from '../handle.js'
import { addon, type NativeHandle } from '../native/index.js'
import { integer } from '../validate.js'

/**
 * A dma-buf: part of a BAR (`device.features.dmaBuf`, Linux 6.19) or a display plane (`device.gfx.dmabuf`). Mapped as a
 * file in another device's address space under iommufd, it is memory that this device reads and writes; other
 * subsystems (DRM, V4L2, RDMA) import it by its descriptor. What vfio-pci exports cannot be mapped by a process, and is
 * revoked while the device resets or does not decode memory accesses.
 */
export class DmaBufFile extends SharedHandle<'DmaBufFile'> {
  /** @internal */
  constructor(native: NativeHandle, label = 'DmaBufFile') {
    super(native, 'DmaBufFile', label)
  }

  /**
   * Takes ownership of a dma-buf's descriptor.
   * @throws VfioError EBADF, or EINVAL when the descriptor is not a dma-buf
   */
  static fromFd(fd: number): DmaBufFile {
    return new DmaBufFile(addon().dmaBufFileFromFd(integer(fd, 'fd', 0, 0x7fff_ffff)))
  }

  /** The object behind a token, in this environment. */
  static claim(token: ShareToken): DmaBufFile {
    return SharedHandle.claimed(token, 'DmaBufFile', (native) => new DmaBufFile(native))
  }

  /** The descriptor's number, for interfaces that take one. The object keeps ownership. */
  get fd(): number {
    return addon().handleFd(this.native)
  }

  /** Bytes. */
  get size(): number {
    return addon().dmaBufFileSize(this.native)
  }

  /** Lets go of the descriptor. The memory stays with those who have mapped it, until the device revokes it. Idempotent. */
  close(): void {
    this.closeNow()
  }

  [Symbol.dispose](): void {
    this.close()
  }
}
