// IOMMU groups read from trees made for each test, and what makes one unusable.

import test from 'ava'
import { groupViability, type IommuGroup, listIommuGroups, readIommuGroup } from '../../../ts/host/index.js'
import { type PciFixture, sysfsTest } from './fixture.js'

const UUID = '83b8f4f2-509f-382f-3c1e-e6bfe0fa1001'

function viability(group: IommuGroup | null): unknown {
  return group === null ? null : groupViability(group)
}

sysfsTest('a group with its members', (t, { tree, options }) => {
  tree.pci('0000:00:10.0', { driver: 'vfio-pci', group: 3, vfioDev: 'vfio0' })
  tree.pci('0000:00:10.1', { group: 3 })
  tree.file('kernel/iommu_groups/3/type', 'DMA-FQ')
  tree.file(
    'kernel/iommu_groups/3/reserved_regions',
    '0x00000000fee00000 0x00000000feefffff msi\n0x0000000000000000 0x0000000000ffffff direct',
  )
  t.deepEqual(readIommuGroup(3, options), {
    id: 3,
    name: null,
    type: 'DMA-FQ',
    members: [
      {
        name: '0000:00:10.0',
        bus: 'pci',
        driver: 'vfio-pci',
        vfioDev: { name: 'vfio0', cdev: '/dev/vfio/devices/vfio0' },
        sysfsPath: tree.path('devices/pci0000:00/0000:00:10.0'),
      },
      {
        name: '0000:00:10.1',
        bus: 'pci',
        driver: null,
        vfioDev: null,
        sysfsPath: tree.path('devices/pci0000:00/0000:00:10.1'),
      },
    ],
    reservedRegions: [
      { start: 0xfee00000n, end: 0xfeefffffn, type: 'msi' },
      { start: 0n, end: 0xffffffn, type: 'direct' },
    ],
  })
})

sysfsTest('groups in the order of their numbers', (t, { tree, options }) => {
  for (const group of [10, 9, 100])
    tree.pci(`0000:00:${group.toString().padStart(2, '0').slice(-2)}.0`, { group })
  t.deepEqual(
    listIommuGroups(options).map(({ id }) => id),
    [9, 10, 100],
  )
})

sysfsTest('a group without IOMMU has a name', (t, { tree, options }) => {
  tree.pci('0000:00:10.0', { driver: 'vfio-pci', group: 0 })
  tree.file('kernel/iommu_groups/0/name', 'vfio-noiommu')
  t.is(readIommuGroup(0, options)?.name, 'vfio-noiommu')
})

sysfsTest('what is not there', (t, { options }) => {
  t.is(readIommuGroup(3, options), null)
  t.deepEqual(listIommuGroups(options), [])
})

test('a bad number is refused', (t) => {
  t.throws(() => readIommuGroup(-1), { instanceOf: RangeError })
  t.throws(() => readIommuGroup(1.5), { instanceOf: RangeError })
})

const members: readonly [title: string, fixture: PciFixture, viable: boolean][] = [
  ['vfio-pci', { driver: 'vfio-pci' }, true],
  ['a variant driver with underscores', { driver: 'mlx5_vfio_pci' }, true],
  ['a variant driver with dashes', { driver: 'nvgrace-gpu-vfio-pci' }, true],
  ['a variant driver that only its VFIO entry gives away', { driver: 'xe-assign', vfioDev: 'vfio2' }, true],
  ['no driver', {}, true],
  ['a port of PCI Express', { driver: 'pcieport', class: '0x060400' }, true],
  ['pci-stub', { driver: 'pci-stub' }, true],
  ['a host driver', { driver: 'nvme' }, false],
  ['a bridge with a driver that does DMA', { driver: 'shpchp', class: '0x060400' }, false],
]

for (const [title, fixture, viable] of members) {
  sysfsTest(`viability beside ${title}`, (t, { tree, options }) => {
    tree.pci('0000:00:10.0', { driver: 'vfio-pci', group: 1 })
    tree.pci('0000:00:11.0', { ...fixture, group: 1 })
    const offenders = viable ? [] : [{ address: '0000:00:11.0', driver: fixture.driver }]
    t.deepEqual(viability(readIommuGroup(1, options)), { viable, offenders })
  })
}

sysfsTest('every offender is named', (t, { tree, options }) => {
  tree.pci('0000:01:00.0', { driver: 'amdgpu', group: 1 })
  tree.pci('0000:01:00.1', { driver: 'snd_hda_intel', group: 1 })
  tree.pci('0000:00:01.0', { driver: 'pcieport', group: 1 })
  t.deepEqual(viability(readIommuGroup(1, options)), {
    viable: false,
    offenders: [
      { address: '0000:01:00.0', driver: 'amdgpu' },
      { address: '0000:01:00.1', driver: 'snd_hda_intel' },
    ],
  })
})

sysfsTest('a mediated device does not hold its group back', (t, { tree, options }) => {
  tree.mdev(UUID, 5)
  const group = readIommuGroup(5, options)
  t.like(group?.members[0], { name: UUID, bus: 'mdev', driver: 'mtty' })
  t.deepEqual(viability(group), { viable: true, offenders: [] })
})

sysfsTest('a platform device counts as any other', (t, { tree, options }) => {
  const path = 'devices/platform/fff51000.ethernet'
  tree.link(`${path}/subsystem`, 'bus/platform')
  tree.link(`${path}/driver`, 'bus/platform/drivers/calxedaxgmac')
  tree.group(2, path, 'fff51000.ethernet')
  t.deepEqual(viability(readIommuGroup(2, options)), {
    viable: false,
    offenders: [{ address: 'fff51000.ethernet', driver: 'calxedaxgmac' }],
  })
})
