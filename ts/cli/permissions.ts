// The findings of `vfio doctor` about the user that runs it: what of VFIO it may open, and how much it may pin. The ways
// they point to are those of docs/unprivileged.md.
import type { DeviceNode, HostReport } from '../host/index.js'
import { noContainerNode, noIommufdNode, noKvmNode } from '../host/remedies.js'
import { blocker, ok, warning } from './finding.js'
import { byteSize, plural } from './format.js'
import type { Finding } from './output.js'

export interface User {
  /** Null where users have no numbers. */
  readonly uid: number | null
  /** The groups that it is in. */
  readonly gids: readonly number[]
}

const RULES = '/etc/udev/rules.d/60-vfio.rules'
/** Groups, devices and iommufd for the members of a group of users; the container is open to all by itself. */
export const UDEV_RULES = [
  'SUBSYSTEM=="vfio", GROUP="vfio", MODE="0660"',
  'SUBSYSTEM=="vfio-dev", GROUP="vfio", MODE="0660"',
  'SUBSYSTEM=="misc", KERNEL=="iommu", GROUP="vfio", MODE="0660"',
] as const

const RELOAD =
  'sudo udevadm control --reload && sudo udevadm trigger --subsystem-match=vfio --subsystem-match=vfio-dev --subsystem-match=misc'
const WHY_NODES =
  'Whoever may open the node of a device controls the device and its DMA; by default that is root.'
/** Guests and drivers of disks and networks pin some hundred MiB soon. */
const LEAST_MEMLOCK = 1n << 30n
const GROUP_BITS = 0o060

const usable = ({ readable, writable }: DeviceNode): boolean => readable && writable

/** What gets a user to a node that it may not open. */
function wayTo({ gid, mode }: DeviceNode, { gids }: User, rule: string): string {
  // Somebody has made the rule already, for a group of users.
  if (gid !== null && gid !== 0 && ((mode ?? 0) & GROUP_BITS) === GROUP_BITS && !gids.includes(gid))
    return `sudo usermod -aG "$(getent group ${gid} | cut -d: -f1)" "$USER", then log in again: the nodes belong to group ${gid}.`
  return `sudo groupadd -f vfio; sudo usermod -aG vfio "$USER"; echo '${rule}' | sudo tee -a ${RULES}; ${RELOAD}; then log in again (docs/unprivileged.md explains this and another way).`
}

export function user({ uid }: User): Finding {
  if (uid === 0)
    return ok(
      'user',
      'running as root, which may open everything; docs/unprivileged.md explains how to avoid that',
    )
  return ok('user', uid === null ? 'this system has no numeric users' : `running as the ordinary user ${uid}`)
}

export function containerNode({ nodes, machine }: HostReport, _who: User): Finding {
  const { path, exists } = nodes.container
  // A kernel may have devices' own nodes and no groups.
  if (!exists && machine.vfio.cdevs && !machine.vfio.groups && nodes.iommufd.exists)
    return ok('vfio', `${noContainerNode(machine).what}; iommufd is there`)
  if (!exists) {
    const { what, next } = noContainerNode(machine)
    return blocker('vfio', {
      what: `${path} does not exist: ${what}`,
      why: 'All use of VFIO through groups starts there.',
      next,
    })
  }
  if (usable(nodes.container)) return ok('vfio', `${path} can be opened`)
  return blocker('vfio', {
    what: `this user may not open ${path}`,
    why: 'All use of VFIO through groups starts there.',
    next: `sudo chmod 0666 ${path}: it gives access to no device, and this is the kernel's default.`,
  })
}

/** What the user may open of several nodes of one kind, all of which exist. */
function severalNodes(
  nodes: readonly DeviceNode[],
  who: User,
  kind: {
    readonly id: string
    readonly noun: string
    readonly rule: string
    readonly named: (refused: readonly DeviceNode[]) => string
  },
): Finding {
  const refused = nodes.filter((node) => !usable(node))
  const [first] = refused
  if (first === undefined) return ok(kind.id, `${plural(nodes.length, kind.noun)} can be opened`)
  return warning(kind.id, {
    what: `this user may not open ${kind.named(refused)}`,
    why: WHY_NODES,
    next: wayTo(first, who, kind.rule),
  })
}

