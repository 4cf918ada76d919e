// The messages of virtio-gpu in 2D (virtio 1.2, section 5.7): numbers, and where the fields are. It must not know what they do.

export const COMMAND = {
  getDisplayInfo: 0x100,
  resourceCreate2d: 0x101,
  resourceUnref: 0x102,
  setScanout: 0x103,
  resourceFlush: 0x104,
  transferToHost2d: 0x105,
  resourceAttachBacking: 0x106,
  resourceDetachBacking: 0x107,
  getEdid: 0x10a,
  resourceCreateBlob: 0x10c,
  setScanoutBlob: 0x10d,
  updateCursor: 0x300,
  moveCursor: 0x301,
} as const

export const RESPONSE = {
  ok: 0x1100,
  displayInfo: 0x1101,
  edid: 0x1104,
  unspecified: 0x1200,
  outOfMemory: 0x1201,
  invalidScanout: 0x1202,
  invalidResource: 0x1203,
  invalidParameter: 0x1205,
} as const

/** What a command is refused with. */
export class Refusal extends Error {
  readonly response: number

  constructor(response: number, what: string) {
    super(what)
    this.response = response
  }
}

/** Features of the device, beside those of virtio. */
export const GPU_FEATURE = { blob: 1n << 3n } as const

/** Where a blob's memory is: the guest's is the one kind without a host's 3D driver. */
export const BLOB_OF_GUEST = 1

/** struct virtio_gpu_ctrl_hdr */
export const HEADER_BYTES = 24
const FLAG_FENCE = 1
const FENCE_ID = 8
const CONTEXT_ID = 16

export const MOST_SCANOUTS = 16
const SCANOUT_BYTES = 24
export const DISPLAY_INFO_BYTES = HEADER_BYTES + MOST_SCANOUTS * SCANOUT_BYTES
export const BACKING_ENTRY_BYTES = 16
export const EDID_BYTES = HEADER_BYTES + 8 + 1024

export interface Rectangle {
  readonly x: number
  readonly y: number
  readonly width: number
  readonly height: number
}

/** A request, read field by field; a short one is refused, not read past its end. */
export class Request {
  readonly #view: DataView

  constructor(bytes: Uint8Array) {
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    this.need(HEADER_BYTES)
  }

  get command(): number {
    return this.#view.getUint32(0, true)
  }

  get fenced(): boolean {
    return (this.#view.getUint32(4, true) & FLAG_FENCE) !== 0
  }

  need(bytes: number): void {
    if (this.#view.byteLength < bytes)
      throw new Refusal(
        RESPONSE.invalidParameter,
        `a request of ${this.#view.byteLength} bytes, not ${bytes}`,
      )
  }

  /** The 32-bit number so many bytes after the header. */
  u32(offset: number): number {
    this.need(HEADER_BYTES + offset + 4)
    return this.#view.getUint32(HEADER_BYTES + offset, true)
  }

  u64(offset: number): bigint {
    this.need(HEADER_BYTES + offset + 8)
    return this.#view.getBigUint64(HEADER_BYTES + offset, true)
  }

  rectangle(offset: number): Rectangle {
    return {
      x: this.u32(offset),
      y: this.u32(offset + 4),
      width: this.u32(offset + 8),
      height: this.u32(offset + 12),
    }
  }

  /** The header of the answer: with the request's fence, where it has one. */
  answer(response: number, bytes = HEADER_BYTES): Uint8Array {
    const answer = new Uint8Array(bytes)
    const view = new DataView(answer.buffer)
    view.setUint32(0, response, true)
    if (this.fenced) {
      view.setUint32(4, FLAG_FENCE, true)
      view.setBigUint64(FENCE_ID, this.#view.getBigUint64(FENCE_ID, true), true)
      view.setUint32(CONTEXT_ID, this.#view.getUint32(CONTEXT_ID, true), true)
    }
    return answer
  }
}

/** Fills the one scanout of an answer to GET_DISPLAY_INFO: at the origin, enabled. */
export function showScanout(answer: Uint8Array, width: number, height: number): void {
  const view = new DataView(answer.buffer, HEADER_BYTES)
  view.setUint32(8, width, true)
  view.setUint32(12, height, true)
  view.setUint32(16, 1, true)
}
