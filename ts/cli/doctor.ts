// `vfio doctor`: what stands between this host and VFIO, each finding with its next step. What is read is probeHost's.
import { type DeviceNode, type HostReport, probeHost } from '../host/index.js'
import type { CliContext } from './context.js'
import { byteSize, json, plural } from './format.js'
import type { DoctorOutput, Finding } from './output.js'

const ok = (id: string, what: string): Finding => ({ id, level: 'ok', what, next: null })
const warning = (id: string, what: string, next: string): Finding => ({ id, level: 'warning', what, next })
const blocker = (id: string, what: string, next: string): Finding => ({ id, level: 'blocker', what, next })

const UDEV_RULE = 'SUBSYSTEM=="vfio", GROUP="vfio", MODE="0660"'
const LEAST_MEMLOCK = 1n << 30n

const usable = ({ readable, writable }: DeviceNode): boolean => readable && writable

function kernel({ kernelRelease }: HostReport): Finding {
  return kernelRelease === null
    ? blocker(
        'kernel',
        'this is no Linux, or procfs is not mounted',
        'VFIO is a part of Linux: run this there.',
      )
    : ok('kernel', `Linux ${kernelRelease}`)
}

function iommu({ iommu: { type, units }, groups }: HostReport): Finding {
  if (groups.length > 0) {
    const by =
      units.length === 0 ? 'no unit is shown' : `${type ?? 'unknown kind'}, ${plural(units.length, 'unit')}`
    return ok('iommu', `${plural(groups.length, 'IOMMU group')} (${by})`)
  }
  return blocker(
    'iommu',
    'there are no IOMMU groups: the IOMMU is off or absent',
    'Enable VT-d or AMD-Vi in the firmware; on Intel add intel_iommu=on to the kernel command line; in a virtual machine give it an IOMMU.',
  )
}

function container({ nodes }: HostReport): Finding {
  const { path, exists } = nodes.container
  if (!exists) return blocker('vfio', `${path} is not there: VFIO is not loaded`, 'modprobe vfio-pci')
  if (usable(nodes.container)) return ok('vfio', `${path} can be opened`)
  return blocker(
    'vfio',
    `${path} may not be opened by this user`,
    `chmod 0666 ${path} (it gives no device out by itself)`,
  )
}

function vfioPci({ vfioPci: present }: HostReport): Finding {
  return present
    ? ok('vfio-pci', 'the driver vfio-pci is there')
    : warning('vfio-pci', 'the driver vfio-pci is not loaded', 'modprobe vfio-pci')
}

function iommufd({ nodes }: HostReport): Finding {
  const { path, exists } = nodes.iommufd
  if (!exists)
    return warning(
      'iommufd',
      `${path} is not there; groups and containers work without it`,
      'Linux 6.2 and later with CONFIG_IOMMUFD have it: modprobe iommufd',
    )
  return usable(nodes.iommufd)
    ? ok('iommufd', `${path} can be opened`)
    : warning(
        'iommufd',
        `${path} may not be opened by this user`,
        `Give the user access to ${path} by a udev rule.`,
      )
}

function kvm({ nodes }: HostReport): Finding {
  const { path, exists } = nodes.kvm
  if (!exists)
    return warning(
      'kvm',
      `${path} is not there: no guests, but devices work`,
      'Enable virtualization in the firmware, then modprobe kvm_intel or kvm_amd',
    )
  return usable(nodes.kvm)
    ? ok('kvm', `${path} can be opened`)
    : warning(
        'kvm',
        `${path} may not be opened by this user`,
        'Add the user to the group kvm: usermod -aG kvm USER',
      )
}

function memlock({ limits, mayLockMemory }: HostReport): Finding {
  if (limits.memlock === null)
    return warning('memlock', 'the limit on pinned memory could not be read', 'ulimit -l tells it.')
  const { soft } = limits.memlock
  if (mayLockMemory === true)
    return ok('memlock', 'the process may pin memory without a limit (CAP_IPC_LOCK)')
  if (soft === 'unlimited') return ok('memlock', 'memory may be pinned without a limit')
  const what = `${byteSize(soft)} of memory may be pinned for DMA`
  return soft >= LEAST_MEMLOCK
    ? ok('memlock', what)
    : warning(
        'memlock',
        what,
        'Raise it: ulimit -l, LimitMEMLOCK= of systemd, or memlock in /etc/security/limits.conf',
      )
}

function groupNodes({ groups }: HostReport): Finding[] {
  const present = groups.filter(({ node }) => node.exists)
  const refused = present.filter(({ node }) => !usable(node))
  if (present.length === 0) {
    if (groups.length === 0) return []
    return [
      warning(
        'groups',
        'no group has a device that is bound to VFIO',
        'vfio ls shows the devices; bind one to vfio-pci through its driver_override',
      ),
    ]
  }
  if (refused.length === 0) return [ok('groups', `${plural(present.length, 'group node')} can be opened`)]
  const numbers = refused.map(({ id }) => id).join(', ')
  return [
    warning(
      'groups',
      `this user may not open the nodes of groups ${numbers}`,
      `A udev rule gives a group of users access: ${UDEV_RULE}; or get open descriptors from a privileged parent.`,
    ),
  ]
}

function unsafe({ modules }: HostReport): Finding[] {
  const on = (module: string, parameter: string): boolean => modules[module]?.parameters[parameter] === 'Y'
  return [
    ...(on('vfio', 'enable_unsafe_noiommu_mode')
      ? [
          warning(
            'noiommu',
            'devices without an IOMMU are given out: their DMA reaches all memory',
            'Set vfio.enable_unsafe_noiommu_mode to N unless that is meant.',
          ),
        ]
      : []),
    ...(on('vfio_iommu_type1', 'allow_unsafe_interrupts')
      ? [
          warning(
            'interrupts',
            'interrupts are not isolated: a device can raise any',
            'Set vfio_iommu_type1.allow_unsafe_interrupts to N unless that is meant.',
          ),
        ]
      : []),
  ]
}

/** Every finding, in the order in which they are worth mending. */
export function findings(host: HostReport): Finding[] {
  return [
    kernel(host),
    iommu(host),
    container(host),
    vfioPci(host),
    ...groupNodes(host),
    memlock(host),
    iommufd(host),
    kvm(host),
    ...unsafe(host),
    ...host.problems.map(({ subject, message }) =>
      warning(
        'unread',
        `${subject} could not be read: ${message}`,
        'Run it as root, or see whether the device is still there.',
      ),
    ),
  ]
}

export function doctor({ host, out }: CliContext, options: { json?: boolean }): void {
  const all = findings(probeHost(host))
  if (options.json === true) {
    out(json({ schema: 'vfio-doctor/1', findings: all } satisfies DoctorOutput))
    return
  }
  for (const { level, what, next } of all) {
    out(`${level.padEnd(7)}  ${what}\n`)
    if (next !== null) out(`         -> ${next}\n`)
  }
}
