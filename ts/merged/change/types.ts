// A change of the host as data: what is asked for, the plan that does it, and where state is kept. It must not read or
// write anything.

import type { HostIo } from '../../host/io.js'
import type { ProfileName } from '../../host/profile-settings.js'
import type { HostStep } from '../../host/step.js'
import type { HostOptions } from '../../host/sysfs.js'
import type { Unseen } from '../../host/usage/types.js'

/** What is asked for. */
export type HostChange =
  /** Binds a PCI device to a VFIO driver. */
  | {
      readonly kind: 'bind'
      /** A PCI address. */
      readonly device: string
      /** The driver to bind to; by default the variant driver made for the device, or vfio-pci. */
      readonly driver?: string
      /** Also the other devices of its IOMMU group, except bridges and those already on VFIO. */
      readonly group?: boolean
      /** Also after a reboot, through driverctl. */
      readonly persist?: boolean
    }
  /** Unbinds a PCI device from its driver and clears `driver_override`. */
  | {
      readonly kind: 'unbind'
      /** A PCI address. */
      readonly device: string
      /** `host` (default): a host driver may take it. `none`: it stays without a driver. */
      readonly to?: 'host' | 'none'
      /** Also removes driverctl's entry for it. */
      readonly persist?: boolean
    }

  /** Sets the number of virtual functions of a physical function. */
  | {
      readonly kind: 'sriov'
      /** The physical function's PCI address. */
      readonly device: string
      /** 0 removes them all. */
      readonly numVfs: number
      /**
       * Whether host drivers bind to the new functions. By default off, but on for the driver nvidia, whose
       * virtual functions stay with it.
       */
      readonly autoprobe?: boolean
    }
  /** Creates a mediated device. */
  | {
      readonly kind: 'mdev-create'
      /** The parent's name: a PCI address, or another device's name in `/sys/class/mdev_bus`. */
      readonly parent: string
      /** Id of the type, such as `i915-GVTg_V5_4`. */
      readonly type: string
      /** Default: a new one. */
      readonly uuid?: string
      /** Also after a reboot, through mdevctl. */
      readonly persist?: boolean
    }
  /** Removes a mediated device. */
  | {
      readonly kind: 'mdev-remove'
      readonly uuid: string
      /** Also removes mdevctl's entry for it. */
      readonly persist?: boolean
    }
  /** Turns a virtual function of an NVIDIA GPU into a vGPU of another type. */
  | {
      readonly kind: 'vgpu'
      /** The virtual function's PCI address. */
      readonly device: string
      /** Id of the type, one of its `creatable_vgpu_types`; 0 for none. */
      readonly type: number
    }
  /** Sets the share of an Intel GPU that xe gives a function (`sriov_admin`, Linux 6.19). */
  | {
      readonly kind: 'profile'
      /** The PCI address of a virtual function, or of the physical one for its own share. */
      readonly device: string
      /**
       * `exec_quantum_ms`, `preempt_timeout_us`: 0 for no limit; `sched_priority`: low, normal, high; `vram_quota`: bytes, while
       * nobody uses the function (Linux 7.2).
       */
      readonly settings: Readonly<Partial<Record<ProfileName, string>>>
    }

export type HostChangeKind = HostChange['kind']

/** A reason why the change cannot be made now. */
export interface Refusal {
  /** `in-use`: somebody has it open. `host`: the host or the device does not allow it. */
  readonly reason: 'in-use' | 'host'
  readonly what: string
  readonly remedy: string
}

/** Another device of the same IOMMU group: user space gets a group as a whole. */
export interface GroupNeighbour {
  readonly name: string
  readonly driver: string | null
  /** Whether the group cannot be opened because of it, as the host is now. */
  readonly blocks: boolean
}

/** What a change would write, in order. */
export interface Plan {
  readonly schema: 'vfio-plan/1'
  /** The change you asked for, with defaults filled in. */
  readonly change: HostChange
  /** In words. */
  readonly summary: string
  /** Names of the devices that it changes. */
  readonly devices: readonly string[]
  /** The boot for which it was made; null if the kernel does not report it. Names and groups can change at a reboot. */
  readonly bootId: string | null
  /** Empty if there is nothing to do. */
  readonly steps: readonly HostStep[]
  readonly refusals: readonly Refusal[]
  /** What would be lost or could do harm; ask a person to confirm. */
  readonly warnings: readonly string[]
  readonly notes: readonly string[]
  readonly neighbours: readonly GroupNeighbour[]
  /**
   * What could not be examined, where a use of the devices could be hidden; `apply` then needs `force`. Absent in a plan
   * of an earlier version.
   */
  readonly unseen?: readonly Unseen[]
}

/** Progress of `apply` or `undo`. Your listener is awaited. */
export interface ChangeEvent {
  readonly phase: 'before-write' | 'after-write' | 'done' | 'before-undo' | 'after-undo' | 'undone'
  /** Index in the plan's steps. */
  readonly index: number
  readonly step: HostStep
}

export interface ChangeOptions extends HostOptions {
  /** Where journals and the lock are, default `/var/lib/node-vfio`. */
  readonly stateRoot?: string
  /** How long one write may take, in milliseconds (default 60,000). */
  readonly timeout?: number
  /** The interface to the kernel; tests pass a simulated one. */
  readonly io?: HostIo
  readonly onEvent?: (event: ChangeEvent) => void | Promise<void>
  /** Between two steps: ends the change, which is then undone. */
  readonly signal?: AbortSignal
}
