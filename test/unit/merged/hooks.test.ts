// Hooks read from devices, where no device can be opened: every answer stays, and says why.

import test from 'ava'
import { mergedReport, withHooks } from '../../../ts/merged/index.js'
import { SysfsTree } from '../host/fixture.js'
import { HOSTS, rootsOf } from './hosts.js'

const declare = process.platform === 'linux' ? test : test.skip

declare('what cannot be opened keeps its answer, with the reason', async (t) => {
  const tree = new SysfsTree()
  t.teardown(() => tree.remove())
  HOSTS['mdev-mtty'](tree)
  const options = rootsOf(tree)
  const none = await withHooks(mergedReport(options), options)
  for (const { answer, why } of none.devices[0]!.hooks) {
    t.is(answer, 'cannot-tell')
    t.regex(why, /guests have nothing of it that could be opened$/)
  }
  const uuid = '83b8f4f2-509f-382f-3c1e-e6bfe0fa1001'
  tree.mdev(uuid, 9)
  tree.link(
    `devices/virtual/mtty/mtty/mdev_supported_types/mtty-1/devices/${uuid}`,
    `devices/virtual/mtty/mtty/${uuid}`,
  )
  const refused = await withHooks(mergedReport(options), options)
  for (const { answer, why } of refused.devices[0]!.hooks) {
    t.is(answer, 'cannot-tell')
    t.regex(why, /; .*(?:ENOENT|no-group-node|\/dev\/vfio)/)
  }
})

declare('what nobody can open is asked nothing', async (t) => {
  const tree = new SysfsTree()
  t.teardown(() => tree.remove())
  HOSTS['amd-amdgpu'](tree)
  const options = rootsOf(tree)
  const report = mergedReport(options)
  t.deepEqual(await withHooks(report, options), report)
})
