// MemorySlot: a piece of a guest's physical memory, and what it shows.
import { attempt } from '../errors.js'
import { DirtyBitmap } from '../memory/dirty-bitmap.js'
import type { GuestMemory } from '../memory/guest-memory.js'
import { pageSize } from '../memory/page.js'
import type { PeerMemory } from '../memory/peer-memory.js'
import type { GuestMemfd } from './guest-memfd.js'
import { addon, type NativeHandle } from '../native/index.js'
import { boolean } from '../validate.js'

export interface AddMemoryOptions {
  /** Where the guest sees it: a multiple of the page size. */
  guestAddress: bigint
  /** Memory, or a mapped `Region` (a BAR): its pages then reach the device itself. */
  memory: GuestMemory | PeerMemory
  /** Bytes from the start of `memory`, a multiple of the page size (default 0). */
  offset?: number
  /** Bytes, a multiple of the page size (default: up to the end of `memory`). */
  size?: number
  /** The guest's writes end its run() with an exit of MMIO instead (KVM_MEM_READONLY). Default false. */
  readOnly?: boolean
  /** Remembers which pages the guest wrote to (KVM_MEM_LOG_DIRTY_PAGES). Default false. */
  logDirty?: boolean
  /**
   * Memory of the machine's own behind the slot, for pages that are private (KVM_SET_USER_MEMORY_REGION2, Linux 6.8);
   * `memory` is then for those that are shared. Its flags stay as they are until it is closed.
   */
  guestMemfd?: GuestMemfd | null
  /** Bytes from the start of `guestMemfd`, a multiple of the page size (default 0). */
  guestMemfdOffset?: number
}

/** Bits of a slot's flags. @internal */
export const SLOT_FLAG = { logDirty: 1, readOnly: 2 } as const

/** What a slot is told at birth. @internal */
export interface SlotParts extends Required<AddMemoryOptions> {
  number: number
  vm: () => NativeHandle
  vmClosed: () => boolean
  /** Runs `remove`, which takes the slot from the guest, with everybody told who is to know. */
  removing: (slot: MemorySlot, remove: () => void) => void
}

/** A memory slot (KVM_SET_USER_MEMORY_REGION). It holds what it shows until it is closed, by itself or with its Vm. */
export class MemorySlot {
  readonly guestAddress: bigint
  /** Bytes. */
  readonly size: number
  readonly memory: GuestMemory | PeerMemory
  /** Bytes from the start of `memory`. */
  readonly offset: number
  readonly readOnly: boolean
  /** The number that KVM knows it by. */
  readonly number: number
  readonly guestMemfd: GuestMemfd | null
  readonly #parts: SlotParts
  #logDirty: boolean
  #state: 'open' | 'closing' | 'closed' = 'open'

  /** @internal */
  constructor(parts: SlotParts) {
    this.guestAddress = parts.guestAddress
    this.size = parts.size
    this.memory = parts.memory
    this.offset = parts.offset
    this.readOnly = parts.readOnly
    this.number = parts.number
    this.guestMemfd = parts.guestMemfd
    this.#logDirty = parts.logDirty
    this.#parts = parts
  }

  get closed(): boolean {
    return this.#state === 'closed'
  }

  /** Whether the pages that the guest writes to are remembered. May be changed while the guest runs. */
  get logDirty(): boolean {
    return this.#logDirty
  }

  set logDirty(log: boolean) {
    boolean(log, 'logDirty')
    const flags = (log ? SLOT_FLAG.logDirty : 0) | (this.readOnly ? SLOT_FLAG.readOnly : 0)
    attempt({ subject: this.#subject }, () => {
      addon().vmChangeMemory(this.#parts.vm(), this.#parts.number, flags)
    })
    this.#logDirty = log
  }

  /**
   * The pages that the guest wrote to since the last call (KVM_GET_DIRTY_LOG): reading clears. The bitmap's `iova` is the
   * guest address of its first page.
   * @throws VfioError ENOENT unless `logDirty` is set, ENXIO where the machine has dirty rings
   */
  dirtyBitmap(): DirtyBitmap {
    const page = pageSize()
    const bytes = attempt(
      ({ code }) => ({
        subject: this.#subject,
        remedy:
          code === 'ENXIO'
            ? 'The machine reports written pages in rings: use the DirtyRing that enableDirtyRing gave.'
            : 'Set logDirty on the slot first.',
      }),
      () => addon().vmDirtyLog(this.#parts.vm(), this.#parts.number),
    )
    return new DirtyBitmap(bytes, this.guestAddress, this.size / page, page)
  }

  /**
   * Takes it from the guest. Idempotent. A vCPU that still reaches there gets an exit of MMIO. An error of a listener
   * (`vm.onMemoryChange`) does not keep it: it goes, and the first such error is thrown afterwards.
   */
  close(): void {
    // A listener that closes what is being closed has nothing to do.
    if (this.#state !== 'open') return
    this.#state = 'closing'
    try {
      this.#parts.removing(this, () => {
        // A listener may have closed the machine: the slot went with it.
        if (!this.#parts.vmClosed()) {
          attempt({ subject: this.#subject }, () => {
            addon().vmRemoveMemory(this.#parts.vm(), this.#parts.number)
          })
        }
        this.#state = 'closed'
      })
    } finally {
      // The kernel would not let it go: it can be asked again.
      if (!this.closed) this.#state = 'open'
    }
  }

  [Symbol.dispose](): void {
    this.close()
  }

  get #subject(): string {
    const last = this.guestAddress + BigInt(this.size) - 1n
    return `guest memory 0x${this.guestAddress.toString(16)}-0x${last.toString(16)}`
  }
}
