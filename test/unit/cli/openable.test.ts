// Whether a device can be opened, as `vfio ls` tells it: what is looked at, what is tried, and what cannot be told.
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import type { ListedDevice } from '../../../ts/cli/output.js'
import { type Cli, cliTest } from './run.js'

const EDU = '0000:00:10.0'

async function listed(vfio: Cli['vfio']): Promise<Map<string, ListedDevice>> {
  const { out } = await vfio('ls', '--json')
  return new Map((JSON.parse(out) as { devices: ListedDevice[] }).devices.map((each) => [each.name, each]))
}

/** The first 64 bytes of a configuration space, of which only the header's type matters. */
function header(tree: Cli['tree'], path: string, type: number): void {
  const bytes = Buffer.alloc(64)
  bytes[0x0e] = type
  writeFileSync(tree.path(path, 'config'), bytes)
}

cliTest('an NVSwitch is no bridge, and a PCI bridge of any class is one', async (t, { tree, node, vfio }) => {
  const onVfio = { driver: 'vfio-pci', vfioDev: 'vfio0' }
  header(tree, tree.pci('0000:05:00.0', { ...onVfio, vendor: '0x10de', class: '0x068000', group: 1 }), 0)
  // Without a header that can be read, the class tells.
  tree.pci('0000:05:01.0', { ...onVfio, vfioDev: 'vfio1', class: '0x068000', group: 2 })
  tree.pci('0000:05:02.0', { class: '0x060400', driver: 'pcieport', group: 3 })
  header(tree, tree.pci('0000:05:03.0', { class: '0x060900', group: 4 }), 0x81)
  header(tree, tree.pci('0000:05:04.0', { class: '0x060000', group: 5 }), 0x80)
  for (const name of ['vfio', '1', '2']) node(name)
  const why = [...(await listed(vfio))].map(([name, { open }]) => [name.slice(5), open.why])
  t.deepEqual(why, [
    ['05:00.0', null],
    ['05:01.0', null],
    ['05:02.0', 'it is a bridge'],
    ['05:03.0', 'it is a bridge'],
    ['05:04.0', 'no driver'],
  ])
})

cliTest(
  'memory that the firmware keeps closes a group, unless it may be relaxed',
  async (t, { tree, node, vfio }) => {
    tree.pci(EDU, { driver: 'vfio-pci', group: 2, vfioDev: 'vfio0' })
    tree.pci('0000:00:11.0', { driver: 'vfio-pci', group: 3, vfioDev: 'vfio1' })
    const msi = '0x00000000fee00000 0x00000000feefffff msi'
    tree.file(
      'kernel/iommu_groups/2/reserved_regions',
      `0x00000000bdf6f000 0x00000000bdf7efff direct\n${msi}`,
    )
    tree.file(
      'kernel/iommu_groups/3/reserved_regions',
      `0x00000000bd800000 0x00000000bfffffff direct-relaxable\n${msi}`,
    )
    for (const name of ['vfio', '2', '3']) node(name)
    const all = await listed(vfio)
    t.like(all.get(EDU)!.open, { possible: false, tried: false, reason: 'firmware-memory' })
    t.regex(all.get(EDU)!.open.why!, /RMRR/)
    t.regex(all.get(EDU)!.open.remedy!, /0xbdf6f000-0xbdf7efff one to one/)
    t.like(all.get('0000:00:11.0')!.open, { possible: true, tried: true, why: null })
  },
)

cliTest('a virtual function of a physical one on VFIO needs a token', async (t, { tree, node, vfio }) => {
  const pf = tree.pci('0000:03:00.0', { driver: 'vfio-pci', group: 1, vfioDev: 'vfio0' })
  const vf = tree.pci('0000:03:00.1', { driver: 'vfio-pci', group: 2, vfioDev: 'vfio1' })
  tree.link(`${vf}/physfn`, pf)
  for (const name of ['vfio', '1', '2']) node(name)
  const open = async () => (await listed(vfio)).get('0000:03:00.1')!.open
  t.like(await open(), { possible: false, reason: 'vf-token', why: 'needs its VF token' })
  t.regex((await open()).remedy!, /0000:03:00\.0 is on vfio-pci/)
  // By its own node it did without at first, and a distribution may have the correction: nothing is claimed.
  tree.file('dev/iommu', '')
  tree.file('dev/vfio/devices/vfio1', '')
  tree.file('proc/sys/kernel/osrelease', '6.8.0-94-generic')
  t.like(await open(), { possible: true, tried: false, reason: 'vf-token' })
  t.regex((await vfio('ls')).out, /0000:03:00\.1 .*not tried: may need its VF token/)
  tree.file('proc/sys/kernel/osrelease', '6.17.0')
  t.like(await open(), { possible: false, reason: 'vf-token' })
  // On its host's driver the physical function asks for none.
  rmSync(tree.path(pf, 'driver'))
  tree.link(`${pf}/driver`, 'bus/pci/drivers/igb')
  t.like(await open(), { possible: true, tried: true, why: null })
})

