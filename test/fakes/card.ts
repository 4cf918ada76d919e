// A DRM card without a kernel: memory whose rows are further apart than they are long, and a log of what was asked for. It must not
// use the code under test.
import type { DrmCard, PixelFormat } from '../../ts/drm/index.js'

/** Rows begin at multiples of so many bytes, as on many cards. */
const ALIGNMENT = 256

export class FakeFramebuffer {
  closed = false

  constructor(
    readonly log: string[],
    readonly buffer: FakeBuffer,
    readonly format: PixelFormat,
  ) {}

  painted({ x, y, width, height }: { x: number; y: number; width: number; height: number }): boolean {
    this.log.push(`painted ${width}x${height} at ${x},${y}`)
    return true
  }

  close(): void {
    this.closed = true
  }
}

export class FakeBuffer {
  readonly pitch: number
  readonly buffer: ArrayBuffer
  closed = false

  constructor(
    readonly log: string[],
    readonly width: number,
    readonly height: number,
  ) {
    this.pitch = Math.ceil((width * 4) / ALIGNMENT) * ALIGNMENT
    this.buffer = new ArrayBuffer(this.pitch * height)
  }

  framebuffer(format: PixelFormat): FakeFramebuffer {
    return new FakeFramebuffer(this.log, this, format)
  }

  dmaBuf(): { shared: FakeBuffer } {
    return { shared: this }
  }

  close(): void {
    this.closed = true
  }
}

export class FakeCard {
  readonly log: string[] = []
  readonly buffers: FakeBuffer[] = []
  /** What `show()` and `createBuffer()` throw, if anything. */
  refusal: Error | undefined

  /** It, for the code under test. */
  get card(): DrmCard {
    return this as unknown as DrmCard
  }

  createBuffer(width: number, height: number): FakeBuffer {
    if (this.refusal !== undefined) throw this.refusal
    const buffer = new FakeBuffer(this.log, width, height)
    this.buffers.push(buffer)
    return buffer
  }

  setMaster(wanted: boolean): void {
    this.log.push(wanted ? 'master' : 'no master')
  }

  show(
    crtc: number,
    showing: { framebuffer: FakeFramebuffer; connectors: readonly number[]; x?: number; y?: number } | null,
  ): void {
    if (showing === null) {
      this.log.push(`crtc ${crtc} off`)
      return
    }
    if (this.refusal !== undefined) throw this.refusal
    const { framebuffer, connectors, x, y } = showing
    const { width, height } = framebuffer.buffer
    this.log.push(
      `crtc ${crtc} shows ${width}x${height} ${framebuffer.format} from ${x},${y} on ${connectors.join()}`,
    )
  }
}
