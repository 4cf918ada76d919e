// `vfio doctor`: what stands between this host and VFIO, each finding with why it matters and its next step. What is read
// is probeHost's; what concerns the user that runs it is in ./permissions.ts.
import { type HostReport, probeHost } from '../host/index.js'
import { NO_IOMMU_GROUP } from '../host/groups.js'
import { loadModule, noIommu } from '../host/remedies.js'
import type { CliContext } from './context.js'
import { blocker, ok, warning } from './finding.js'
import { json, plural } from './format.js'
import { nativePart } from './native-part.js'
import type { DoctorOutput, Finding } from './output.js'
import {
  containerNode,
  deviceNodes,
  groupNodes,
  iommufdNode,
  kvmNode,
  memlock,
  type User,
  user,
} from './permissions.js'
import { type Style, styleOf } from './style.js'

function kernel({ kernelRelease }: HostReport): Finding {
  return kernelRelease === null
    ? blocker('kernel', {
        what: 'this is not Linux, or procfs is not mounted',
        why: 'VFIO is a part of Linux.',
        next: 'Run this on Linux.',
      })
    : ok('kernel', `Linux ${kernelRelease}`)
}

function iommu({ iommu: { type, units }, groups, machine }: HostReport): Finding {
  const bare = groups.filter(({ name }) => name === NO_IOMMU_GROUP)
  if (groups.length > bare.length) {
    const by =
      units.length === 0 ? 'no unit is shown' : `${type ?? 'unknown kind'}, ${plural(units.length, 'unit')}`
    return ok('iommu', `${plural(groups.length - bare.length, 'IOMMU group')} (${by})`)
  }
  return blocker('iommu', {
    what:
      bare.length === 0
        ? 'there are no IOMMU groups: the IOMMU is off or absent'
        : `there are no IOMMU groups except ${plural(bare.length, 'group')} without an IOMMU`,
    why: "Without it a device's DMA can reach all memory, so VFIO gives no device to user space.",
    next: noIommu(machine),
  })
}

function vfioPci({ vfioPci: present, machine }: HostReport): Finding {
  return present
    ? ok('vfio-pci', 'the driver vfio-pci is loaded')
    : warning('vfio-pci', {
        what: 'the driver vfio-pci is not loaded',
        why: 'It gives PCI devices to user space.',
        next: loadModule(machine, 'vfio-pci'),
      })
}

function unsafe({ modules }: HostReport): Finding[] {
  const on = (module: string, parameter: string): boolean => modules[module]?.parameters[parameter] === 'Y'
  return [
    ...(on('vfio', 'enable_unsafe_noiommu_mode')
      ? [
          warning('noiommu', {
            what: 'devices without an IOMMU can be opened',
            why: 'Their DMA can reach all memory, including that of the kernel.',
            next: 'echo N | sudo tee /sys/module/vfio/parameters/enable_unsafe_noiommu_mode, unless you want this',
          }),
        ]
      : []),
    ...(on('vfio_iommu_type1', 'allow_unsafe_interrupts')
      ? [
          warning('interrupts', {
            what: 'interrupts are not isolated',
            why: 'A device can raise any interrupt of the host by a write to its address.',
            next: 'echo N | sudo tee /sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts, unless you want this',
          }),
        ]
      : []),
  ]
}

function unread({ problems }: HostReport): Finding[] {
  return problems.map(({ subject, attribute, message }) =>
    warning('unread', {
      what: `${attribute === undefined ? '' : `${attribute} of `}${subject} could not be read: ${message}`,
      why: 'What could not be read is missing from this report.',
      next: 'Run it as root (sudo vfio doctor), or check that the device still exists.',
    }),
  )
}

/** Every finding, in the order in which they are worth mending. */
export function findings(host: HostReport, who: User): Finding[] {
  return [
    kernel(host),
    iommu(host),
    containerNode(host, who),
    vfioPci(host),
    user(who),
    ...groupNodes(host, who),
    ...deviceNodes(host, who),
    memlock(host),
    iommufdNode(host, who),
    kvmNode(host),
    ...unsafe(host),
    ...unread(host),
  ]
}

const TINTS = { ok: 'good', warning: 'warn', blocker: 'bad' } as const satisfies Record<
  Finding['level'],
  keyof Style
>

function verdict(all: readonly Finding[]): string {
  const count = (level: Finding['level']): number => all.filter((each) => each.level === level).length
  const [blockers, warnings] = [count('blocker'), count('warning')]
  if (blockers > 0)
    return `${plural(blockers, 'blocker')} and ${plural(warnings, 'warning')}: VFIO cannot be used yet`
  return warnings > 0 ? `${plural(warnings, 'warning')}: VFIO can be used` : 'VFIO is ready'
}

export async function doctor(context: CliContext, options: { json?: boolean }): Promise<void> {
  const { host, out, uid } = context
  const ofHost = findings(probeHost(host), { uid, gids: process.getgroups?.() ?? [] })
  const all = [await nativePart(), ...ofHost]
  if (options.json === true) {
    out(json({ schema: 'vfio-doctor/1', findings: all } satisfies DoctorOutput))
    return
  }
  const style = styleOf(context)
  for (const { level, what, why, next } of all) {
    out(`${style[TINTS[level]](level.padEnd(7))}  ${what}\n`)
    if (why !== null) out(`         ${style.dim(why)}\n`)
    if (next !== null) out(`         -> ${next}\n`)
  }
  out(`\n${verdict(all)}\n`)
}
