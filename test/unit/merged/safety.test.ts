// What makes a change safe and shows in no result: what is on the disk before the host is written to, who may read it, what
// is looked at again once the change has the lock, and what is left alone.

import { chmodSync, mkdirSync, readdirSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { ETIMEDOUT, VfioError } from '../../../ts/errors.js'
import { apply, ChangeError, listChanges, plan, undo } from '../../../ts/merged/index.js'
import { ChangeLock } from '../../../ts/merged/change/lock.js'
import { changeTest, NVME } from './change.js'
import { genuine, mend, replace, watchDisk } from './disk.js'
import { SimulatedKernel } from './kernel.js'

const SERIAL = { serial: true }

changeTest(
  'a write that sleeps is not followed by another, and undone when it is through',
  async (t, { options, faulty, portrait }) => {
    const before = portrait()
    const stuck = faulty({ refuse: { drivers_probe: 'ETIMEDOUT' } })
    const error = await t.throwsAsync(apply(plan({ kind: 'bind', device: NVME }, stuck), stuck), {
      instanceOf: ChangeError,
    })
    t.is(error.outcome, 'left')
    t.is((error.cause as VfioError).errno, ETIMEDOUT)
    t.like(
      error.leftovers,
      [{ index: 2, why: /./ }].map(() => ({ index: 2 })),
    )
    // Neither the override nor the old driver: the device is held.
    t.deepEqual(
      stuck.io.written.map((each) => each.replace(/.*\//, '')),
      [`unbind=${NVME}`, 'driver_override=vfio-pci', `drivers_probe=${NVME}`],
    )
    t.like(listChanges(options), [{ id: error.id, state: 'interrupted' }])
    await undo(error.id, options)
    t.deepEqual(portrait(), before)
  },
)

/** A kernel that tells when it is written to. */
class TellingKernel extends SimulatedKernel {
  readonly #tell: () => void

  constructor(root: string, tell: () => void) {
    super(root)
    this.#tell = tell
  }

  override async write(file: string, text: string): Promise<void> {
    this.#tell()
    await super.write(file, text)
  }
}

changeTest(
  'journal, state folder and kept files are on the disk before what follows from them',
  async (t, { tree, options }) => {
    const log: string[] = []
    const io = new TellingKernel(tree.root, () => log.push('kernel'))
    const state = options.stateRoot!
    const etc = options.etcRoot!
    const name = (path: string): string =>
      path.endsWith('.journal') ? 'journal' : path === state ? 'state' : path.slice(etc.length)
    watchDisk((what, path) => log.push(`${what} ${name(path)}`), state, etc)
    try {
      const asked = { ...options, io }
      await apply(plan({ kind: 'bind', device: NVME, persist: true }, asked), asked)
    } finally {
      mend()
    }
    const file = `/driverctl.d/pci-${NVME}`
    const line = ['write journal', 'sync journal']
    t.deepEqual(log, [
      // The plan, and the journal's name in its folder.
      ...line,
      'sync state',
      // Begun, written, seen: of each step.
      ...[0, 1, 2].flatMap(() => [...line, 'kernel', ...line]),
      // The folder's name in the one above it.
      ...line,
      'sync ',
      ...line,
      // The file before it takes its name, and then its name.
      ...line,
      `write ${file}.node-vfio`,
      `sync ${file}.node-vfio`,
      `rename ${file}`,
      'sync /driverctl.d',
      ...line,
      // Applied.
      ...line,
    ])
    log.length = 0
    watchDisk((what, path) => log.push(`${what} ${name(path)}`), state, etc)
    try {
      await undo(undefined, { ...options, io })
    } finally {
      mend()
    }
    t.deepEqual(log, [
      'sync /driverctl.d',
      ...line,
      'sync ',
      ...line,
      ...[0, 1, 2].flatMap(() => ['kernel', ...line]),
      // The journal is gone for good.
      'sync state',
    ])
  },
  SERIAL,
)

changeTest(
  'journals and their folder are for root alone',
  async (t, { options }) => {
    const old = process.umask(0)
    try {
      await apply(plan({ kind: 'bind', device: NVME, persist: true }, options), options)
    } finally {
      process.umask(old)
    }
    const mode = (path: string): number => statSync(path).mode & 0o7777
    t.is(mode(options.stateRoot!), 0o700)
    const [journal] = readdirSync(options.stateRoot!).filter((name) => name.endsWith('.journal'))
    t.is(mode(join(options.stateRoot!, journal!)), 0o600)
    // What others read is for nobody else to write.
    const file = join(options.etcRoot!, 'driverctl.d', `pci-${NVME}`)
    t.is(mode(dirname(file)), 0o755)
    t.is(mode(file), 0o644)
  },
  SERIAL,
)

changeTest(
  'a host that changes while the lock is taken is planned anew',
  async (t, { tree, options, portrait }) => {
    await apply(plan({ kind: 'bind', device: NVME }, options), options)
    const unbind = plan({ kind: 'unbind', device: NVME }, options)
    const { length } = options.io.written
    // Until it waits for the lock it is here; then somebody opens the device.
    const made = apply(unbind, options)
    mkdirSync(tree.path('proc/4711/fd'), { recursive: true })
    symlinkSync('/dev/vfio/6', tree.path('proc/4711/fd/17'))
    const there = portrait()
    const error = await t.throwsAsync(made, { instanceOf: VfioError })
    t.like(error, { code: 'EBUSY', reason: 'in-use' })
    t.is(options.io.written.length, length)
    t.deepEqual(portrait(), there)
  },
)

changeTest(
  'a lock number that was given away meanwhile is no lock',
  async (t, { options }) => {
    const folder = options.stateRoot!
    const first = await ChangeLock.take(folder)
    await first.release()
    // Between the look at the folder and the link others have taken 2 and 3, and 3's holder has cleared 2 away.
    replace({
      linkSync: (from, to) => {
        writeFileSync(join(folder, 'lock.3'), '')
        genuine.linkSync(from, to)
      },
    })
    try {
      const error = await t.throwsAsync(ChangeLock.take(folder), { instanceOf: VfioError })
      t.is(error.reason, 'change-locked')
    } finally {
      mend()
    }
    t.deepEqual(readdirSync(folder).sort(), ['lock.1', 'lock.3'])
  },
  SERIAL,
)

changeTest(
  'numbers of changes go on where the locks of a folder are gone',
  async (t, { options, portrait }) => {
    const before = portrait()
    const first = await apply(plan({ kind: 'bind', device: NVME }, options), options)
    for (const name of readdirSync(options.stateRoot!))
      if (name.startsWith('lock.')) rmSync(join(options.stateRoot!, name))
    const second = await apply(plan({ kind: 'unbind', device: NVME }, options), options)
    t.true(second.id! > first.id!)
    await undo(second.id!, options)
    await undo(first.id!, options)
    t.deepEqual(portrait(), before)
  },
)

changeTest('a listener that throws ends no undoing', async (t, { options, faulty, portrait }) => {
  const before = portrait()
  const bad = faulty({ deaf: ['drivers_probe'] })
  const throwing = {
    ...bad,
    onEvent: ({ phase }: { phase: string }) => {
      if (phase.includes('undo')) throw new Error('no words')
    },
  }
  const error = await t.throwsAsync(apply(plan({ kind: 'bind', device: NVME }, throwing), throwing), {
    instanceOf: ChangeError,
  })
  t.is(error.outcome, 'undone')
  t.deepEqual(portrait(), before)
  await apply(plan({ kind: 'bind', device: NVME }, options), options)
  await t.throwsAsync(undo(undefined, { ...options, onEvent: throwing.onEvent }), { message: 'no words' })
  t.deepEqual(portrait(), before)
  t.deepEqual(listChanges(options), [])
})

changeTest(
  'a state folder that may not be written is told, full or read-only',
  async (t, { options }) => {
    mkdirSync(options.stateRoot!, { recursive: true })
    replace({
      linkSync: () => {
        throw Object.assign(new Error('ENOSPC'), { errno: -28, code: 'ENOSPC', syscall: 'link' })
      },
    })
    try {
      const error = await t.throwsAsync(apply(plan({ kind: 'bind', device: NVME }, options), options), {
        instanceOf: VfioError,
      })
      t.like(error, { code: 'ENOSPC', syscall: 'link', subject: options.stateRoot! })
      t.regex(error.remedy ?? '', /full/)
    } finally {
      mend()
    }
    chmodSync(options.stateRoot!, 0o700)
    t.deepEqual(readdirSync(options.stateRoot!), [])
  },
  SERIAL,
)
