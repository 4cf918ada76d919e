// A way to an open device, half gone: what both ways have in common, and who is told of the device before it is enabled.
import type { AddressSpace } from '../../iommu/address-space.js'
import type { NativeHandle } from '../../native/index.js'
import type { KvmOwner, OpenChoice } from './options.js'

export interface Route {
  readonly choice: OpenChoice
  readonly space: AddressSpace
  /** The descriptor by which KVM is to know the device. */
  readonly vfioFile: number
  /** The descriptor of its group; null when it is opened without. */
  readonly groupFd: number | null
  /** Enables and resets the device, which may take long, and gives it. On failure nothing of it is left but the route. */
  enable(): Promise<NativeHandle>
  enableSync(): NativeHandle
  /** Lets go of what the open device holds by itself. */
  done(): void
  /** Undoes it all. */
  abandon(): void
}

/** Tells the virtual machine of the device, which it must know before the device is enabled; undone when that fails. */
export async function enable(route: Route, vm: KvmOwner | undefined): Promise<NativeHandle> {
  let told: KvmOwner | undefined
  try {
    vm?.vfio.add(route.vfioFile)
    told = vm
    return await route.enable()
  } catch (error) {
    abandon(route, told)
    throw error
  }
}

export function enableSync(route: Route, vm: KvmOwner | undefined): NativeHandle {
  let told: KvmOwner | undefined
  try {
    vm?.vfio.add(route.vfioFile)
    told = vm
    return route.enableSync()
  } catch (error) {
    abandon(route, told)
    throw error
  }
}

/** Undoes a route, and that the machine was told. */
export function abandon(route: Route, told: KvmOwner | undefined): void {
  try {
    told?.vfio.remove(route.vfioFile)
  } catch {
    // It was closed meanwhile, and forgot the device with that.
  }
  route.abandon()
}
