// A bound device into an IOAS: on the IOAS itself, for which the kernel makes a page table, or on a table that tracks dirty
// pages where the space is to do that.
import { VfioError } from '../../errors.js'
import { addon, type NativeHandle } from '../../native/index.js'
import { tablesFor, tracks } from './tracking-tables.js'

function deviceIdOf(device: NativeHandle): number {
  const id = addon().deviceIommufdId(device)
  if (id === null) throw new TypeError('device must be bound to an iommufd')
  return id
}

/** A table that the device's IOMMU cannot use, or its group may not, is EINVAL. */
function unfit(error: unknown): error is VfioError {
  return error instanceof VfioError && error.code === 'EINVAL'
}

/**
 * What to attach a device to, null for the IOAS itself: one after the other, until one is not refused. Whoever attaches it
 * throws the refusal in here, and gets it back where there is nothing else to try.
 */
function* targets(
  ioas: NativeHandle,
  device: NativeHandle,
  pasid: number | null,
): Generator<NativeHandle | null> {
  if (!tracks(ioas)) {
    yield null
    return
  }
  let refusal: VfioError | undefined
  for (const table of tablesFor(ioas, deviceIdOf(device), pasid)) {
    try {
      yield table
      return
    } catch (error) {
      if (!unfit(error)) throw error
      refusal = error
    } finally {
      addon().handleRelease(table, false)
    }
  }
  throw refusal ?? new Error('no page table was tried')
}

/** VFIO_DEVICE_ATTACH_IOMMUFD_PT, by which the device, or one PASID of it, leaves what it was on. */
export async function attachTo(
  ioas: NativeHandle,
  device: NativeHandle,
  pasid: number | null,
): Promise<void> {
  const tries = targets(ioas, device, pasid)
  for (let next = tries.next(); next.done !== true;) {
    try {
      if (next.value === null) await addon().deviceAttachIoas(device, ioas, pasid)
      else await addon().deviceAttachHwpt(device, next.value, pasid)
      next = tries.next()
    } catch (error) {
      next = tries.throw(error)
    }
  }
}

/** `attachTo`, blocking. */
export function attachToSync(ioas: NativeHandle, device: NativeHandle, pasid: number | null): void {
  const tries = targets(ioas, device, pasid)
  for (let next = tries.next(); next.done !== true;) {
    try {
      if (next.value === null) addon().deviceAttachIoasSync(device, ioas, pasid)
      else addon().deviceAttachHwptSync(device, next.value, pasid)
      next = tries.next()
    } catch (error) {
      next = tries.throw(error)
    }
  }
}
