// What `vfio doctor` says to an ordinary user, and that docs/unprivileged.md has the rules it points to.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { findings } from '../../../ts/cli/doctor.js'
import { UDEV_RULES } from '../../../ts/cli/permissions.js'
import { type DeviceNode, type HostReport, type ProbedGroup, probeHost } from '../../../ts/host/index.js'
import { SysfsTree } from '../host/fixture.js'
import { ROOT } from './schemas.js'

const EMPTY = new SysfsTree()
const NOWHERE = { sysfsRoot: EMPTY.root, procRoot: EMPTY.root, devRoot: EMPTY.root }
const BARE = probeHost(NOWHERE)
EMPTY.remove()

const node = (path: string, given: Partial<DeviceNode> = {}): DeviceNode => ({
  path,
  exists: true,
  readable: false,
  writable: false,
  mode: 0o600,
  uid: 0,
  gid: 0,
  ...given,
})
const open = { readable: true, writable: true }

const group = (id: number, given: Partial<ProbedGroup> = {}): ProbedGroup => ({
  id,
  name: null,
  type: null,
  members: [],
  reservedRegions: [],
  viability: { viable: true, offenders: [] },
  node: node(`/dev/vfio/${id}`),
  deviceNodes: [],
  ...given,
})

const USER = { uid: 1000, gids: [1000] }
const find = (host: Partial<HostReport>, id: string, who = USER) =>
  findings({ ...BARE, ...host }, who).find((each) => each.id === id)

test('a node of root: the rule that opens it, and for whom', (t) => {
  const finding = find({ groups: [group(7), group(9, { node: node('/dev/vfio/9', open) })] }, 'groups')
  t.like(finding, { level: 'warning', what: 'this user may not open the nodes of group 7' })
  t.true(finding!.next!.includes(UDEV_RULES[0]))
  t.regex(finding!.next!, /usermod -aG vfio .*udevadm control --reload .*docs\/unprivileged\.md/)
})

test('a node that a rule gave to a group: to join it is all', (t) => {
  const groups = [group(7, { node: node('/dev/vfio/7', { mode: 0o660, gid: 995 }) })]
  t.regex(find({ groups }, 'groups')!.next!, /^sudo usermod -aG "\$\(getent group 995 /)
  // Who is in it already has another problem than that.
  t.regex(find({ groups }, 'groups', { uid: 1000, gids: [1000, 995] })!.next!, /udevadm/)
})

test("devices' own nodes and iommufd have rules of their own", (t) => {
  const deviceNodes = [node('/dev/vfio/devices/vfio0')]
  const devices = find({ groups: [group(7, { deviceNodes })] }, 'devices')
  t.is(devices!.what, 'this user may not open /dev/vfio/devices/vfio0')
  t.true(devices!.next!.includes(UDEV_RULES[1]))
  const nodes = { ...BARE.nodes, iommufd: node('/dev/iommu') }
  t.true(find({ nodes }, 'iommufd')!.next!.includes(UDEV_RULES[2]))
  t.is(find({ groups: [group(7)] }, 'devices'), undefined)
})

test('the user is named, and root is told that there is another way', (t) => {
  t.is(find({}, 'user')!.what, 'running as the ordinary user 1000')
  t.regex(find({}, 'user', { uid: 0, gids: [0] })!.what, /root.*docs\/unprivileged\.md/)
})

test('the limit on pinned memory counts for who has no capability', (t) => {
  const limits = { ...BARE.limits, memlock: { soft: 8n << 20n, hard: 8n << 20n } }
  t.like(find({ limits, mayLockMemory: false }, 'memlock'), {
    level: 'warning',
    what: '8 MiB of memory can be pinned for DMA',
  })
  t.like(find({ limits, mayLockMemory: true }, 'memlock'), { level: 'ok' })
  t.like(find({ limits: { ...limits, memlock: { soft: 4n << 30n, hard: 'unlimited' } } }, 'memlock'), {
    level: 'ok',
  })
})

test('every finding that is not in order has a reason and a next step', (t) => {
  const worst: HostReport = {
    ...BARE,
    groups: [group(7, { deviceNodes: [node('/dev/vfio/devices/vfio0')] })],
    nodes: { container: node('/dev/vfio/vfio'), iommufd: node('/dev/iommu'), kvm: node('/dev/kvm') },
    problems: [{ subject: '0000:01:00.0', message: 'it went away' }],
    modules: Object.fromEntries(
      [
        ['vfio', 'enable_unsafe_noiommu_mode'],
        ['vfio_iommu_type1', 'allow_unsafe_interrupts'],
      ].map(([name = '', parameter = '']) => [
        name,
        { name, state: 'live', parameters: { [parameter]: 'Y' } },
      ]),
    ),
  }
  const all = [...findings(worst, USER), ...findings(BARE, USER)]
  t.true(all.length > 15)
  for (const { id, level, why, next } of all) {
    t.is(why === null, level === 'ok', id)
    t.is(next === null, level === 'ok', id)
  }
})

test('docs/unprivileged.md has each rule', (t) => {
  const guide = readFileSync(join(ROOT, 'docs/unprivileged.md'), 'utf8')
  for (const rule of UDEV_RULES) t.true(guide.includes(rule), rule)
})