cliTest('a group without an IOMMU is named as one', async (t, { tree, node, vfio }) => {
  tree.pci(EDU, { driver: 'vfio-pci', group: 0, vfioDev: 'vfio0', cdev: false })
  tree.file('kernel/iommu_groups/0/name', 'vfio-noiommu')
  node('vfio')
  node('noiommu-0')
  const { open } = (await listed(vfio)).get(EDU)!
  t.like(open, { possible: false, reason: 'no-iommu', why: 'no IOMMU behind it' })
  t.regex(open.remedy!, /can reach all memory of the host/)
})

cliTest('a node that is there and does not open is told as what it is', async (t, { tree, node, vfio }) => {
  tree.pci(EDU, { driver: 'vfio-pci', group: 2, vfioDev: 'vfio0' })
  node('vfio')
  // What access() takes for usable and open() does not: a folder for writing.
  mkdirSync(tree.path('dev/vfio/2'))
  t.like((await listed(vfio)).get(EDU)!.open, { possible: false, tried: true, reason: 'EISDIR' })
})

cliTest('one attribute that cannot be read costs its cell alone', async (t, { tree, node, vfio }) => {
  const path = tree.pci(EDU, { driver: 'vfio-pci', group: 2, vfioDev: 'vfio0' })
  tree.pci('0000:00:11.0', { driver: 'e1000e', group: 3 })
  node('vfio')
  node('2')
  const lines = async () => (await vfio('ls')).out.split('\n')
  const whole = await lines()
  // Most of what a device says is not asked for in a listing.
  tree.file(`${path}/resource`, 'nonsense')
  tree.file(`${path}/numa_node`, '')
  tree.file('kernel/iommu_groups/3/reserved_regions', '')
  t.deepEqual((await lines()).slice(0, 3), whole.slice(0, 3))
  t.regex((await lines()).join('\n'), /could not be read: 0000:00:10\.0 resource: /)
  // What identifies it stands in another file too.
  tree.file(`${path}/vendor`, 'nonsense')
  tree.file(`${path}/class`, '')
  tree.file(`${path}/uevent`, 'DRIVER=vfio-pci\nPCI_CLASS=FF00\nPCI_ID=1234:11E8\nPCI_SUBSYS_ID=1AF4:1100')
  t.deepEqual((await lines()).slice(0, 3), whole.slice(0, 3))
  // And where it does not, the cell is empty and the line is there.
  rmSync(tree.path(path, 'uevent'))
  // Its group is not known either: it comes last.
  const [, other, row = ''] = await lines()
  t.regex(row, /^- +0000:00:10\.0 +- +\? +\?/)
  t.is((await listed(vfio)).get(EDU)!.vendor, null)
  t.regex(other!, /0000:00:11\.0 +e1000e +1234:11e8/)
  t.is((await vfio('show', '0000:00:11.0')).status, 0)
})

cliTest('the report on a host keeps a device of which one attribute is wrong', async (t, { tree, vfio }) => {
  const files = { sriov_totalvfs: '7', sriov_numvfs: '0', resource: 'nonsense', numa_node: 'x' }
  tree.pci('0000:03:00.0', { class: '0x020000', driver: 'igb', files })
  tree.pci('0000:04:00.0', { class: '0x020000', driver: 'igb', files: { ...files, sriov_numvfs: '' } })
  const { out, status } = await vfio('merged')
  t.is(status, 0)
  t.regex(out, /^0000:03:00\.0 {2}1234:11e8\n {2}driver +igb$/m)
  t.regex(out, /could not be read: 0000:03:00\.0 resource: /)
  const sriov = await vfio('sriov', 'show')
  t.is(sriov.status, 0)
  t.regex(sriov.out, /0000:03:00\.0 +igb +0 of 7/)
  t.regex(sriov.err, /could not be read: 0000:04:00\.0 sriov_numvfs: /)
})

cliTest('names of the API do not reach who uses the command', async (t, { tree, vfio }) => {
  tree.pci('0000:03:00.0', {
    class: '0x020000',
    driver: 'igb',
    group: 1,
    files: { sriov_totalvfs: '7', sriov_numvfs: '0', sriov_drivers_autoprobe: '1' },
  })
  const tooMany = await vfio('sriov', 'set', '0000:03:00.0', '8', '--dry-run')
  t.is(tooMany.status, 2)
  t.is(tooMany.err, 'vfio: <n> must be a whole number from 0 to 7, not 8\n')
  const driver = await vfio('bind', '0000:03:00.0', '--driver', '../x', '--dry-run')
  t.is(driver.status, 2)
  t.is(driver.err, 'vfio: --driver must be the name of a driver, not "../x"\n')
  const device = await vfio('bind', 'eth0', '--dry-run')
  t.notRegex(device.err, /change\.|options\./)
  t.is(device.status, 2)
})
