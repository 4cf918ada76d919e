// What is kept for mdevctl, read by mdevctl itself: the list of what is defined, and a device made from it.
import { execFileSync } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import test from 'ava'
import { listMdevs } from '../../../ts/host/index.js'
import { picture, vfio } from '../changes.js'

const UUID = '83b8f4f2-509f-382f-3c1e-e6bfe0fa1002'

const mdevctl = (...args: string[]): string => execFileSync('mdevctl', args, { encoding: 'utf8' })

test.serial('mdevctl lists and makes the mediated device that was kept', async (t) => {
  t.timeout(600_000)
  // As its package has them; mdevctl refuses to run without.
  for (const name of ['callouts', 'notifiers'])
    mkdirSync(`/etc/mdevctl.d/scripts.d/${name}`, { recursive: true })
  const before = picture()
  const made = await vfio('mdev', 'create', 'mtty', 'mtty-1', '--uuid', UUID, '--persist')
  t.is(made.status, 0, made.err)
  t.regex(mdevctl('list', '--defined'), new RegExp(`^${UUID} mtty mtty-1 auto \\(active\\)$`, 'm'))
  t.deepEqual(JSON.parse(mdevctl('list', '--defined', '--dumpjson')), [
    { mtty: [{ [UUID]: { mdev_type: 'mtty-1', start: 'auto', attrs: [] } }] },
  ])
  // As after a reboot: the file is there, the device is not.
  t.is((await vfio('mdev', 'rm', UUID)).status, 0)
  t.deepEqual(listMdevs(), [])
  mdevctl('start', '--uuid', UUID)
  t.like(listMdevs(), [{ uuid: UUID, parent: 'mtty', type: 'mtty-1' }])
  t.is((await vfio('undo')).status, 0)
  t.is((await vfio('undo')).status, 0)
  t.deepEqual(picture(), before)
  t.is(mdevctl('list', '--defined').trim(), '')
})
