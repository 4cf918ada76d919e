// virtio-gpu in 2D: a screen for a guest. Its driver makes images, fills them from the guest's memory, and says which one the screen
// shows; each time it is done with a picture, a function is called. The pointer is not drawn.
import {
  BACKING_ENTRY_BYTES,
  BLOB_OF_GUEST,
  COMMAND,
  DISPLAY_INFO_BYTES,
  GPU_FEATURE,
  HEADER_BYTES,
  type Rectangle,
  Refusal,
  Request,
  RESPONSE,
  showScanout,
} from './gpu/protocol.js'
import { type PictureMemory } from './gpu/pictures.js'
import { type Frame, frameOf } from './gpu/pixels.js'
import { checkWithin, type Resource } from './gpu/image.js'
import { checkPieces, Resources } from './gpu/resources.js'
import { VirtioDevice } from './virtio/device.js'
import { type Chain, type Piece } from './virtio/queue.js'

const TYPE = 16
const CLASS = 0x038000
/** Where in the configuration the number of screens is. */
const CONFIG_SCANOUTS = 8
/** What a request may have: the longest carries 16,384 pieces of memory. */
const MOST_REQUEST = HEADER_BYTES + 32 + 16_384 * BACKING_ENTRY_BYTES

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
      // A driver then has its screen in memory of its own, and copies nothing.
      ...(memory?.borrow && { features: GPU_FEATURE.blob }),
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
        if (this.#scanout?.id === id) this.#show(undefined)
        this.#resources.drop(id)
        break
      }
      case COMMAND.resourceAttachBacking:
        this.#attach(request)
        break
      case COMMAND.resourceDetachBacking:
        this.#resources.get(request.u32(0)).detach()
        break
      case COMMAND.resourceCreateBlob:
        this.#createBlob(request)
        break
      case COMMAND.setScanout:
        this.#setScanout(request)
        break
      case COMMAND.setScanoutBlob:
        this.#setScanoutBlob(request)
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
    this.#resources.get(request.u32(0)).attach(piecesOf(request, request.u32(4), 8))
  }

  #createBlob(request: Request): void {
    this.#needBlobs()
    if (request.u32(4) !== BLOB_OF_GUEST)
      throw new Refusal(RESPONSE.invalidParameter, `a blob of kind ${request.u32(4)}`)
    const bytes = request.u64(24)
    if (bytes > BigInt(Number.MAX_SAFE_INTEGER))
      throw new Refusal(RESPONSE.invalidParameter, 'a blob too large')
    this.#resources.createBlob(request.u32(0), piecesOf(request, request.u32(12), 32), Number(bytes))
  }

  #setScanout(request: Request): void {
    const id = this.#screenOf(request)
    if (id !== undefined) this.#showPart(id, this.#resources.get(id), request.rectangle(0))
  }

  #setScanoutBlob(request: Request): void {
    this.#needBlobs()
    const id = this.#screenOf(request)
    if (id === undefined) return
    const layout = {
      width: request.u32(24),
      height: request.u32(28),
      format: request.u32(32),
      pitch: request.u32(40),
      offset: request.u32(56),
    }
    const { dma } = this.device
    checkShown(request.rectangle(0), layout)
    // From here on nothing is refused: what is shown until now may be the same blob in another layout, which goes.
    const image = this.#resources.imageOf(id, layout, dma)
    this.#resources.blob(id)?.refresh(dma, { x: 0, y: 0, width: layout.width, height: layout.height })
    this.#showPart(id, image, request.rectangle(0))
  }

  #needBlobs(): void {
    if ((this.accepted & GPU_FEATURE.blob) === 0n)
      throw new Refusal(RESPONSE.unspecified, 'a command for blobs, which were not agreed on')
  }

  /** The number of the image that is to be shown; undefined if none is, which it then does. */
  #screenOf(request: Request): number | undefined {
    if (request.u32(16) !== 0) throw new Refusal(RESPONSE.invalidScanout, 'there is one screen')
    const id = request.u32(20)
    if (id !== 0) return id
    this.#show(undefined)
    return undefined
  }

  #showPart(id: number, resource: Resource, rectangle: Rectangle): void {
    checkShown(rectangle, resource)
    this.#show({ id, resource, rectangle })
  }

  #flush(id: number, rectangle: Rectangle): void {
    const blob = this.#resources.blob(id)
    const shown = this.#scanout?.id === id ? this.#scanout.resource : undefined
    if (blob === undefined) this.#resources.get(id).check(rectangle)
    else shown?.check(rectangle)
    if (shown === undefined) return
    blob?.refresh(this.device.dma, rectangle)
    this.painted(rectangle)
    this.#drawn++
    this.#onDrawn(this)
  }
}

/** @throws Refusal for a screen that is not within the image, or without pixels */
function checkShown(rectangle: Rectangle, image: { width: number; height: number }): void {
  checkWithin(rectangle, image)
  if (rectangle.width === 0 || rectangle.height === 0)
    throw new Refusal(RESPONSE.invalidParameter, 'a screen without pixels')
}

/** The pieces of memory of a request, so many bytes behind its header. */
function piecesOf(request: Request, count: number, offset: number): Piece[] {
  checkPieces(count)
  request.need(HEADER_BYTES + offset + count * BACKING_ENTRY_BYTES)
  return Array.from({ length: count }, (_, i) => ({
    iova: request.u64(offset + i * BACKING_ENTRY_BYTES),
    length: request.u32(offset + 8 + i * BACKING_ENTRY_BYTES),
  }))
}

/** A request is at least a header: what is missing counts as zero, and as no command. */
function padded(bytes: Uint8Array): Uint8Array {
  if (bytes.length >= HEADER_BYTES) return bytes
  const header = new Uint8Array(HEADER_BYTES)
  header.set(bytes)
  return header
}
