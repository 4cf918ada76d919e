// The frameworks by themselves: which of them a device is shared by, and what it makes of the same facts.

import test from 'ava'
import type { SharingFacts } from '../../../ts/merged/frameworks/framework.js'
import { frameworkOf, FRAMEWORKS } from '../../../ts/merged/frameworks/index.js'

const NOTHING: SharingFacts = {
  mdevTypes: [],
  functions: [],
  usableVfs: 0,
  activeVfs: 0,
  maySet: false,
  tool: null,
}

const TYPE = {
  parent: 'gpu',
  id: 'gpu-1',
  name: null,
  description: null,
  available: 2,
  deviceApi: null,
  devices: ['a', 'b'],
} as unknown as SharingFacts['mdevTypes'][number]

const vf = (more: Partial<SharingFacts['functions'][number]>): SharingFacts['functions'][number] => ({
  address: '0000:01:00.1',
  driver: null,
  onVfio: false,
  currentVgpuType: null,
  creatableVgpuTypes: null,
  gpuInstance: null,
  profile: null,
  ...more,
})

test('each framework is in the table by its own name', (t) => {
  for (const [name, rules] of Object.entries(FRAMEWORKS)) t.true(rules.name === name, name)
})

test('vGPU types decide before mdev types, and those before virtual functions', (t) => {
  const all = {
    ...NOTHING,
    mdevTypes: [TYPE],
    usableVfs: 7,
    functions: [vf({ creatableVgpuTypes: [], currentVgpuType: 0 })],
  }
  t.is(frameworkOf(all).rules.name, 'vendor-vfio')
  t.is(frameworkOf({ ...all, functions: [] }).rules.name, 'mdev')
  t.is(frameworkOf({ ...all, functions: [], mdevTypes: [] }).rules.name, 'sriov')
  t.is(frameworkOf(NOTHING).rules.name, 'none')
})

test('what guests have is counted as each framework has it', (t) => {
  const { 'vendor-vfio': vendorVfio, mdev, sriov, none } = FRAMEWORKS
  t.deepEqual(mdev.state('i915', { ...NOTHING, mdevTypes: [TYPE] }), {
    state: 'merged',
    why: 'i915 serves the host, and guests have 2',
  })
  const functions = [vf({ onVfio: true }), vf({ driver: 'igbvf' })]
  t.like(sriov.state('igb', { ...NOTHING, functions, usableVfs: 2, activeVfs: 2 }), { state: 'merged' })
  t.like(sriov.state('igb', { ...NOTHING, functions: functions.slice(1), usableVfs: 1, activeVfs: 1 }), {
    state: 'possible',
  })
  t.like(sriov.state('igb', { ...NOTHING, usableVfs: 1, activeVfs: 1 }), { state: 'no' })
  t.like(vendorVfio.state('nvidia', { ...NOTHING, functions: [vf({ currentVgpuType: 558 })] }), {
    state: 'merged',
  })
  t.false(none.offers(NOTHING))
  t.like(none.state('nvidia', { ...NOTHING, tool: 'sriov-manage' }), { state: 'possible' })
})

test('only virtual functions on VFIO have hooks that sysfs tells', (t) => {
  const onVfio = { ...NOTHING, functions: [vf({ onVfio: true })] }
  t.deepEqual(
    FRAMEWORKS.sriov.hooks(onVfio).map(({ answer }) => answer),
    ['yes', 'yes', 'no'],
  )
  for (const name of ['sriov', 'mdev', 'vendor-vfio'] as const)
    t.true(
      FRAMEWORKS[name].hooks(NOTHING).every(({ answer }) => answer === 'cannot-tell'),
      name,
    )
  t.true(FRAMEWORKS.none.hooks(NOTHING).every(({ answer }) => answer === 'no'))
})
