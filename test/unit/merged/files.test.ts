// What is kept for driverctl comes back as it was: bytes, permissions, owner, links; folders go with the last file in them;
// and after a reboot, too, "undone" is true.

import {
  chmodSync,
  chownSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { spawnSync } from 'node:child_process'
import { VfioError } from '../../../ts/errors.js'
import { apply, listChanges, plan, undo } from '../../../ts/merged/index.js'
import { changeTest, EDU, NVME } from './change.js'

const FILE = `etc/driverctl.d/pci-${NVME}`
const isRoot = process.getuid?.() === 0

for (const [title, put] of [
  [
    'bytes that are no UTF-8 in the place of a kept file: undone as it was',
    (path: string) =>
      writeFileSync(path, Buffer.from('vf\xffio\xc3\x28\xed\xa0\x80\xf0\x9f\x98\x80\xfe\n', 'latin1')),
  ],
  [
    'permissions and owner in the place of a kept file: undone as it was',
    (path: string) => {
      writeFileSync(path, 'nvme\n')
      if (isRoot) chownSync(path, 12, 34)
      chmodSync(path, 0o4640)
    },
  ],
  [
    'a symbolic link to a file in the place of a kept file: undone as it was',
    (path: string) => {
      writeFileSync(`${path}.real`, 'nvme\n')
      symlinkSync(`pci-${NVME}.real`, path)
    },
  ],
  [
    'a dangling symbolic link in the place of a kept file: undone as it was',
    (path: string) => symlinkSync('/nowhere/at/all', path),
  ],
  [
    'a symbolic link to itself in the place of a kept file: undone as it was',
    (path: string) => symlinkSync(path, path),
  ],
  [
    'a link to /dev/null in the place of a kept file: undone as it was',
    (path: string) => symlinkSync('/dev/null', path),
  ],
] as const) {
  changeTest(title, async (t, { tree, options, portrait }) => {
    mkdirSync(tree.path('etc/driverctl.d'))
    put(tree.path(FILE))
    const before = portrait()
    await apply(plan({ kind: 'bind', device: NVME, persist: true }, options), options)
    t.is(readFileSync(tree.path(FILE), 'utf8'), 'vfio-pci\n')
    t.true(lstatSync(tree.path(FILE)).isFile())
    const kept = portrait()
    t.deepEqual(kept[`${FILE}.real`], before[`${FILE}.real`])
    await apply(plan({ kind: 'unbind', device: NVME, persist: true }, options), options)
    await undo(undefined, options)
    t.deepEqual(portrait(), kept)
    await undo(undefined, options)
    t.deepEqual(portrait(), before)
  })
}

changeTest('a file that is written anew keeps its permissions and owner', async (t, { tree, options }) => {
  mkdirSync(tree.path('etc/driverctl.d'))
  writeFileSync(tree.path(FILE), 'nvme\n')
  if (isRoot) chownSync(tree.path(FILE), 12, 34)
  chmodSync(tree.path(FILE), 0o600)
  await apply(plan({ kind: 'bind', device: NVME, persist: true }, options), options)
  const { mode, uid, gid } = lstatSync(tree.path(FILE))
  t.is(mode & 0o7777, 0o600)
  if (isRoot) t.deepEqual([uid, gid], [12, 34])
})

changeTest('an old file is replaced, never written into', async (t, { tree, options }) => {
  mkdirSync(tree.path('etc/driverctl.d'))
  writeFileSync(tree.path(FILE), 'nvme\n')
  // Whoever has it open, or by another name, has the old one whole.
  linkSync(tree.path(FILE), tree.path('etc/other'))
  await apply(plan({ kind: 'bind', device: NVME, persist: true }, options), options)
  t.is(readFileSync(tree.path(FILE), 'utf8'), 'vfio-pci\n')
  t.is(readFileSync(tree.path('etc/other'), 'utf8'), 'nvme\n')
})

changeTest(
  'kept binds undone in any order leave neither file nor folder',
  async (t, { tree, options, portrait }) => {
    tree.pci('0000:00:15.0', { group: 9 })
    const devices = [NVME, EDU, '0000:00:15.0']
    const before = portrait()
    for (const order of [
      [0, 1, 2],
      [0, 2, 1],
      [1, 0, 2],
      [1, 2, 0],
      [2, 0, 1],
    ]) {
      const ids: number[] = []
      for (const device of devices)
        ids.push((await apply(plan({ kind: 'bind', device, persist: true }, options), options)).id!)
      for (const index of order) await undo(ids[index], options)
      t.deepEqual(portrait(), before, order.join())
      t.deepEqual(listChanges(options), [], order.join())
    }
  },
)

changeTest(
  "a folder in which somebody else's file is stays, and nothing is left",
  async (t, { tree, options, portrait }) => {
    const { id } = await apply(plan({ kind: 'bind', device: NVME, persist: true }, options), options)
    tree.file('etc/driverctl.d/pci-0000:77:00.0', 'vfio-pci')
    await undo(id!, options)
    t.deepEqual(listChanges(options), [])
    const left = Object.keys(portrait()).filter((name) => name.startsWith('etc/driverctl.d'))
    t.deepEqual(left, ['etc/driverctl.d', 'etc/driverctl.d/pci-0000:77:00.0'])
  },
)

changeTest('a trace of a killed write goes with the undoing', async (t, { tree, options, portrait }) => {
  const before = portrait()
  await apply(plan({ kind: 'bind', device: NVME, persist: true }, options), options)
  writeFileSync(tree.path(`${FILE}.node-vfio`), 'vfio')
  await undo(undefined, options)
  t.deepEqual(portrait(), before)
})

changeTest(
  'what is no folder or no file is told before anything is written',
  async (t, { tree, options, portrait }) => {
    symlinkSync('nowhere', tree.path('etc/driverctl.d'))
    const before = portrait()
    const ask = () => plan({ kind: 'bind', device: NVME, persist: true }, options)
    const dangling = t.throws(ask, { instanceOf: VfioError })
    t.like(dangling, { code: 'EEXIST', subject: tree.path('etc/driverctl.d') })
    mkdirSync(tree.path('etc/nowhere'))
    t.notThrows(ask)
    // A FIFO would never end.
    t.is(spawnSync('mkfifo', [tree.path(FILE)]).status, 0)
    t.like(t.throws(ask, { instanceOf: VfioError }), { code: 'EINVAL', subject: tree.path(FILE) })
    t.is(spawnSync('rm', [tree.path(FILE)]).status, 0)
    mkdirSync(tree.path(FILE))
    t.like(t.throws(ask, { instanceOf: VfioError }), { code: 'EINVAL', subject: tree.path(FILE) })
    t.is(readlinkSync(tree.path('etc/driverctl.d')), 'nowhere')
    t.is(before['etc/driverctl.d'], portrait()['etc/driverctl.d'])
  },
)

changeTest(
  'a kept bind that driverctl made again at boot is taken back with its driver',
  async (t, { tree, options, portrait }) => {
    const before = portrait()
    const boot = before['proc/sys/kernel/random/boot_id']
    await apply(plan({ kind: 'bind', device: NVME, persist: true }, options), options)
    tree.file('proc/sys/kernel/random/boot_id', 'another')
    t.like(await undo(undefined, options), { rebooted: true })
    const after = portrait()
    t.deepEqual({ ...after, 'proc/sys/kernel/random/boot_id': boot }, before)
    t.deepEqual(listChanges(options), [])
  },
)

changeTest(
  'a bind that was not kept is gone after a reboot, whatever the device is on by then',
  async (t, { tree, options, portrait }) => {
    await apply(plan({ kind: 'bind', device: NVME }, options), options)
    tree.file('proc/sys/kernel/random/boot_id', 'another')
    const there = portrait()
    const { length } = options.io.written
    await undo(undefined, options)
    t.is(options.io.written.length, length)
    t.deepEqual(portrait(), there)
  },
)

changeTest(
  'after a reboot a device that somebody has open is not taken from under them',
  async (t, { tree, options, portrait }) => {
    await apply(plan({ kind: 'bind', device: NVME, persist: true }, options), options)
    tree.file('proc/sys/kernel/random/boot_id', 'another')
    mkdirSync(tree.path('proc/4711/fd'), { recursive: true })
    symlinkSync('/dev/vfio/6', tree.path('proc/4711/fd/17'))
    const there = portrait()
    const error = await t.throwsAsync(undo(undefined, options), { instanceOf: VfioError })
    t.is(error.reason, 'in-use')
    t.deepEqual(portrait(), there)
  },
)
