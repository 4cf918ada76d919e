// Finding a device by address, UUID and path, in trees made for each test.

import { symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import test from 'ava'
import { resolveDevice } from '../../../ts/host/index.js'
import { sysfsTest } from './fixture.js'

const UUID = '83b8f4f2-509f-382f-3c1e-e6bfe0fa1001'

sysfsTest('a PCI address', (t, { tree, options }) => {
  const path = tree.pci('0000:00:1f.0', { driver: 'vfio-pci', group: 4, vfioDev: 'vfio1' })
  const expected = {
    name: '0000:00:1f.0',
    sysfsPath: tree.path(path),
    kind: 'pci',
    bus: 'pci',
    driver: 'vfio-pci',
    iommuGroup: 4,
    vfioDev: { name: 'vfio1', cdev: '/dev/vfio/devices/vfio1' },
  }
  t.deepEqual<unknown, unknown>(resolveDevice('0000:00:1f.0', options), expected)
  t.deepEqual<unknown, unknown>(resolveDevice('00:1F.0', options), expected)
})

sysfsTest('the UUID of a mediated device, in either case', (t, { tree, options }) => {
  const path = tree.mdev(UUID, 9)
  const expected = { name: UUID, sysfsPath: tree.path(path), kind: 'mdev', driver: 'mtty', iommuGroup: 9 }
  t.like(resolveDevice(UUID, options), expected)
  t.like(resolveDevice(UUID.toUpperCase(), options), expected)
})

sysfsTest('paths: the directory, and links to it', (t, { tree, options }) => {
  const path = tree.pci('0000:00:10.0', { group: 4 })
  for (const way of [
    path,
    'bus/pci/devices/0000:00:10.0',
    'kernel/iommu_groups/4/devices/0000:00:10.0',
    `${path}/`,
  ]) {
    t.is(resolveDevice(tree.path(way), options)?.name, '0000:00:10.0', way)
  }
})

sysfsTest('paths: a class entry stands for its device', (t, { tree, options }) => {
  const path = tree.pci('0000:00:10.0', { vfioDev: 'vfio0' })
  t.is(resolveDevice(tree.path('class/vfio-dev/vfio0'), options)?.name, '0000:00:10.0')
  // A connector sits on a card, the card on the GPU.
  tree.link(`${path}/drm/card0/subsystem`, 'class/drm')
  tree.link(`${path}/drm/card0/device`, path)
  tree.link(`${path}/drm/card0/card0-DP-1/subsystem`, 'class/drm')
  tree.link(`${path}/drm/card0/card0-DP-1/device`, `${path}/drm/card0`)
  tree.link('class/drm/card0-DP-1', `${path}/drm/card0/card0-DP-1`)
  t.is(resolveDevice(tree.path('class/drm/card0-DP-1'), options)?.name, '0000:00:10.0')
})

sysfsTest('paths: a class entry without a device above it is none', (t, { tree, options }) => {
  for (const name of ['a', 'b', 'c']) tree.link(`devices/virtual/mtty/${name}/subsystem`, 'class/mtty')
  tree.link('devices/virtual/mtty/b/device', 'devices/virtual/mtty/b')
  tree.link('devices/virtual/mtty/c/device', 'devices/virtual/mtty/b')
  for (const name of ['a', 'b', 'c']) {
    t.is(resolveDevice(tree.path(`devices/virtual/mtty/${name}`), options), null, name)
  }
})

sysfsTest('platform devices and other buses', (t, { tree, options }) => {
  tree.link('devices/platform/fff51000.ethernet/subsystem', 'bus/platform')
  tree.link('devices/fsl-mc/dpio.1/subsystem', 'bus/fsl-mc')
  t.like(resolveDevice(tree.path('devices/platform/fff51000.ethernet'), options), {
    name: 'fff51000.ethernet',
    kind: 'platform',
    driver: null,
    iommuGroup: null,
    vfioDev: null,
  })
  t.like(resolveDevice(tree.path('devices/fsl-mc/dpio.1'), options), { kind: 'other', bus: 'fsl-mc' })
})

sysfsTest('what is not there, or is no device', (t, { tree, options }) => {
  tree.pci('0000:00:10.0')
  for (const id of [
    '0000:00:11.0',
    UUID,
    tree.path('devices/absent'),
    tree.path('devices/pci0000:00'),
    tree.path('bus/pci/devices/0000:00:10.0/vendor'),
  ]) {
    t.is(resolveDevice(id, options), null, id)
  }
  t.is(resolveDevice('0000:00:10.0', { sysfsRoot: tree.path('absent') }), null)
})

sysfsTest('a link that leads out of sysfs leads nowhere', (t, { tree, options }) => {
  tree.dir('devices')
  symlinkSync(tmpdir(), tree.path('devices/out'))
  t.is(resolveDevice(tree.path('devices/out'), options), null)
})

sysfsTest('a root behind a link', (t, { tree }) => {
  tree.pci('0000:00:10.0', { vfioDev: 'vfio0' })
  tree.dir('elsewhere')
  symlinkSync(tree.root, tree.path('elsewhere/sys'))
  const sysfsRoot = tree.path('elsewhere/sys')
  t.is(resolveDevice('0000:00:10.0', { sysfsRoot })?.kind, 'pci')
  t.is(resolveDevice(`${sysfsRoot}/class/vfio-dev/vfio0`, { sysfsRoot })?.kind, 'pci')
})

test('what names no device is a TypeError', (t) => {
  for (const id of ['', 'nvme0', '/dev/vfio/3', '/sys', '/sys/../etc', '/system', 'sys/bus', `${UUID}0`]) {
    t.throws(() => resolveDevice(id), { instanceOf: TypeError }, id)
  }
  t.throws(() => resolveDevice('0000:00:20.0'), { instanceOf: RangeError })
})
