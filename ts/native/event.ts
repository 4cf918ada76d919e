// What native/event gives to JavaScript: eventfds, the poller and the waiter. A part of NativeAddon.
import type { NativeHandle } from './handle.js'

/** The functions of native/event. */
export interface EventFunctions {
  // -- eventfds --
  eventfdCreate(initial: number, semaphore: boolean): NativeHandle
  eventfdFromFd(fd: number): NativeHandle
  eventfdFunction(eventfd: NativeHandle, name: 'signal'): (value?: number) => void
  eventfdFunction(eventfd: NativeHandle, name: 'read'): () => number

  // -- the poller --
  readonly pollerRingSize: number
  readonly pollerMostSpinMicros: number
  pollerOpen(ring: ArrayBuffer, dispatch: (count: number) => void, spinMicros: number): NativeHandle
  pollerClose(poller: NativeHandle): void
  pollerAdd(poller: NativeHandle, eventfd: NativeHandle, slot: number): void
  /** Whether a socket that it watches is told too when it takes bytes again. */
  pollerWritable(poller: NativeHandle, slot: number, writable: boolean): void
  pollerRemove(poller: NativeHandle, slot: number): void
  pollerReference(poller: NativeHandle, referenced: boolean): void

  // -- the waiter --
  readonly waiterMostSpinMicros: number
  readonly waiterBatch: number
  /** Bytes from the start of the results to the indices that are ready. */
  readonly waiterReadyOffset: number
  waiterOpen(spinMicros: number): NativeHandle
  /** `wait` waits, without an argument for ever, and leaves in the results what came. */
  waiterFunction(waiter: NativeHandle): { wait: (milliseconds?: number) => void; results: ArrayBuffer }
  waiterAdd(waiter: NativeHandle, eventfd: NativeHandle): number
  waiterRemove(waiter: NativeHandle, index: number): void
  waiterWake(waiter: NativeHandle): void
}
