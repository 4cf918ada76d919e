// A change of the host as data: what is asked for, the plan that does it, and where state is kept. It must not read or
// write anything.

import type { HostIo } from '../../host/io.js'
import type { HostStep } from '../../host/step.js'
import type { HostOptions } from '../../host/sysfs.js'
import type { Unseen } from '../../host/usage/types.js'

/** What is asked for. */
export type HostChange =
  /** Gives a PCI device to a driver of VFIO. */
  | {
      readonly kind: 'bind'
      /** A PCI address. */
      readonly device: string
      /** The variant driver made for the device, or else vfio-pci, unless told otherwise. */
      readonly driver?: string
      /** The other devices of its IOMMU group too, but for bridges and those that VFIO has already. */
      readonly group?: boolean
      /** After a reboot too, as driverctl does it. */
      readonly persist?: boolean
    }
  /** Takes a PCI device from its driver and clears `driver_override`. */
  | {
      readonly kind: 'unbind'
      /** A PCI address. */
      readonly device: string
      /** `host`, the default: a host driver may take it; `none`: it stays without one. */
      readonly to?: 'host' | 'none'
      /** Removes driverctl's entry for it too. */
      readonly persist?: boolean
    }

  /** Gives a physical function another number of virtual ones. */
  | {
      readonly kind: 'sriov'
      /** The physical function's PCI address. */
      readonly device: string
      /** 0 takes them all away. */
      readonly numVfs: number
      /**
       * Whether host drivers take the new ones by themselves. Off unless told otherwise, but on for the driver nvidia, whose
       * virtual functions stay with it.
       */
      readonly autoprobe?: boolean
    }
  /** Makes a mediated device. */
  | {
      readonly kind: 'mdev-create'
      /** The parent's name: a PCI address, or another device's name in `/sys/class/mdev_bus`. */
      readonly parent: string
      /** Id of the type, such as `i915-GVTg_V5_4`. */
      readonly type: string
      /** A new one, if left out. */
      readonly uuid?: string
      /** After a reboot too, as mdevctl does it. */
      readonly persist?: boolean
    }
  /** Takes a mediated device away. */
  | {
      readonly kind: 'mdev-remove'
      readonly uuid: string
      /** Removes mdevctl's entry for it too. */
      readonly persist?: boolean
    }
  /** Makes a virtual function of NVIDIA's a vGPU of another type. */
  | {
      readonly kind: 'vgpu'
      /** The virtual function's PCI address. */
      readonly device: string
      /** Id of the type, one of its `creatable_vgpu_types`; 0 for none. */
      readonly type: number
    }

export type HostChangeKind = HostChange['kind']

/** Something that forbids the change now. */
export interface Refusal {
  /** `in-use`: somebody has it open; `host`: the host, or the device, is not made so. */
  readonly reason: 'in-use' | 'host'
  readonly what: string
  readonly remedy: string
}

/** Another device of the same IOMMU group: user space gets a group as a whole. */
export interface GroupNeighbour {
  readonly name: string
  readonly driver: string | null
  /** Whether it keeps the group from user space, as the host is now. */
  readonly blocks: boolean
}

/** What a change would write, in order. */
export interface Plan {
  readonly schema: 'vfio-plan/1'
  /** As asked for, with what was left open filled in. */
  readonly change: HostChange
  /** In words. */
  readonly summary: string
  /** The devices that it takes hold of, by name. */
  readonly devices: readonly string[]
  /** The boot for which it was made; null where the kernel does not say. Names and groups change with a reboot. */
  readonly bootId: string | null
  /** Nothing to do if it is empty. */
  readonly steps: readonly HostStep[]
  readonly refusals: readonly Refusal[]
  /** What will be lost or may hurt: a person should say yes first. */
  readonly warnings: readonly string[]
  readonly notes: readonly string[]
  readonly neighbours: readonly GroupNeighbour[]
  /**
   * What could not be looked at, so that a use of the devices may be hidden there: `apply` wants `force` for it. Absent in a plan
   * of an earlier version.
   */
  readonly unseen?: readonly Unseen[]
}

/** How far `apply` or `undo` is. Each is awaited. */
export interface ChangeEvent {
  readonly phase: 'before-write' | 'after-write' | 'done' | 'before-undo' | 'after-undo' | 'undone'
  /** Index in the plan's steps. */
  readonly index: number
  readonly step: HostStep
}

export interface ChangeOptions extends HostOptions {
  /** Where journals and the lock are, `/var/lib/node-vfio` unless told otherwise. */
  readonly stateRoot?: string
  /** Where packages are installed, `/usr` unless told otherwise: whether driverctl and mdevctl are there is seen below it. */
  readonly usrRoot?: string
  /** How long one write may take, in milliseconds; 60,000 unless told otherwise. */
  readonly timeout?: number
  /** What stands between the change and the kernel; tests put a simulated one there. */
  readonly io?: HostIo
  readonly onEvent?: (event: ChangeEvent) => void | Promise<void>
  /** Between two steps: ends the change, which is then taken back. */
  readonly signal?: AbortSignal
}
