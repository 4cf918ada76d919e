// What native/support gives to JavaScript: what every handle can do. A part of NativeAddon.
import type { NativeHandle } from './handle.js'

/** The functions of native/support. */
export interface SupportFunctions {
  setErrorFactory(factory: (errno: number, syscall: string) => Error): void
  /** Lets go of the object; with `wait`, after the calls that run for this handle. */
  handleRelease(handle: NativeHandle, wait: boolean): void
  /** Lets go of the object off the main thread: closing a device resets it. */
  handleDestroy(handle: NativeHandle): Promise<void>
  /** Takes back the memory lent through the handle: its ArrayBuffers are detached. */
  handlePark(handle: NativeHandle): void
  /** The number by which `handleClaim` finds the object in another environment of this process. */
  handleShare(handle: NativeHandle): number
  handleClaim(token: number): NativeHandle
  /** How many handles of this process hold the object. */
  handleHolders(handle: NativeHandle): number
  handleFd(handle: NativeHandle): number
  handleKind(handle: NativeHandle): string
}
