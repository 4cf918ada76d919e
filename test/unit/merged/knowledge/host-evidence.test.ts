// What a host shows of itself to the rules, read from trees as kernels make them.

import { chmodSync } from 'node:fs'
import type { ExecutionContext } from 'ava'
import { HostEvidence, platformsOf, type SeenDevice } from '../../../../ts/merged/knowledge/host-evidence.js'
import { sysfsTest, type SysfsTree } from '../../host/fixture.js'
import { rootsOf } from '../hosts.js'

const PF = '0000:03:00.0'
const NO_DEVICE = {
  driver: null,
  driverVersion: null,
  framework: 'none',
  functionDrivers: [],
  hostNodes: [],
  pci: null,
} as const
const SEEN = { kernelRelease: '6.8.0', commandLine: 'quiet iommu=pt -- iommu=off', hasQemu: () => true }

const evidenceOf = (tree: SysfsTree, device: Partial<SeenDevice> = {}) =>
  new HostEvidence(SEEN, rootsOf(tree)).of({ ...NO_DEVICE, sysfsPath: tree.path('devices', PF), ...device })

sysfsTest('modules and parameters are as sysfs has them', (t, { tree }) => {
  tree.file('module/i915/parameters/enable_guc', '3')
  const { module, parameter } = evidenceOf(tree)
  t.deepEqual([module('i915'), module('xe')], [true, false])
  t.deepEqual(parameter('i915', 'enable_guc'), { loaded: true, exists: true, value: '3' })
  t.deepEqual(parameter('i915', 'max_vfs'), { loaded: true, exists: false, value: null })
  t.deepEqual(parameter('xe', 'max_vfs'), { loaded: false, exists: false, value: null })
})

sysfsTest('a file is of the device, of sysfs, or of /dev', (t, { tree }) => {
  tree.file(`devices/${PF}/reset_method`, 'flr bus')
  tree.dir(`devices/${PF}/sriov_admin`)
  tree.file('kernel/security/lockdown', '[none] integrity')
  tree.file('dev/iommu', '')
  const { file } = evidenceOf(tree)
  t.is(file('DEVICE/reset_method'), 'flr bus')
  t.is(file('DEVICE/sriov_admin'), '')
  t.is(file('DEVICE/physfn'), null)
  t.is(file('/sys/kernel/security/lockdown'), '[none] integrity')
  t.is(file('/dev/iommu'), '')
})

sysfsTest('a star stands for anything in a folder', (t, { tree }) => {
  tree.dir('bus/mdev/devices')
  t.is(evidenceOf(tree).file('/sys/bus/mdev/devices/*'), null)
  tree.dir('bus/mdev/devices/x')
  t.is(evidenceOf(tree).file('/sys/bus/mdev/devices/*'), '')
  t.is(evidenceOf(tree).file('/sys/bus/none/*'), null)
})

sysfsTest('what this user may not read is not known', (t, { tree }) => {
  tree.file(`devices/${PF}/secret`, 'x')
  chmodSync(tree.path('devices', PF, 'secret'), 0)
  // Root may read everything.
  t.is(evidenceOf(tree).file('DEVICE/secret'), process.getuid?.() === 0 ? 'x' : undefined)
})

const RECORD = '6,12,5,-;xe 0000:03:00.0: requires GuC version >= 70.54\n'

function log(t: ExecutionContext, tree: SysfsTree, text: string, whole: boolean): void {
  tree.file('dev/kmsg', text)
  const found = evidenceOf(tree).log()
  t.is(found?.whole, whole)
  t.true(found?.text.includes('requires GuC version >= 70.54'))
}

sysfsTest('a log that lost its beginning says so', (t, { tree }) => {
  t.is(evidenceOf(tree).log(), undefined)
  log(t, tree, `6,0,0,-;Linux version 7.0.0\n${RECORD}`, true)
  log(t, tree, RECORD, false)
})

sysfsTest('the address width of each unit is read from its capabilities', (t, { tree }) => {
  t.deepEqual(evidenceOf(tree).iommuWidths(), [])
  // Bits 21 to 16 hold the width less one: 0x26 and 0x2f.
  tree.file('class/iommu/dmar0/intel-iommu/cap', '1c0000c40660462')
  tree.file('class/iommu/dmar1/intel-iommu/cap', 'd2008c406f0462')
  tree.dir('class/iommu/ivhd0')
  t.deepEqual(evidenceOf(tree).iommuWidths(), [39, 48])
})

const VERSION = (kind: string) =>
  `NVRM version: NVIDIA UNIX ${kind}  580.95.05  Release Build\nGCC version: gcc 14`

sysfsTest("NVIDIA's modules say which kind they are", (t, { tree }) => {
  t.is(evidenceOf(tree).flavour(), null)
  tree.dir('module/nvidia')
  t.is(evidenceOf(tree).flavour(), undefined)
  tree.file('proc/driver/nvidia/version', VERSION('Open Kernel Module for x86_64'))
  t.is(evidenceOf(tree).flavour(), 'open')
  tree.file('proc/driver/nvidia/version', VERSION('x86_64 Kernel Module'))
  t.is(evidenceOf(tree).flavour(), 'proprietary')
})

sysfsTest('the command line ends where the words of init begin', (t, { tree }) => {
  t.deepEqual(evidenceOf(tree).commandLine, ['quiet', 'iommu=pt'])
})

sysfsTest('BARs are the first six resources', (t, { tree }) => {
  const resources = [
    { index: 0, size: 16n },
    { index: 2, size: 256n },
    { index: 7, size: 4096n },
  ]
  const { bars, id, platforms } = evidenceOf(tree, {
    pci: { vendor: 0x8086, device: 0xe20b, class: 0x030000, resources },
  })
  t.deepEqual(
    [...bars!],
    [
      [0, 16n],
      [2, 256n],
    ],
  )
  t.like(id, { vendor: 0x8086, device: 0xe20b })
  t.deepEqual(platforms, ['battlemage'])
})

sysfsTest('a platform is known by its ids, whose ends belong to it', (t) => {
  const of = (device: number) => platformsOf({ vendor: 0x8086, device })
  t.deepEqual(of(0x3e92), ['coffee-lake'])
  t.deepEqual(of(0x9a40), ['tiger-lake'])
  t.deepEqual(of(0x9af8), ['tiger-lake'])
  t.deepEqual(of(0x9af9), [])
  t.deepEqual(platformsOf({ vendor: 0x1002, device: 0x3e92 }), [])
})
