// The address spaces of this environment by their native identity, so that two devices in one group get one object. All devices
// of a group are in one space of the process, whichever way they were opened.
import { AddressSpace } from '../../iommu/address-space.js'
import { type NativeHandle, addon } from '../../native/index.js'
import type { Checked } from './options.js'

const spaces = new Map<number, WeakRef<AddressSpace>>()

/** Makes the object of this environment over a native space. */
type Make = (native: NativeHandle) => AddressSpace

export function isSame(one: NativeHandle, other: NativeHandle): boolean {
  return addon().handleShare(one) === addon().handleShare(other)
}

export function remember(space: AddressSpace): void {
  for (const [id, ref] of spaces) if (ref.deref() === undefined) spaces.delete(id)
  spaces.set(addon().handleShare(space.native), new WeakRef(space))
}

/** This environment's object for a space that devices are in already. Takes the native one over. */
export function spaceOver(present: NativeHandle, make: Make): AddressSpace {
  const known = spaces.get(addon().handleShare(present))?.deref()
  if (known !== undefined && !known.closed) {
    addon().handleRelease(present, false)
    return known
  }
  const space = make(present).closeWithMembers()
  remember(space)
  return space
}

/**
 * Joins the space that devices of the group are in already. Takes the native one over.
 * @param refusal what it means that another space was asked for
 */
export function join(
  present: NativeHandle,
  wanted: Checked['iommu'],
  make: Make,
  refusal: () => Error,
): AddressSpace {
  if (!(wanted instanceof AddressSpace)) return spaceOver(present, make)
  const other = !isSame(present, wanted.native)
  addon().handleRelease(present, false)
  if (other) throw refusal()
  remember(wanted)
  return wanted
}
