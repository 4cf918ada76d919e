// Plans: every write that a change takes, found out without writing anything.

import { readText, procRoot } from '../../host/sysfs.js'
import { object, oneOf } from '../../validate.js'
import { checkChangeOptions } from './check-options.js'
import type { Draft } from './draft.js'
import { planBind, planUnbind } from './plan-bind.js'
import { planMdevCreate, planMdevRemove } from './plan-mdev.js'
import { planSriov, planVgpu } from './plan-functions.js'
import { planProfile } from './plan-profile.js'
import type { ChangeOptions, HostChange, HostChangeKind, Plan } from './types.js'

type Planners = {
  readonly [K in HostChangeKind]: (change: Extract<HostChange, { kind: K }>, options: ChangeOptions) => Draft
}

const PLANNERS: Planners = {
  bind: planBind,
  unbind: planUnbind,
  sriov: planSriov,
  'mdev-create': planMdevCreate,
  'mdev-remove': planMdevRemove,
  vgpu: planVgpu,
  profile: planProfile,
}

export function bootId(options: ChangeOptions): string | null {
  return readText(procRoot(options), 'sys', 'kernel', 'random', 'boot_id')
}

/**
 * Lists every write that a change takes, and what forbids or speaks against it. It reads the host and writes nothing.
 * @throws TypeError or RangeError if the change is not well formed
 * @throws VfioError ENODEV if the device, parent or type does not exist
 */
export function plan(change: HostChange, options: ChangeOptions = {}): Plan {
  object(change, 'change')
  checkChangeOptions(options)
  const kind = oneOf(change.kind, 'change.kind', Object.keys(PLANNERS) as HostChangeKind[])
  const planner = PLANNERS[kind] as (change: HostChange, options: ChangeOptions) => Draft
  const { change: whole, ...rest } = planner(change, options)
  return { schema: 'vfio-plan/1', change: whole, bootId: bootId(options), ...rest }
}
