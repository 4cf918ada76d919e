// DeviceIoeventfd: a register that the kernel writes when an eventfd is signalled. Owns the arrangement, and the eventfd
// where it made one; a region keeps a list of its own.
import { attempt } from '../errors.js'
import { EventFd } from '../event/eventfd.js'
import { Handle } from '../handle.js'
import type { NativeHandle } from '../native/index.js'
import { instance, integer, object } from '../validate.js'
import type { DeviceBackend } from './backend.js'
import { kernelOf } from './core.js'
import type { RegionArea, RegionInfo } from './info.js'
import { wide } from './poll.js'

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

const CALL = 'VFIO_DEVICE_IOEVENTFD'
const LAST_BAR = 5

/** What is needed of a region here. */
interface IoeventfdRegion {
  label: string
  name: string
  backend: Pick<DeviceBackend, 'kernel'>
  msixTable: RegionArea | null
}

/** Those of one region. */
export class RegionIoeventfds {
  readonly #info: RegionInfo
  readonly #region: IoeventfdRegion
  readonly #refuseClosed: () => void
  readonly #made = new Set<DeviceIoeventfd>()

  constructor(info: RegionInfo, region: IoeventfdRegion, refuseClosed: () => void) {
    this.#info = info
    this.#region = region
    this.#refuseClosed = refuseClosed
  }

  open(offset: number, options: IoeventfdOptions): DeviceIoeventfd {
    const { width, data, eventfd } = object(options, 'options')
    if (![1, 2, 4, 8].includes(width))
      throw new RangeError(`width must be 1, 2, 4 or 8, not ${String(width)}`)
    if (eventfd !== undefined) instance(eventfd, EventFd, 'eventfd')
    const { index, size } = this.#info
    const { name, msixTable: table } = this.#region
    if (index > LAST_BAR) throw new RangeError(`an ioeventfd writes to bar0 to bar5, not to ${name}`)
    integer(offset, 'offset', 0, Math.max(0, size - width))
    // The kernel would take one that is not, and split the access.
    if (offset % width !== 0) throw new RangeError(`offset must be a multiple of ${String(width)}`)
    const value = wide(data, 'data', (1n << BigInt(8 * width)) - 1n)
    if (table !== null && offset < table.offset + table.size && offset + width > table.offset)
      throw new RangeError(`offset must lie outside the MSI-X table, at ${String(table.offset)}`)
    const signal = eventfd ?? new EventFd()
    try {
      return this.#arrange(offset, width, value, signal, eventfd === undefined)
    } catch (error) {
      if (eventfd === undefined) signal.close()
      throw error
    }
  }

  /** The region closes. */
  close(): void {
    for (const each of this.#made) each.close()
  }

  #arrange(offset: number, width: number, data: bigint, eventfd: EventFd, own: boolean): DeviceIoeventfd {
    this.#refuseClosed()
    const subject = `${this.#region.label} at 0x${offset.toString(16)}`
    const native = attempt({ subject }, () =>
      kernelOf(this.#region, CALL).ioeventfd(this.#info, offset, width, data, eventfd),
    )
    const made = new DeviceIoeventfd(native, `ioeventfd of ${subject}`, eventfd, () => {
      forget()
      this.#made.delete(made)
      if (toClose) eventfd.close()
    })
    let toClose = own
    const forget = eventfd.beforeClose(() => {
      toClose = false
      made.close()
    })
    this.#made.add(made)
    return made
  }
}
