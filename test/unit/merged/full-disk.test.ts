// A disk that is full before a change, or fills up while it is made or taken back: the host is changed as a whole or not at
// all, and what is told is so.

import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { ExecutionContext } from 'ava'
import { VfioError } from '../../../ts/errors.js'
import { apply, ChangeError, type ChangeOptions, listChanges, plan, undo } from '../../../ts/merged/index.js'
import { type ChangeContext, changeTest, NVME } from './change.js'
import { fillCopyOnWriteDisk, fillDisk, mend, shortWrites } from './disk.js'

function diskTest(title: string, body: (t: ExecutionContext, context: ChangeContext) => Promise<void>): void {
  changeTest(
    title,
    async (t, context) => {
      try {
        await body(t, context)
      } finally {
        mend()
      }
    },
    { serial: true },
  )
}

const stateOf = ({ stateRoot }: ChangeOptions): string => stateRoot!
const etcOf = ({ etcRoot }: ChangeOptions): string => etcRoot!

/** The options of a change, at a point of which the disk fills up. */
function fillingAt(at: string, options: ChangeOptions, fill: () => void): ChangeOptions {
  return {
    ...options,
    onEvent: ({ phase, index }) => {
      if (`${phase}:${index}` === at) fill()
    },
  }
}

diskTest(
  'a change on a full disk is refused with the remedy, and leaves nothing behind',
  async (t, context) => {
    const { options, portrait } = context
    const before = portrait()
    for (const fill of [fillDisk, fillCopyOnWriteDisk]) {
      fill(stateOf(options))
      const error = await t.throwsAsync(apply(plan({ kind: 'bind', device: NVME }, options), options), {
        instanceOf: VfioError,
      })
      mend()
      t.like(error, { code: 'ENOSPC', syscall: 'write' })
      t.regex(error.remedy ?? '', /full.*make room/)
      t.deepEqual(options.io.written, [])
      t.deepEqual(portrait(), before)
      t.deepEqual(
        readdirSync(stateOf(options)).filter((name) => name.endsWith('.journal')),
        [],
      )
    }
  },
)

diskTest(
  'a disk that fills up after the first write stops neither the change nor its undo',
  async (t, context) => {
    const { options, portrait } = context
    const before = portrait()
    const filling = fillingAt('before-write:0', options, () => fillDisk(stateOf(options)))
    const { id } = await apply(plan({ kind: 'bind', device: NVME }, filling), filling)
    t.like(listChanges(options), [{ id: id!, state: 'applied', begun: { length: 3 } }])
    await undo(id!, options)
    t.deepEqual(portrait(), before)
    t.deepEqual(listChanges(options), [])
  },
)

diskTest(
  'a file that finds no room has the whole change taken back, on the full disk',
  async (t, context) => {
    const { options, portrait } = context
    const before = portrait()
    const roots = [stateOf(options), etcOf(options)]
    const filling = fillingAt('before-write:0', options, () => fillDisk(...roots))
    const planned = plan({ kind: 'bind', device: NVME, persist: true }, filling)
    const error = await t.throwsAsync(apply(planned, filling), { instanceOf: ChangeError })
    t.is(error.outcome, 'undone')
    t.is(error.index, 4)
    t.like(error.cause, { code: 'ENOSPC', subject: join(etcOf(options), 'driverctl.d', `pci-${NVME}`) })
    t.deepEqual(portrait(), before)
    t.deepEqual(listChanges(options), [])
  },
)

diskTest('without any room for the journal a change is taken back to its first step', async (t, context) => {
  const { options, portrait } = context
  const before = portrait()
  for (const index of [0, 1, 2])
    for (const phase of ['before-write', 'after-write', 'done']) {
      const at = `${phase}:${index}`
      const filling = fillingAt(at, options, () => fillCopyOnWriteDisk(stateOf(options)))
      const error = await t.throwsAsync(apply(plan({ kind: 'bind', device: NVME }, filling), filling), {
        instanceOf: ChangeError,
      })
      mend()
      t.is(error.outcome, 'undone', at)
      t.like(error.cause, { code: 'ENOSPC' }, at)
      t.deepEqual(portrait(), before, at)
      t.deepEqual(listChanges(options), [], at)
    }
})

diskTest('an undo takes all back on a disk that takes no byte', async (t, context) => {
  const { options, portrait } = context
  const before = portrait()
  await apply(plan({ kind: 'bind', device: NVME, persist: true }, options), options)
  fillCopyOnWriteDisk(stateOf(options), etcOf(options))
  await undo(undefined, options)
  t.deepEqual(portrait(), before)
  t.deepEqual(listChanges(options), [])
})

diskTest('a file that cannot be put back keeps no driver from coming back', async (t, context) => {
  const { options, portrait } = context
  await apply(plan({ kind: 'bind', device: NVME, persist: true }, options), options)
  const bound = portrait()
  const file = join(etcOf(options), 'driverctl.d', `pci-${NVME}`)
  const { id } = await apply(plan({ kind: 'unbind', device: NVME, persist: true }, options), options)
  fillDisk(stateOf(options), etcOf(options))
  const error = await t.throwsAsync(undo(id!, options), { instanceOf: ChangeError })
  t.is(error.outcome, 'left')
  t.like(error.leftovers, [{ step: { write: { file } } }])
  t.regex(error.message, /ENOSPC/)
  const { [file.slice(context.tree.root.length + 1)]: _file, ...rest } = bound
  t.deepEqual(portrait(), rest)
  mend()
  await undo(id!, options)
  t.deepEqual(portrait(), bound)
})

diskTest('what a disk takes in parts is whole in the end', async (t, context) => {
  const { options, portrait } = context
  const before = portrait()
  const file = join(etcOf(options), 'driverctl.d', `pci-${NVME}`)
  shortWrites(stateOf(options), etcOf(options))
  const { id } = await apply(plan({ kind: 'bind', device: NVME, persist: true }, options), options)
  t.is(readFileSync(file, 'utf8'), 'vfio-pci\n')
  t.like(listChanges(options), [{ id: id!, state: 'applied', begun: { length: 5 } }])
  await undo(id!, options)
  t.false(existsSync(file))
  t.deepEqual(portrait(), before)
})
