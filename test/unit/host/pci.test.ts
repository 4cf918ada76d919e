// PCI devices read from trees made for each test.

import test from 'ava'
import { listPciDevices, readPciDevice } from '../../../ts/host/index.js'
import { sysfsTest } from './fixture.js'

sysfsTest('a device without anything special', (t, { tree, options }) => {
  tree.pci('0000:00:10.0')
  t.deepEqual(readPciDevice('00:10.0', options), {
    address: '0000:00:10.0',
    sysfsPath: tree.path('devices/pci0000:00/0000:00:10.0'),
    vendor: 0x1234,
    device: 0x11e8,
    subsystemVendor: 0x1af4,
    subsystemDevice: 0x1100,
    class: 0x00ff00,
    revision: 0x10,
    driver: null,
    driverOverride: null,
    iommuGroup: null,
    numaNode: null,
    resources: [],
    powerState: null,
    resetMethods: [],
    physfn: null,
    virtfns: [],
    sriov: null,
    vfioDev: null,
  })
})

sysfsTest('driver, override, group, node, power state and VFIO entry', (t, { tree, options }) => {
  tree.pci('0000:00:10.0', {
    driver: 'vfio-pci',
    group: 7,
    vfioDev: 'vfio3',
    files: { driver_override: 'vfio-pci', numa_node: '1', power_state: 'D3hot' },
  })
  t.like(readPciDevice('0000:00:10.0', { ...options, devRoot: '/tree/dev' }), {
    driver: 'vfio-pci',
    driverOverride: 'vfio-pci',
    iommuGroup: 7,
    numaNode: 1,
    powerState: 'D3hot',
    vfioDev: { name: 'vfio3', cdev: '/tree/dev/vfio/devices/vfio3' },
  })
})

sysfsTest('a VFIO entry without a device number has no node', (t, { tree, options }) => {
  tree.pci('0000:00:10.0', { driver: 'vfio-pci', vfioDev: 'vfio0', cdev: false })
  t.deepEqual(readPciDevice('0000:00:10.0', options)?.vfioDev, { name: 'vfio0', cdev: null })
})

sysfsTest('no override reads (null), an empty line, or is no file', (t, { tree, options }) => {
  tree.pci('0000:00:10.0', { files: { driver_override: '' } })
  t.is(readPciDevice('0000:00:10.0', options)?.driverOverride, null)
})

sysfsTest('resources', (t, { tree, options }) => {
  const empty = '0x0000000000000000 0x0000000000000000 0x0000000000000000'
  const resource = [
    '0x0000004000000000 0x00000040ffffffff 0x000000000014220c',
    empty,
    '0x00000000fe800000 0x00000000fe800fff 0x0000000000040200',
    empty,
    '0x000000000000c000 0x000000000000c01f 0x0000000000040101',
    empty,
    '0x00000000fea00000 0x00000000fea0ffff 0x0000000000046200',
  ]
  tree.pci('0000:00:10.0', { files: { resource: resource.join('\n') } })
  t.deepEqual(readPciDevice('0000:00:10.0', options)?.resources, [
    {
      index: 0,
      kind: 'memory',
      start: 0x4000000000n,
      size: 1n << 32n,
      prefetchable: true,
      is64Bit: true,
      flags: 0x14220c,
    },
    {
      index: 2,
      kind: 'memory',
      start: 0xfe800000n,
      size: 4096n,
      prefetchable: false,
      is64Bit: false,
      flags: 0x40200,
    },
    { index: 4, kind: 'io', start: 0xc000n, size: 32n, prefetchable: false, is64Bit: false, flags: 0x40101 },
    {
      index: 6,
      kind: 'memory',
      start: 0xfea00000n,
      size: 65536n,
      prefetchable: true,
      is64Bit: false,
      flags: 0x46200,
    },
  ])
})

sysfsTest('reset methods: listed, not listed, none', (t, { tree, options }) => {
  tree.pci('0000:00:10.0', { files: { reset: '', reset_method: 'flr bus' } })
  tree.pci('0000:00:11.0', { files: { reset: '' } })
  tree.pci('0000:00:12.0')
  t.deepEqual(readPciDevice('00:10.0', options)?.resetMethods, ['flr', 'bus'])
  t.is(readPciDevice('00:11.0', options)?.resetMethods, null)
  t.deepEqual(readPciDevice('00:12.0', options)?.resetMethods, [])
})

sysfsTest('SR-IOV: the physical function and its virtual ones, in their order', (t, { tree, options }) => {
  const pf = tree.pci('0000:03:00.0', { files: { sriov_totalvfs: '31', sriov_numvfs: '11' } })
  for (let vf = 0; vf < 11; vf++) {
    const address = `0000:03:0${vf >> 3 === 0 ? 1 : 2}.${vf & 7}`
    const path = tree.pci(address)
    tree.link(`${path}/physfn`, pf)
    tree.link(`${pf}/virtfn${vf}`, path)
  }
  const device = readPciDevice('03:00.0', options)
  t.deepEqual(device?.sriov, { totalVfs: 31, numVfs: 11 })
  t.is(device?.physfn, null)
  t.is(device?.virtfns.length, 11)
  t.is(device?.virtfns[2], '0000:03:01.2')
  t.is(device?.virtfns[10], '0000:03:02.2')
  t.is(readPciDevice('03:01.0', options)?.physfn, '0000:03:00.0')
  t.is(readPciDevice('03:01.0', options)?.sriov, null)
})

sysfsTest('the list is in the order of addresses', (t, { tree, options }) => {
  for (const address of ['10000:00:00.0', '0000:10:00.0', '0000:00:02.1', '0000:00:02.0']) tree.pci(address)
  t.deepEqual(
    listPciDevices(options).map(({ address }) => address),
    ['0000:00:02.0', '0000:00:02.1', '0000:10:00.0', '10000:00:00.0'],
  )
})

sysfsTest('what is not there', (t, { tree, options }) => {
  t.is(readPciDevice('0000:00:10.0', options), null)
  t.deepEqual(listPciDevices(options), [])
  t.deepEqual(listPciDevices({ sysfsRoot: tree.path('absent') }), [])
})

sysfsTest('a device that goes away while it is read', (t, { tree, options }) => {
  tree.dir('devices/pci0000:00/0000:00:10.0')
  tree.link('bus/pci/devices/0000:00:10.0', 'devices/pci0000:00/0000:00:10.0')
  t.is(readPciDevice('0000:00:10.0', options), null)
  t.deepEqual(listPciDevices(options), [])
})

sysfsTest('a file that makes no sense is an error that names it', (t, { tree, options }) => {
  tree.pci('0000:00:10.0', { vendor: 'nonsense' })
  t.throws(() => readPciDevice('0000:00:10.0', options), { message: /vendor contains "nonsense"/ })
})

test('a bad address is refused before anything is read', (t) => {
  t.throws(() => readPciDevice('../../etc'), { instanceOf: TypeError })
  t.throws(() => readPciDevice('0000:00:3f.0'), { instanceOf: RangeError })
})
