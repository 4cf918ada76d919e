// virtio-gpu in 2D: a screen for a guest. Its driver makes images, fills them from the guest's memory, and says which one the screen
// shows; each time it is done with a picture, a function is called. The pointer is not drawn.
import {
  BACKING_ENTRY_BYTES,
  COMMAND,
  DISPLAY_INFO_BYTES,
  HEADER_BYTES,
  type Rectangle,
  Refusal,
  Request,
  RESPONSE,
  showScanout,
} from './gpu/protocol.js'
import { type PictureMemory } from './gpu/pictures.js'
import { type Frame, frameOf } from './gpu/pixels.js'
import { checkPieces, type Resource, Resources } from './gpu/resources.js'
import { VirtioDevice } from './virtio/device.js'
import { type Chain } from './virtio/queue.js'

const TYPE = 16
const CLASS = 0x038000
/** Where in the configuration the number of screens is. */
const CONFIG_SCANOUTS = 8
/** What a request may have: the longest carries 16,384 pieces of memory. */
const MOST_REQUEST = HEADER_BYTES + 8 + 16_384 * BACKING_ENTRY_BYTES

export interface GpuOptions {
  /** The size of the screen, as the guest finds it, in pixels. */
  width?: number
  height?: number
  /** Where the images' pixels are (default: in this process). */
  memory?: PictureMemory
  /** Called when the guest has drawn. `frame()` gives the picture. */
  onDrawn?: (gpu: VirtioGpu) => void
  onError?: (error: Error) => void
}

/** What the screen shows: a part of an image. */
export interface Scanout {
  readonly id: number
  readonly resource: Resource
  readonly rectangle: Rectangle
}

export class VirtioGpu extends VirtioDevice {
  readonly #width: number
  readonly #height: number
  readonly #onDrawn: (gpu: VirtioGpu) => void
  readonly #onRefused: (error: Error) => void
  readonly #resources: Resources
  #scanout: Scanout | undefined
  #drawn = 0

  constructor({ width = 1024, height = 768, memory, onDrawn, onError }: GpuOptions = {}) {
    const config = new Uint8Array(16)
    new DataView(config.buffer).setUint32(CONFIG_SCANOUTS, 1, true)
    super({
      name: 'virtio-gpu',
      type: TYPE,
      classCode: CLASS,
      queues: [256, 16],
      config,
      ...(onError && { onError }),
    })
    this.#resources = new Resources(memory)
    this.#width = width
    this.#height = height
    this.#onDrawn = onDrawn ?? (() => undefined)
    this.#onRefused = onError ?? (() => undefined)
  }

  /** How many pictures the guest has drawn. */
  get drawn(): number {
    return this.#drawn
  }

  /** What the screen shows now; undefined while it is off. */
  frame(): Frame | undefined {
    if (this.#scanout === undefined) return undefined
    const { resource, rectangle } = this.#scanout
    const { pixels, pitch } = resource.picture
    return frameOf(pixels, resource.format, pitch, rectangle)
  }

  /** What it shows it of; undefined while it is off. */
  get scanout(): Scanout | undefined {
    return this.#scanout
  }

  /** The screen shows another image from now on, or another part of it, or is off. For who shows it on. */
  protected scanoutChanged(): void {
    // Nobody does.
  }

  /** The guest has painted this part of the image that the screen shows. */
  protected painted(_area: Rectangle): void {
    // Nobody shows it on.
  }

  protected override notified(queue: number): void {
    for (let chain = this.take(queue); chain !== undefined; chain = this.take(queue))
      this.give(queue, chain, this.#answer(chain))
  }

  protected override onReset(): void {
    this.#show(undefined)
    this.#resources.clear()
  }

  #show(scanout: Scanout | undefined): void {
    if (scanout === undefined && this.#scanout === undefined) return
    this.#scanout = scanout
    this.scanoutChanged()
  }

  /** Does what a chain asks for, and writes the answer to it: how many bytes that are. */
  #answer(chain: Chain): number {
    const request = new Request(padded(chain.read(MOST_REQUEST)))
    let answer
    try {
      answer = this.#do(request)
    } catch (error) {
      if (!(error instanceof Refusal)) throw error
      this.#onRefused(error)
      answer = request.answer(error.response)
    }
    return chain.write(answer)
  }

  #do(request: Request): Uint8Array {
    switch (request.command) {
      case COMMAND.getDisplayInfo: {
        const answer = request.answer(RESPONSE.displayInfo, DISPLAY_INFO_BYTES)
        showScanout(answer, this.#width, this.#height)
        return answer
      }
      case COMMAND.resourceCreate2d:
        this.#resources.create(request.u32(0), request.u32(8), request.u32(12), request.u32(4))
        break
      case COMMAND.resourceUnref: {
        const id = request.u32(0)
        // Before its memory goes.
        if (this.#scanout?.resource === this.#resources.get(id)) this.#show(undefined)
        this.#resources.drop(id)
        break
      }
      case COMMAND.resourceAttachBacking:
        this.#attach(request)
        break
      case COMMAND.resourceDetachBacking:
        this.#resources.get(request.u32(0)).detach()
        break
      case COMMAND.setScanout:
        this.#setScanout(request)
        break
      case COMMAND.transferToHost2d:
        this.#resources.get(request.u32(24)).transfer(this.device.dma, request.rectangle(0), request.u64(16))
        break
      case COMMAND.resourceFlush:
        this.#flush(request.u32(16), request.rectangle(0))
        break
      case COMMAND.updateCursor:
      case COMMAND.moveCursor:
        break
      default:
        throw new Refusal(RESPONSE.unspecified, `command 0x${request.command.toString(16)}`)
    }
    return request.answer(RESPONSE.ok)
  }

  #attach(request: Request): void {
    const resource = this.#resources.get(request.u32(0))
    const count = request.u32(4)
    checkPieces(count)
    request.need(HEADER_BYTES + 8 + count * BACKING_ENTRY_BYTES)
    resource.attach(
      Array.from({ length: count }, (_, i) => ({
        iova: request.u64(8 + i * BACKING_ENTRY_BYTES),
        length: request.u32(16 + i * BACKING_ENTRY_BYTES),
      })),
    )
  }

  #setScanout(request: Request): void {
    const rectangle = request.rectangle(0)
    if (request.u32(16) !== 0) throw new Refusal(RESPONSE.invalidScanout, 'there is one screen')
    const id = request.u32(20)
    if (id === 0) {
      this.#show(undefined)
      return
    }
    const resource = this.#resources.get(id)
    resource.check(rectangle)
    if (rectangle.width === 0 || rectangle.height === 0)
      throw new Refusal(RESPONSE.invalidParameter, 'a screen without pixels')
    this.#show({ id, resource, rectangle })
  }

  #flush(id: number, rectangle: Rectangle): void {
    this.#resources.get(id).check(rectangle)
    if (this.#scanout?.id !== id) return
    this.painted(rectangle)
    this.#drawn++
    this.#onDrawn(this)
  }
}

/** A request is at least a header: what is missing counts as zero, and as no command. */
function padded(bytes: Uint8Array): Uint8Array {
  if (bytes.length >= HEADER_BYTES) return bytes
  const header = new Uint8Array(HEADER_BYTES)
  header.set(bytes)
  return header
}
