// DeviceIoeventfd: a register that the kernel writes when an eventfd is signalled. Owns the arrangement, and the eventfd
// where it made one.
import type { EventFd } from '../event/eventfd.js'
import { Handle } from '../handle.js'
import type { NativeHandle } from '../native/index.js'

export interface IoeventfdOptions {
  /** Bytes of the register: 1, 2, 4, or 8 where the kernel can (x86-64: from Linux 6.11 on). */
  width: 1 | 2 | 4 | 8
  /** What is written, whatever was signalled: 0 to 2^(8 * width) - 1. */
  data: number | bigint
  /** What is waited for (default: an eventfd of its own). It stays the caller's. */
  eventfd?: EventFd
}

/** What `Region.ioeventfd` set up; closing it takes it back. */
export class DeviceIoeventfd extends Handle {
  /** Signalling it writes the register. Only the kernel reads it. */
  readonly eventfd: EventFd
  readonly #onClose: () => void

  /** @internal */
  constructor(native: NativeHandle, label: string, eventfd: EventFd, onClose: () => void) {
    super(native, label)
    this.eventfd = eventfd
    this.#onClose = onClose
  }

  /** Takes it back; an eventfd that it made is closed too. Idempotent. */
  close(): void {
    const open = !this.closed
    this.closeNow()
    if (open) this.#onClose()
  }

  [Symbol.dispose](): void {
    this.close()
  }
}
