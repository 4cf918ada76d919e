// Mediated devices of the kernel's sample drivers: types listed, devices made, opened, removed and taken back, also after
// SIGKILL at every step.
import test from 'ava'
import { VfioDevice } from '../../../ts/index.js'
import { listMdevs, listMdevTypes } from '../../../ts/host/index.js'
import { type MergedReport, mergedReport } from '../../../ts/merged/index.js'
import { killedAt, picture, vfio } from '../changes.js'

const UUID = '83b8f4f2-509f-382f-3c1e-e6bfe0fa1001'

test.serial('the types of the three sample drivers are listed', (t) => {
  const types = listMdevTypes()
  t.deepEqual([...new Set(types.map(({ parent }) => parent))].sort(), ['mbochs', 'mdpy', 'mtty'])
  for (const { id, available, deviceApi } of types) {
    t.is(deviceApi, 'vfio-pci', id)
    t.true((available ?? 0) > 0, id)
  }
})

for (const [parent, type, hooks] of [
  ['mtty', 'mtty-2', ['yes', 'no', 'yes']],
  ['mdpy', 'mdpy-vga', ['no', 'no', 'no']],
  ['mbochs', 'mbochs-small', ['no', 'no', 'no']],
] as const) {
  test.serial(`${parent}: made, opened, removed and taken back`, async (t) => {
    t.timeout(600_000)
    const before = picture()
    const made = await vfio('mdev', 'create', parent, type, '--uuid', UUID)
    t.is(made.status, 0, made.err)
    t.like(listMdevs(), [{ uuid: UUID, parent, type }])
    const asked = await vfio('merged', '--hooks', '--json')
    const shared = (JSON.parse(asked.out) as MergedReport).devices.find(({ name }) => name === parent)
    t.deepEqual(
      shared?.hooks.map(({ answer }) => answer),
      [...hooks],
    )
    for (const { why } of shared?.hooks ?? []) t.true(why.endsWith(`read from ${UUID}`), why)
    const device = await VfioDevice.open(UUID)
    t.true(device.info.numRegions > 0)
    const refused = await vfio('mdev', 'rm', UUID)
    t.is(refused.status, 1)
    t.regex(refused.err, /this process has .* open/)
    const kept = await vfio('undo')
    t.is(kept.status, 1)
    t.regex(kept.err, /This process has .* open/)
    const report = mergedReport().devices.find(({ name }) => name === parent)
    t.like(report, { framework: 'mdev', merged: { state: 'merged' } })
    await device.close()
    const removed = await vfio('mdev', 'rm', UUID)
    t.is(removed.status, 0, removed.err)
    t.deepEqual(listMdevs(), [])
    t.is((await vfio('undo')).status, 0)
    t.like(listMdevs(), [{ uuid: UUID, parent, type }])
    t.is((await vfio('undo')).status, 0)
    t.deepEqual(picture(), before)
  })
}

test.serial('killed at every step, undone every time', async (t) => {
  t.timeout(600_000)
  const before = picture()
  const create = ['mdev', 'create', 'mtty', 'mtty-1', '--uuid', UUID]
  for (const point of ['before-write:0', 'after-write:0', 'done:0']) {
    t.is(await killedAt(point, ...create), 'SIGKILL', point)
    const undone = await vfio('undo')
    t.is(undone.status, 0, `${point}: ${undone.err}`)
    t.deepEqual(picture(), before, point)
  }
  t.is((await vfio(...create)).status, 0)
  const one = picture()
  for (const point of ['before-write:0', 'after-write:0']) {
    t.is(await killedAt(point, 'mdev', 'rm', UUID), 'SIGKILL', point)
    t.is((await vfio('undo')).status, 0, point)
    t.deepEqual({ ...picture(), journals: [] }, { ...one, journals: [] }, point)
  }
  t.is((await vfio('undo')).status, 0)
  t.deepEqual(picture(), before)
})
