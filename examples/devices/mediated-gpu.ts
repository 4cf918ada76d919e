// A virtio-gpu whose pictures are on a card of the host, which the host keeps: a guest's screen is memory that the card shows as it
// is, on a screen of its own, or wherever the host's own programs put it. It must not know how drivers speak with it.
import type { Connector, DrmCard, Mode, PixelFormat } from 'node-vfio/drm'
import type { DmaBufFile } from 'node-vfio'

import { CardPicture, CardPictures, shownFormat } from './gpu/card-pictures.js'
import { type Rectangle } from './gpu/protocol.js'
import { type GpuOptions, VirtioGpu } from './virtio-gpu.js'

/** A screen of the card that is for the guest alone. */
export interface GuestScreen {
  readonly connector: Connector
  readonly crtc: number
  readonly mode: Mode
  /**
   * Whether the card's master is to be taken while the guest shows something, as it must be unless the card's descriptor is a lease
   * of the screen or its holder is master already (default false). The host's console is off meanwhile.
   */
  readonly takeMaster?: boolean
}

export interface MediatedGpuOptions extends Omit<GpuOptions, 'memory'> {
  /** The host's card. It stays open as long as the device. */
  readonly card: DrmCard
  /** Without one nothing is shown by this device: the host's own programs show what `share()` gives. */
  readonly screen?: GuestScreen
  /** Called when `share()` would give something else than before. */
  readonly onScanout?: (gpu: MediatedGpu) => void
}

/** What the guest shows, for the host's programs. */
export interface SharedScanout {
  /** The picture, which changes as the guest paints. Close it when it is shown no more. */
  readonly file: DmaBufFile
  readonly format: PixelFormat
  /** The size of the whole picture in pixels, and how far its rows are apart in bytes. */
  readonly width: number
  readonly height: number
  readonly pitch: number
  /** The part of it that the guest shows. */
  readonly part: Rectangle
}

export class MediatedGpu extends VirtioGpu {
  readonly #card: DrmCard
  readonly #screen: GuestScreen | undefined
  readonly #onScanout: (gpu: MediatedGpu) => void
  readonly #complain: (error: Error) => void
  #showing = false

  constructor({ card, screen, onScanout, ...options }: MediatedGpuOptions) {
    const size = screen === undefined ? {} : { width: screen.mode.width, height: screen.mode.height }
    super({ ...size, ...options, memory: new CardPictures(card) })
    this.#card = card
    this.#screen = screen
    this.#onScanout = onScanout ?? (() => undefined)
    this.#complain = options.onError ?? (() => undefined)
  }

  /** What the guest shows now, as a dma-buf of the card's memory, which is not copied; undefined while its screen is off. */
  share(): SharedScanout | undefined {
    const { scanout } = this
    if (scanout === undefined) return undefined
    const { resource, rectangle } = scanout
    const { width, height, format } = resource
    const { buffer } = this.#picture()
    return {
      file: buffer.dmaBuf(),
      format: shownFormat(format),
      width,
      height,
      pitch: buffer.pitch,
      part: rectangle,
    }
  }

  protected override scanoutChanged(): void {
    this.#guarded(() => {
      if (this.scanout === undefined) this.#turnOff()
      else this.#turnOn()
    })
    this.#onScanout(this)
  }

  protected override painted(area: Rectangle): void {
    const { scanout } = this
    if (!this.#showing || scanout === undefined) return
    this.#guarded(() => this.#picture().framebuffer(scanout.resource.format).painted(area))
  }

  #picture(): CardPicture {
    const picture = this.scanout?.resource.picture
    if (!(picture instanceof CardPicture)) throw new TypeError('the picture is not on the card')
    return picture
  }

  #turnOn(): void {
    const { scanout } = this
    if (this.#screen === undefined || scanout === undefined) return
    const { connector, crtc, mode, takeMaster = false } = this.#screen
    const { x, y } = scanout.rectangle
    if (takeMaster && !this.#showing) this.#card.setMaster(true)
    try {
      const framebuffer = this.#picture().framebuffer(scanout.resource.format)
      this.#card.show(crtc, { framebuffer, connectors: [connector.id], mode, x, y })
      this.#showing = true
    } finally {
      if (takeMaster && !this.#showing) this.#card.setMaster(false)
    }
  }

  #turnOff(): void {
    if (this.#screen === undefined || !this.#showing) return
    this.#showing = false
    try {
      this.#card.show(this.#screen.crtc, null)
    } finally {
      if (this.#screen.takeMaster === true) this.#card.setMaster(false)
    }
  }

  /** What the card refuses is the host's business: the guest goes on, and its picture is there. */
  #guarded(work: () => void): void {
    try {
      work()
    } catch (error) {
      if (!(error instanceof Error)) throw error
      this.#complain(error)
    }
  }
}
