// The frameworks, and which one a device is shared by: told apart by what is there, never by a name.

import type { Framework } from '../types.js'
import type { FrameworkRules, SharingFacts } from './framework.js'
import { mdev } from './mdev.js'
import { none, NOTHING } from './none.js'
import { sriov } from './sriov.js'
import { vendorVfio } from './vendor-vfio.js'

export const FRAMEWORKS: Readonly<Record<Framework, FrameworkRules>> = {
  'vendor-vfio': vendorVfio,
  mdev,
  sriov,
  none,
}

/** The first that fits decides: a virtual function that is a vGPU may offer mdev types and count as a virtual function besides. */
const IN_ORDER: readonly FrameworkRules[] = [vendorVfio, mdev, sriov]

export function frameworkOf(facts: SharingFacts): { readonly rules: FrameworkRules; readonly why: string } {
  for (const rules of IN_ORDER) {
    const why = rules.why(facts)
    if (why !== null) return { rules, why }
  }
  return { rules: none, why: NOTHING }
}
