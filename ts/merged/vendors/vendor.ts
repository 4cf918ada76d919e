// What a vendor's file tells of its devices. The files beside this one are the vendors.

import type { HostOptions } from '../../host/sysfs.js'
import type { VfMaking } from '../../host/vf-making.js'
import type { SharedFunction } from '../facts.js'
import type { Framework, HookFinding } from '../types.js'

/** What a vendor's rules look at. */
export interface VendorFacts {
  readonly driver: string | null
  readonly framework: Framework
  readonly totalVfs: number
  readonly activeVfs: number
  /** The virtual functions that are there. */
  readonly functions: readonly SharedFunction[]
  /** Whether writing `sriov_numvfs` makes virtual functions; null for a device without SR-IOV. */
  readonly making: VfMaking | null
  /** Whether sysfs has `name` below the device's directory. */
  readonly has: (name: string) => boolean
}

export interface Vendor {
  /** Version of a driver that does not give it in `/sys/module`; null if it cannot be found out. */
  readonly driverVersion?: (driver: string, options: HostOptions) => string | null
  /** True if virtual functions are useful only on the vendor's own driver, not on VFIO's. */
  readonly ownFunctions?: (driver: string | null) => boolean
  /** True if the driver takes the place of the one by which the host would use the device. */
  readonly replacesHostDriver?: (driver: string) => boolean
  /** What prevents sharing. */
  readonly blockers: (facts: VendorFacts) => string[]
  /** Worth knowing, but not in the way. */
  readonly notes: (facts: VendorFacts) => string[]
  readonly hooks?: (facts: VendorFacts) => readonly HookFinding[] | null
}
