// Real drivers changed while real file systems are full: those of the journals and of what driverctl reads.
import { execFileSync } from 'node:child_process'
import { closeSync, existsSync, mkdirSync, openSync, readdirSync, rmSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { apply, ChangeError, type ChangeOptions, listChanges, plan, undo } from '../../ts/merged/index.js'
import { picture, vfio } from './changes.js'
import { devices, driverOf } from './devices.js'

const STATE = '/var/lib/node-vfio'
const KEPT = '/etc/driverctl.d'
const { edu2 } = devices

/** A file system of a few pages in the place of a folder, until the test ends. */
function tiny(t: ExecutionContext, folder: string, options = 'size=64k'): void {
  const had = existsSync(folder)
  mkdirSync(folder, { recursive: true })
  execFileSync('mount', ['-t', 'tmpfs', '-o', `${options},mode=700`, 'tmpfs', folder])
  t.teardown(() => {
    execFileSync('umount', [folder])
    if (!had) rmSync(folder, { recursive: true })
  })
}

/** Takes every byte that there is. */
function fill(folder: string): void {
  const fd = openSync(join(folder, 'ballast'), 'a')
  try {
    for (const size of [4096, 1]) {
      try {
        for (;;) writeSync(fd, Buffer.alloc(size, 1))
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error
      }
    }
  } finally {
    closeSync(fd)
  }
}

const empty = (folder: string): void => rmSync(join(folder, 'ballast'), { force: true })

function fillingAt(at: string, folder: string): ChangeOptions {
  return {
    onEvent: ({ phase, index }) => {
      if (`${phase}:${index}` === at) fill(folder)
    },
  }
}

test.serial('with no room for a journal nothing is changed, and the message says what to do', async (t) => {
  t.timeout(600_000)
  tiny(t, STATE)
  const before = picture()
  fill(STATE)
  const refused = await vfio('unbind', edu2, '--no-driver')
  t.is(refused.status, 1, refused.err)
  t.regex(refused.err, /no space left on device \(ENOSPC\)[^]*make room/)
  t.deepEqual(picture(), before)
  t.deepEqual(
    readdirSync(STATE).filter((name) => name.endsWith('.journal')),
    [],
  )
})

test.serial('with no file to be had for the lock nothing is changed either', async (t) => {
  t.timeout(600_000)
  tiny(t, STATE, 'size=64k,nr_inodes=2')
  const before = picture()
  const refused = await vfio('unbind', edu2, '--no-driver')
  t.is(refused.status, 1, refused.err)
  t.regex(refused.err, /ENOSPC[^]*make room/)
  t.deepEqual(picture(), before)
})

test.serial('a disk that fills up at any point of a change stops neither it nor its undo', async (t) => {
  t.timeout(600_000)
  tiny(t, STATE)
  const before = picture()
  for (const at of [
    'before-write:0',
    'after-write:0',
    'done:0',
    'before-write:1',
    'after-write:1',
    'done:1',
  ]) {
    const options = fillingAt(at, STATE)
    const { id } = await apply(plan({ kind: 'unbind', device: edu2, to: 'none' }), options)
    t.is(driverOf('edu2'), null, at)
    t.like(listChanges(), [{ id: id!, state: 'applied', begun: { length: 2 } }], at)
    t.is((await vfio('undo')).status, 0, at)
    t.deepEqual(picture(), before, at)
    empty(STATE)
  }
})

test.serial('a full disk under what driverctl reads has the whole change taken back', async (t) => {
  t.timeout(600_000)
  tiny(t, STATE)
  tiny(t, KEPT)
  t.is((await vfio('unbind', edu2, '--no-driver')).status, 0)
  fill(KEPT)
  const before = picture()
  const undone = await vfio('bind', edu2, '--persist', '--yes')
  t.is(undone.status, 3, undone.err)
  t.regex(undone.err, /ENOSPC[^]*make room/)
  t.deepEqual(picture(), before)
  t.deepEqual(readdirSync(KEPT), ['ballast'])
  t.is((await vfio('undo')).status, 0)
})

test.serial('a file that finds no room is the only thing that an undo leaves', async (t) => {
  t.timeout(600_000)
  tiny(t, STATE)
  tiny(t, KEPT)
  const home = picture()
  t.is((await vfio('unbind', edu2, '--no-driver')).status, 0)
  t.is((await vfio('bind', edu2, '--persist', '--yes')).status, 0)
  const kept = picture()
  const { id } = await apply(plan({ kind: 'unbind', device: edu2, to: 'none', persist: true }))
  fill(STATE)
  fill(KEPT)
  const error = await t.throwsAsync(undo(id!), { instanceOf: ChangeError })
  t.is(error.outcome, 'left')
  t.like(error.leftovers, [{ step: { write: { file: join(KEPT, `pci-${edu2}`) } } }])
  t.is(driverOf('edu2'), 'vfio-pci')
  empty(KEPT)
  t.is((await vfio('undo')).status, 0)
  t.deepEqual(picture(), kept)
  t.is((await vfio('undo')).status, 0)
  t.is((await vfio('undo')).status, 0)
  t.deepEqual(picture(), home)
})
