// What forbids a change because of who uses its devices: what could not be looked at before it is made, and any use before it is
// undone. It must not know how uses are found.

import { join } from 'node:path'
import { EBUSY, VfioError } from '../../errors.js'
import type { HostStep } from '../../host/step.js'
import { linkName, listNames, sysfsRoot } from '../../host/sysfs.js'
import type { Unseen } from '../../host/usage/types.js'
import { deviceUsage } from '../../host/usage/usage.js'
import { useText } from './draft.js'
import type { ChangeOptions, Plan } from './types.js'

/** Nobody may go on without knowing, unless told to. */
export function refuseUnseen(syscall: string, subject: string, unseen: readonly Unseen[] = []): void {
  const [first] = unseen
  if (first === undefined) return
  const more = unseen.length > 1 ? ` (and ${unseen.length - 1} more)` : ''
  throw new VfioError(EBUSY, syscall, {
    subject: `${subject}: ${first.what} is not known, as ${first.why}${more}`,
    reason: 'unseen',
    remedy: 'Check it yourself as root and outside of containers, or continue anyway with force.',
  })
}

/** The virtual functions of a device, and the mediated devices on it and on them: they go when it goes. */
export function standingOn(name: string, options: ChangeOptions): string[] {
  const path = join(sysfsRoot(options), 'bus', 'pci', 'devices', name)
  const names = listNames(path) ?? []
  const functions = names
    .filter((each) => /^virtfn\d+$/.test(each))
    .flatMap((each) => linkName(path, each) ?? [])
  return [
    ...functions.flatMap((each) => [each, ...standingOn(each, options)]),
    ...names.filter((each) => /^[0-9a-f]{8}-[0-9a-f-]{27}$/.test(each)),
  ]
}

/** The devices that lose their driver, or go away, when steps are undone. */
function taken({ change, devices }: Plan, steps: readonly HostStep[], options: ChangeOptions): string[] {
  const named = devices.filter((name) => steps.some(({ look }) => look.path.split('/').includes(name)))
  if (change.kind !== 'sriov') return named
  // The physical function keeps its driver, and may be in use; its virtual ones go.
  const isCount = steps.some(({ look }) => look.path.endsWith('sriov_numvfs'))
  const others = named.filter((name) => name !== change.device)
  return isCount ? [...others, ...standingOn(change.device, options)] : others
}

/** A process begins a sentence; the name of a device stays as it is. */
const capital = (text: string): string => `${text.charAt(0).toUpperCase()}${text.slice(1)}`

/** Nothing that goes away when `steps` are undone may be in use. */
export function refuseUsed(
  plan: Plan,
  steps: readonly HostStep[],
  { subject, force }: { readonly subject: string; readonly force: boolean },
  options: ChangeOptions,
): void {
  const paths = taken(plan, steps, options).flatMap((name) =>
    ['pci', 'mdev'].map((bus) => join(sysfsRoot(options), 'bus', bus, 'devices', name)),
  )
  const { uses, unseen } = deviceUsage([...new Set(paths)], options)
  const use = uses.find(({ mustEnd }) => mustEnd)
  if (use !== undefined)
    throw new VfioError(EBUSY, 'undo', {
      subject,
      reason: use.kind === 'open' ? 'in-use' : 'change-refused',
      remedy: `${useText(use).replace(/^(?:process|this process) /, capital)}. ${use.remedy}`,
    })
  if (!force) refuseUnseen('undo', subject, unseen)
}
