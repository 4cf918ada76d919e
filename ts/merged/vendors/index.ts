// The vendors, by their PCI id. A vendor that is not here has no rules of its own.

import { amd } from './amd.js'
import { intel } from './intel.js'
import { nvidia } from './nvidia.js'
import type { Vendor } from './vendor.js'

const VENDORS: Readonly<Record<number, Vendor>> = { 0x1002: amd, 0x8086: intel, 0x10de: nvidia }

export const OTHERS: Vendor = { blockers: () => [], notes: () => [] }

export const vendorOf = (id: number): Vendor => VENDORS[id] ?? OTHERS
