// GuestMemfd: memory that belongs to a machine (guest_memfd), and what a page of the guest's memory is: private, in such a
// file, or shared, in memory of the VMM's.
import { attempt } from '../errors.js'
import { Handle } from '../handle.js'
import { pageSize } from '../memory/page.js'
import { addon, type NativeHandle } from '../native/index.js'
import { MAX_U64, bigint, boolean, integer, object } from '../validate.js'
import { needCapability } from './state/capability.js'

export interface GuestMemfdOptions {
  /** Bytes, a multiple of the page size. */
  size: number
  /** This process may map it (GUEST_MEMFD_FLAG_MMAP, Linux 6.18). Default false. */
  mappable?: boolean
  /** Its pages are shared with the VMM at first (GUEST_MEMFD_FLAG_INIT_SHARED, Linux 6.18). Default false. */
  shared?: boolean
}

const CREATE = 'KVM_CREATE_GUEST_MEMFD'
const FLAG = { mappable: 1, shared: 2 } as const

/** Memory of one machine's (KVM_CREATE_GUEST_MEMFD, Linux 6.8). Close it after the slots that show it. */
export class GuestMemfd extends Handle {
  /** Bytes. */
  readonly size: number

  private constructor(native: NativeHandle, size: number) {
    super(native, 'GuestMemfd')
    this.size = size
  }

  /** @internal */
  static make(vm: NativeHandle, options: GuestMemfdOptions): GuestMemfd {
    const { size, mappable = false, shared = false } = object(options, 'options')
    integer(size, 'size', 1, 2 ** 46)
    if (size % pageSize() !== 0) throw new RangeError(`size must be a multiple of ${String(pageSize())}`)
    const flags =
      (boolean(mappable, 'mappable') ? FLAG.mappable : 0) | (boolean(shared, 'shared') ? FLAG.shared : 0)
    needCapability(vm, 'GUEST_MEMFD', CREATE)
    if (flags !== 0) needCapability(vm, 'GUEST_MEMFD_FLAGS', CREATE)
    return new GuestMemfd(
      attempt({ subject: `${String(size)} bytes` }, () => addon().vmCreateGuestMemfd(vm, size, flags)),
      size,
    )
  }

  /** The descriptor's number. The object keeps ownership. */
  get fd(): number {
    return addon().handleFd(this.native)
  }

  /** Idempotent. A slot that shows it keeps it until the slot is closed. */
  close(): void {
    this.closeNow()
  }

  [Symbol.dispose](): void {
    this.close()
  }
}

/** Guest memory that becomes private or shared. */
export interface MemoryAttributes {
  /** A multiple of the page size. */
  guestAddress: bigint
  /** Bytes, a multiple of the page size. */
  size: bigint
  /** The guest's accesses go to the slot's GuestMemfd (KVM_MEMORY_ATTRIBUTE_PRIVATE), otherwise to its `memory`. */
  private: boolean
}

const PRIVATE = 8n

/** KVM_SET_MEMORY_ATTRIBUTES. @internal */
export function setMemoryAttributes(vm: NativeHandle, attributes: MemoryAttributes): void {
  const { guestAddress, size, private: isPrivate } = object(attributes, 'attributes')
  const page = BigInt(pageSize())
  bigint(guestAddress, 'guestAddress', 0n, MAX_U64)
  bigint(size, 'size', 1n, guestAddress === 0n ? MAX_U64 : MAX_U64 - guestAddress + 1n)
  if (guestAddress % page !== 0n || size % page !== 0n) {
    throw new RangeError(`guestAddress and size must be multiples of ${String(page)}`)
  }
  boolean(isPrivate, 'private')
  needCapability(vm, 'MEMORY_ATTRIBUTES', 'KVM_SET_MEMORY_ATTRIBUTES')
  addon().vmSetMemoryAttributes(vm, guestAddress, size, isPrivate ? PRIVATE : 0n)
}
