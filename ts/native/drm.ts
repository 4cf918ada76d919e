// What native/drm gives to JavaScript: DRM cards, memory and framebuffers on them, what they show. A part of NativeAddon.
import type { NativeHandle } from './handle.js'

export interface NativeMode {
  readonly name: string
  readonly width: number
  readonly height: number
  /** Pictures a second. */
  readonly refresh: number
  /** The kernel's structure, by which it is set. */
  readonly bytes: Uint8Array
}

/** The functions of native/drm. */
export interface DrmFunctions {
  // -- cards, and memory on them --
  drmOpen(path: string): NativeHandle
  drmFromFd(fd: number): NativeHandle
  drmDriver(card: NativeHandle): string
  drmCapability(card: NativeHandle, capability: number): bigint
  /** Becomes the card's master, or no longer is. */
  drmMaster(card: NativeHandle, wanted: boolean): void
  drmDumbCreate(card: NativeHandle, width: number, height: number, bitsPerPixel: number): NativeHandle
  /** The memory of a dma-buf, whose descriptor stays the caller's; always the same object for the same memory. */
  drmImport(card: NativeHandle, fd: number): NativeHandle
  /** `pitch` is 0 for what was imported. */
  drmBufferInfo(buffer: NativeHandle): { pitch: number; size: number }
  drmBufferWindow(buffer: NativeHandle): ArrayBuffer
  /** A descriptor of it as a dma-buf, the caller's. */
  drmBufferShare(buffer: NativeHandle): number
  drmFramebufferAdd(
    buffer: NativeHandle,
    width: number,
    height: number,
    format: number,
    pitch: number,
  ): NativeHandle
  drmFramebufferDirty(
    framebuffer: NativeHandle,
    left: number,
    top: number,
    right: number,
    bottom: number,
  ): void
  /** `fd` is that of /dev/udmabuf; `parts` is flat: a memory, an offset and a size each. A descriptor, the caller's. */
  udmabufCreate(fd: number, parts: readonly (NativeHandle | number)[]): number
  /** The same of a peer's memory: addresses and sizes in turn. */
  udmabufOfWindows(fd: number, windows: NativeHandle, pieces: readonly bigint[]): number

  // -- what is shown --
  drmResources(card: NativeHandle): { crtcs: number[]; connectors: number[] }
  /** `connection` is 1 connected, 2 not, 3 unknown. */
  drmConnector(
    card: NativeHandle,
    id: number,
  ): { type: number; typeId: number; connection: number; modes: NativeMode[]; encoders: number[] }
  /** The CRTCs that it can have, as a mask of their places in the list of resources. */
  drmEncoder(card: NativeHandle, id: number): number
  drmSetCrtc(
    card: NativeHandle,
    crtc: number,
    framebuffer: NativeHandle | null,
    x: number,
    y: number,
    connectors: readonly number[],
    mode: Uint8Array | null,
  ): void
  /** Overlays; the planes that every CRTC has of its own are not among them. */
  drmPlanes(card: NativeHandle): number[]
  drmPlane(card: NativeHandle, id: number): { possibleCrtcs: number; formats: number[] }
  drmSetPlane(
    card: NativeHandle,
    plane: number,
    crtc: number,
    framebuffer: NativeHandle | null,
    x: number,
    y: number,
    width: number,
    height: number,
  ): void
}
