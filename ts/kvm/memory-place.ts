// Where a piece of memory goes in a guest: the checks before KVM is asked, and what its refusal means.
import { type VfioError, type VfioErrorContext, attempt } from '../errors.js'
import { GuestMemory } from '../memory/guest-memory.js'
import { pageSize } from '../memory/page.js'
import { PeerMemory } from '../memory/peer-memory.js'
import { addon, type NativeHandle } from '../native/index.js'
import { MAX_U64, bigint, boolean, instance, integer, object } from '../validate.js'
import { CAPABILITIES } from '../uapi/kvm/capabilities.js'
import { GuestMemfd } from './guest-memfd.js'
import { type AddMemoryOptions, SLOT_FLAG } from './memory-slot.js'
import { needCapability } from './state/capability.js'

/** A place with nothing left open. @internal */
export type MemoryPlace = Required<AddMemoryOptions>

const ADD_OWN = 'KVM_SET_USER_MEMORY_REGION2'

/** Checks where memory is to go. @internal */
export function placeOf(options: AddMemoryOptions, vm: NativeHandle): MemoryPlace {
  const { guestAddress, memory, offset = 0, readOnly = false, logDirty = false } = object(options, 'options')
  const { guestMemfd = null, guestMemfdOffset = 0 } = options
  if (!(memory instanceof GuestMemory)) instance(memory, PeerMemory, 'memory', 'GuestMemory or Region')
  const page = pageSize()
  bigint(guestAddress, 'guestAddress', 0n, MAX_U64)
  integer(offset, 'offset', 0, memory.size - 1)
  const { size = memory.size - offset } = options
  integer(size, 'size', 1, memory.size - offset)
  if (guestAddress % BigInt(page) !== 0n || offset % page !== 0 || size % page !== 0) {
    throw new RangeError(`guestAddress, offset and size must be multiples of ${String(page)}`)
  }
  if (guestAddress + BigInt(size) > MAX_U64) throw new RangeError('guestAddress + size must lie below 2^64')
  if (guestMemfd !== null) {
    instance(guestMemfd, GuestMemfd, 'guestMemfd')
    integer(guestMemfdOffset, 'guestMemfdOffset', 0, guestMemfd.size - size)
    if (guestMemfdOffset % page !== 0) {
      throw new RangeError(`guestMemfdOffset must be a multiple of ${String(page)}`)
    }
    needCapability(vm, 'USER_MEMORY2', ADD_OWN)
  }
  boolean(logDirty, 'logDirty')
  boolean(readOnly, 'readOnly')
  return { guestAddress, memory, offset, size, readOnly, logDirty, guestMemfd, guestMemfdOffset }
}

/** Adds the slot; its number. @internal */
export function addMemory(vm: NativeHandle, place: MemoryPlace): number {
  const { guestAddress, memory, offset, size, guestMemfd } = place
  const flags = (place.logDirty ? SLOT_FLAG.logDirty : 0) | (place.readOnly ? SLOT_FLAG.readOnly : 0)
  return attempt(
    (error) => memoryContext(vm, place, error),
    () =>
      addon().vmAddMemory(
        vm,
        guestAddress,
        memory.native,
        offset,
        size,
        flags,
        guestMemfd?.native ?? null,
        place.guestMemfdOffset,
      ),
  )
}

const PHYSICAL_ADDRESSES = 0x8000_0008

/** How many bits of an address the guest can have at most, by what KVM offers; undefined where nobody can tell. */
function addressBits(vm: NativeHandle): number | undefined {
  try {
    const bytes = addon().kvmGetSupportedCpuid(vm)
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    for (let at = 0; at + 40 <= bytes.length; at += 40) {
      if (view.getUint32(at, true) === PHYSICAL_ADDRESSES) return view.getUint32(at + 12, true) & 0xff
    }
  } catch {
    // The machine came as a descriptor.
  }
  return undefined
}

/** What of a place KVM has to say EINVAL to. */
function mistakeOf(vm: NativeHandle, { guestAddress, size, ...place }: MemoryPlace): string | undefined {
  const bits = addressBits(vm)
  if (bits !== undefined && guestAddress + BigInt(size) > 1n << BigInt(bits)) {
    return `A guest of this host has ${String(bits)} bits of physical address: its memory ends below 0x${(1n << BigInt(bits)).toString(16)}.`
  }
  if (place.readOnly && addon().kvmCheckExtension(vm, CAPABILITIES.READONLY_MEM) === 0) {
    return 'This KVM has no read-only memory (KVM_CAP_READONLY_MEM).'
  }
  if (place.guestMemfd !== null) {
    return 'A slot with a GuestMemfd is neither read-only nor logged, its file is of the same machine, and each part of the file is in one slot.'
  }
  if (size / pageSize() > 0x7fff_ffff) {
    return `A slot has at most 2^31 - 1 pages, ${String(0x7fff_ffff * pageSize())} bytes: add several.`
  }
  return undefined
}

function memoryContext(vm: NativeHandle, place: MemoryPlace, error: VfioError): VfioErrorContext {
  const last = place.guestAddress + BigInt(place.size) - 1n
  const subject = `guest memory 0x${place.guestAddress.toString(16)}-0x${last.toString(16)}`
  switch (error.code) {
    case 'EEXIST':
      return { subject, remedy: 'It overlaps memory that the guest has: close that slot first.' }
    case 'ENOSPC': {
      const most = addon().kvmCheckExtension(vm, CAPABILITIES.NR_MEMSLOTS)
      return {
        subject,
        remedy: `The machine has all of its ${String(most)} memory slots (KVM_CAP_NR_MEMSLOTS): add larger pieces.`,
      }
    }
    case 'EINVAL': {
      const remedy = mistakeOf(vm, place)
      return remedy === undefined ? { subject } : { subject, remedy }
    }
    default:
      return { subject }
  }
}
