// What is found without hardware, for a driver, its version and a kernel.

import test from 'ava'
import { type FoundIssue, searchIssues } from '../../../../ts/merged/index.js'

const answers = (found: readonly FoundIssue[]) =>
  Object.fromEntries(found.map(({ id, answer }) => [id, answer]))

test('an update of the driver fixes what the bulletins say', (t) => {
  const at = (version: string) => answers(searchIssues({ driver: 'nvidia', version, kernel: '6.12' }))
  // Whether it is the vGPU host driver is not said.
  t.is(at('580.82.02')['nvidia-vgpu-host-bulletin-5703'], 'cannot-tell')
  t.is(at('580.95.02')['nvidia-vgpu-host-bulletin-5703'], 'fixed')
  t.is(at('580.x')['nvidia-vgpu-host-bulletin-5703'], 'cannot-tell')
  t.is(at('595.71.03')['nvidia-vgpu-host-bulletin-5703'], undefined)
})

test('an update of the kernel is told by its number alone', (t) => {
  const at = (kernel: string) =>
    answers(searchIssues({ driver: 'vfio-pci', kernel }))['vfio-cdev-ignores-vf-token']
  t.is(at('6.5'), undefined)
  t.is(at('6.16'), 'cannot-tell')
  t.is(at('6.17'), 'fixed')
  t.is(at('6.17.0-41-generic'), 'fixed')
})

test('what is decided by what was named applies', (t) => {
  const found = answers(searchIssues({ driver: 'amdgpu' }))
  t.is(found['amdgpu-no-signalling-hooks'], 'applies')
  t.is(found['amd-gim-excludes-amdgpu'], 'cannot-tell')
  t.is(answers(searchIssues({ driver: 'nova_core' }))['nvidia-nova-core-no-vgpu-manager'], 'applies')
})

test('a driver of functions, or a module beside the driver, finds its rows too', (t) => {
  t.truthy(
    answers(searchIssues({ driver: 'xe-vfio-pci', kernel: '7.0' }))['intel-xe-migration-wrong-registers'],
  )
  t.truthy(answers(searchIssues({ driver: 'xe_vfio_pci' }))['intel-xe-vfio-no-dirty-tracking'])
  t.truthy(answers(searchIssues({ driver: 'kvmgt' }))['intel-gvtg-no-migration'])
})

test('a vendor narrows it to its rows and those for any', (t) => {
  t.deepEqual([...new Set(searchIssues({ vendor: 'amd' }).map(({ vendor }) => vendor))].sort(), [
    0x1002,
    null,
  ])
  t.deepEqual([...new Set(searchIssues({ vendor: 'any' }).map(({ vendor }) => vendor))], [null])
  t.is(searchIssues().length, 126)
  t.deepEqual(searchIssues({ driver: 'floppy' }), [])
})

test('what applies comes first, then the worst, then the surest, then the newest', (t) => {
  const ANSWERS = ['applies', 'cannot-tell', 'fixed']
  const IMPACTS = ['security', 'crash', 'broken', 'limited', 'notice']
  const CONFIDENCES = ['high', 'medium', 'low']
  const key = ({ answer, impact, confidence }: FoundIssue) =>
    ANSWERS.indexOf(answer) * 100 + IMPACTS.indexOf(impact) * 10 + CONFIDENCES.indexOf(confidence)
  const found = searchIssues({ driver: 'nvidia', version: '535.104.06', kernel: '6.8' })
  const keys = found.map(key)
  t.true(found.length > 20)
  t.deepEqual(
    keys,
    [...keys].sort((a, b) => a - b),
  )
  for (const [index, each] of found.slice(1).entries())
    if (key(each) === key(found[index]!)) t.true(each.date <= found[index]!.date)
})

test('a row that one person saw says so', (t) => {
  const [low] = searchIssues({ driver: 'vfio-pci' }).filter(
    ({ id }) => id === 'nvidia-reset-regression-6-14-2',
  )
  t.like(low, { confidence: 'low', provenance: 'observed' })
})