export function groupNodes({ groups }: HostReport, who: User): Finding[] {
  const present = groups.filter(({ node }) => node.exists)
  if (groups.length === 0) return []
  if (present.length === 0)
    return [
      warning('groups', {
        what: 'no group has a device that is bound to VFIO',
        why: 'Only devices bound to a VFIO driver can be opened.',
        next: 'vfio ls lists the devices; vfio bind DEVICE binds one to VFIO',
      }),
    ]
  return [
    severalNodes(
      present.map(({ node }) => node),
      who,
      {
        id: 'groups',
        noun: 'group node',
        rule: UDEV_RULES[0],
        named: (refused) => {
          const ids = present.filter(({ node }) => refused.includes(node)).map(({ id }) => id)
          return `the nodes of ${ids.length === 1 ? 'group' : 'groups'} ${ids.join(', ')}`
        },
      },
    ),
  ]
}

/** The devices' own nodes: none where the kernel has none. */
export function deviceNodes({ groups }: HostReport, who: User): Finding[] {
  const present = groups.flatMap(({ deviceNodes: nodes }) => nodes).filter(({ exists }) => exists)
  if (present.length === 0) return []
  return [
    severalNodes(present, who, {
      id: 'devices',
      noun: 'device node',
      rule: UDEV_RULES[1],
      named: (refused) => refused.map(({ path }) => path).join(', '),
    }),
  ]
}

export function memlock({ limits, mayLockMemory }: HostReport): Finding {
  const why =
    'Memory mapped for DMA is pinned and counts against this limit; above it, mapping fails (ENOMEM).'
  if (limits.memlock === null)
    return warning('memlock', {
      what: 'the limit on pinned memory could not be read',
      why,
      next: 'ulimit -l',
    })
  const { soft } = limits.memlock
  if (mayLockMemory === true)
    return ok('memlock', 'the process can pin memory without a limit (CAP_IPC_LOCK)')
  if (soft === 'unlimited') return ok('memlock', 'memory can be pinned without a limit')
  const what = `${byteSize(soft)} of memory can be pinned for DMA`
  return soft >= LEAST_MEMLOCK
    ? ok('memlock', what)
    : warning('memlock', {
        what,
        why,
        next: "echo '@vfio - memlock unlimited' | sudo tee /etc/security/limits.d/vfio.conf, then log in again; for a service set LimitMEMLOCK=infinity in its unit",
      })
}

export function iommufdNode({ nodes, machine }: HostReport, who: User): Finding {
  const { path, exists } = nodes.iommufd
  if (!exists)
    return warning('iommufd', {
      what: `${path} does not exist; groups and containers work without it`,
      why: 'iommufd is the newer interface to the IOMMU: hardware dirty tracking, nested translation, PASIDs.',
      next: noIommufdNode(machine),
    })
  return usable(nodes.iommufd)
    ? ok('iommufd', `${path} can be opened`)
    : warning('iommufd', {
        what: `this user may not open ${path}`,
        why: 'Devices can then be opened only through their groups.',
        next: wayTo(nodes.iommufd, who, UDEV_RULES[2]),
      })
}

export function kvmNode({ nodes, machine }: HostReport): Finding {
  const { path, exists } = nodes.kvm
  if (!exists)
    return warning('kvm', {
      what: `${path} does not exist: devices work, guests do not`,
      why: 'Guests need KVM; user-space drivers do not.',
      next: noKvmNode(machine),
    })
  return usable(nodes.kvm)
    ? ok('kvm', `${path} can be opened`)
    : warning('kvm', {
        what: `this user may not open ${path}`,
        why: 'Guests need KVM; user-space drivers do not.',
        next: 'sudo usermod -aG kvm "$USER", then log in again',
      })
}
