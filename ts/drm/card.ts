// DrmCard: a GPU of the host that is open beside whoever else uses it. Owns the descriptor; who shows what on the card is its
// master's business, which this one is only when it is asked to.
import { attempt } from '../errors.js'
import { Handle } from '../handle.js'
import { DmaBufFile } from '../memory/dma-buf-file.js'
import { addon, type NativeHandle } from '../native/index.js'
import { array, boolean, instance, integer, internal, object, string } from '../validate.js'
import { CardBuffer, checkPitch, checkSize } from './buffer.js'
import { Framebuffer } from './framebuffer.js'
import { type Connector, type Mode, type Overlay, readConnectors, readOverlays } from './screens.js'

const MOST_ID = 0xffff_ffff
const CAP_DUMB_BUFFER = 1
const BITS_PER_PIXEL = 32
const MODE_BYTES = 68

/** A dma-buf's picture. */
export interface ImportedPicture {
  /** In pixels, of four bytes each. */
  readonly width: number
  readonly height: number
  /** How far its rows are apart, in bytes. */
  readonly pitch: number
}

/** What a CRTC shows. */
export interface Showing {
  readonly framebuffer: Framebuffer
  readonly connectors: readonly number[]
  readonly mode: Mode
  /** Where in the picture its first pixel is (default 0, 0). */
  readonly x?: number
  readonly y?: number
}

const id = (value: number, name: string): number => integer(value, name, 0, MOST_ID)

export class DrmCard extends Handle {
  private constructor(native: NativeHandle, label: string) {
    super(internal(native, 'DrmCard', 'DrmCard.open(path)'), label)
  }

  /**
   * Opens a card. It is not the card's master then, even where nobody else is: who shows something on it goes on undisturbed, and
   * so does whoever comes later.
   * @param path such as `/dev/dri/card0`; a render node has no memory that can be shown
   */
  static open(path: string): DrmCard {
    string(path, 'path')
    const card = new DrmCard(
      attempt({ subject: path }, () => addon().drmOpen(path)),
      path,
    )
    try {
      // Whoever opens a card that has no master is its master, which keeps others from becoming it, and the console off the screen.
      attempt({ subject: path }, () => addon().drmMaster(card.native, false))
    } catch (error) {
      // EINVAL and EACCES: it was not.
      if (error instanceof Error && 'code' in error && ['EINVAL', 'EACCES'].includes(String(error.code)))
        return card
      card.close()
      throw error
    }
    return card
  }

  /**
   * Takes ownership of a card's descriptor: one that somebody else opened, or a lease of some of its connectors and CRTCs, which
   * can be shown on beside the lessor.
   * @throws VfioError ENOTTY when it is no DRM card
   */
  static fromFd(fd: number): DrmCard {
    integer(fd, 'fd', 0, 0x7fff_ffff)
    return new DrmCard(
      attempt({ subject: `descriptor ${fd}` }, () => addon().drmFromFd(fd)),
      'DrmCard',
    )
  }

  /** The name of its driver, such as `amdgpu`. */
  get driver(): string {
    return this.#try(() => addon().drmDriver(this.native))
  }

  /** Whether `createBuffer()` works (DRM_CAP_DUMB_BUFFER). */
  get hasBuffers(): boolean {
    return this.#try(() => addon().drmCapability(this.native, CAP_DUMB_BUFFER)) !== 0n
  }

  /**
   * Becomes the card's master, who alone may say what is shown, or no longer is. The console shows nothing while somebody is.
   * @throws VfioError EBUSY while another process is its master, EACCES for who has not been it before and is not root
   */
  setMaster(wanted: boolean): void {
    boolean(wanted, 'wanted')
    this.#try(() => addon().drmMaster(this.native, wanted))
  }

  /** Memory of the card's own for a picture, four bytes a pixel, all zeros (a dumb buffer). It takes no master. */
  createBuffer(width: number, height: number): CardBuffer {
    checkSize(width, height)
    const native = this.#try(() => addon().drmDumbCreate(this.native, width, height, BITS_PER_PIXEL))
    return new CardBuffer(native, width, height, 0)
  }

  /** Memory of others as a picture that the card can show: the dma-buf stays yours. */
  importBuffer(file: DmaBufFile, picture: ImportedPicture): CardBuffer {
    instance(file, DmaBufFile, 'file')
    const { width, height, pitch } = object(picture, 'picture')
    checkSize(width, height)
    checkPitch(pitch, width)
    const native = this.#try(() => addon().drmImport(this.native, file.fd))
    return new CardBuffer(native, width, height, pitch)
  }

  /** Where pictures can be shown. */
  connectors(): Connector[] {
    return this.#try(() => readConnectors(this.native))
  }

  /** Planes that lie over those of the CRTCs. */
  overlays(): Overlay[] {
    return this.#try(() => readOverlays(this.native))
  }

  /**
   * Shows a picture on a CRTC and its connectors, or with null turns it off. For the card's master, or the holder of a lease of
   * them.
   * @throws VfioError EACCES for everybody else
   */
  show(crtc: number, showing: Showing | null): void {
    id(crtc, 'crtc')
    if (showing === null) {
      this.#try(() => addon().drmSetCrtc(this.native, crtc, null, 0, 0, [], null))
      return
    }
    const { framebuffer, connectors, mode, x = 0, y = 0 } = object(showing, 'showing')
    instance(framebuffer, Framebuffer, 'showing.framebuffer')
    integer(x, 'showing.x', 0, framebuffer.width - 1)
    integer(y, 'showing.y', 0, framebuffer.height - 1)
    for (const each of array(connectors, 'showing.connectors')) id(each, 'a connector')
    const { bytes } = object(mode, 'showing.mode')
    instance(bytes, Uint8Array, 'showing.mode.bytes')
    integer(bytes.length, 'showing.mode.bytes.length', MODE_BYTES, MODE_BYTES)
    this.#try(() => addon().drmSetCrtc(this.native, crtc, framebuffer.native, x, y, connectors, bytes))
  }

  /** Shows all of a picture at a place on a CRTC, over what that shows; null takes it away. Rights as for `show()`. */
  showOver(
    overlay: number,
    crtc: number,
    framebuffer: Framebuffer | null,
    at: { readonly x: number; readonly y: number } = { x: 0, y: 0 },
  ): void {
    id(overlay, 'overlay')
    id(crtc, 'crtc')
    const x = integer(object(at, 'at').x, 'at.x', -0x8000, 0x7fff)
    const y = integer(at.y, 'at.y', -0x8000, 0x7fff)
    if (framebuffer !== null) instance(framebuffer, Framebuffer, 'framebuffer')
    const { width, height } = framebuffer ?? { width: 0, height: 0 }
    this.#try(() =>
      addon().drmSetPlane(this.native, overlay, crtc, framebuffer?.native ?? null, x, y, width, height),
    )
  }

  /** Lets go of the card. What was made on it lives on until it is closed itself. Idempotent. */
  close(): void {
    this.closeNow()
  }

  [Symbol.dispose](): void {
    this.close()
  }

  #try<T>(call: () => T): T {
    return attempt({ subject: this.label }, call)
  }
}
