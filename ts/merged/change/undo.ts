// Takes a change back, after it was made or after it was cut short by a crash.

import { EBUSY, ENOENT, VfioError } from '../../errors.js'
import { type HostIo, KernelIo } from '../../host/io.js'
import type { HostStep } from '../../host/step.js'
import { boolean, integer } from '../../validate.js'
import { checkChangeOptions } from './check-options.js'
import { ChangeError } from './error.js'
import { isOnDisk } from './files.js'
import { type BegunStep, Journal, type JournalEntry, listChanges, stateRoot } from './journal.js'
import { ChangeLock } from './lock.js'
import { bootId } from './plan.js'
import { refuseUsed, standingOn } from './still-used.js'
import { see, takeBack } from './take-back.js'
import type { ChangeOptions } from './types.js'

export interface UndoOptions extends ChangeOptions {
  /**
   * Leaves alone what somebody else has changed since, instead of stopping there; and goes on where it cannot be seen whether
   * the devices are in use. One that is seen to be in use is never taken.
   */
  readonly force?: boolean
}

/** A change that was taken back. */
export interface UndoneChange {
  readonly id: number
  readonly entry: JournalEntry
  /** True if the host was booted since: what sysfs had is gone by itself, and files of the disk alone were taken back. */
  readonly rebooted: boolean
}

/** The devices of a change, with what stands on them now. */
function reach({ plan }: JournalEntry, options: ChangeOptions): Set<string> {
  return new Set(plan.devices.flatMap((name) => [name, ...standingOn(name, options)]))
}

/** Of `all`, the one to take back. */
function find(id: number | undefined, all: readonly JournalEntry[], folder: string): JournalEntry {
  const found = id === undefined ? all.at(-1) : all.find((each) => each.id === id)
  if (found !== undefined) return found
  throw new VfioError(ENOENT, 'undo', {
    subject: id === undefined ? folder : `change ${id}`,
    remedy:
      all.length === 0
        ? 'There is no change to take back.'
        : `These can be taken back: ${all.map((each) => each.id).join(', ')}`,
  })
}

/** A later change of the same devices stands on this one. */
function refuseLater(entry: JournalEntry, all: readonly JournalEntry[], options: ChangeOptions): void {
  const own = reach(entry, options)
  const later = all.find(({ id, plan }) => id > entry.id && plan.devices.some((name) => own.has(name)))
  if (later === undefined) return
  throw new VfioError(EBUSY, 'undo', {
    subject: `change ${entry.id} (${entry.plan.summary})`,
    reason: 'change-refused',
    remedy: `A later one stands on it (${later.plan.summary}): vfio undo ${later.id} first.`,
  })
}

/** What appears on a host is opened by udev for a moment, in milliseconds: a change is often taken back right after it was made. */
const PASSING = 500
const PAUSE = 50

/** What is not as it was before a change, and nothing of it in use. */
async function refuseUse(
  { id, plan }: JournalEntry,
  begun: readonly BegunStep[],
  io: HostIo,
  options: UndoOptions,
): Promise<void> {
  const made: HostStep[] = []
  for (const { index } of begun) {
    const step = plan.steps[index]
    if (step !== undefined && (await see(step.look, io)) !== step.old) made.push(step)
  }
  const asked = { subject: `change ${id} (${plan.summary})`, force: options.force === true }
  const end = performance.now() + PASSING
  for (;;) {
    try {
      refuseUsed(plan, made, asked, options)
      return
    } catch (error) {
      if (performance.now() > end) throw error
      await new Promise((resolve) => setTimeout(resolve, PAUSE))
    }
  }
}

/**
 * Takes a change back: the host is as it was before it.
 * @param id as `apply` gave it; the last change, if left out
 * @throws RangeError if `id` is not a whole number from 1
 * @throws VfioError, before anything was written: ENOENT if there is no such change; EBUSY if its devices are open
 * (`in-use`), or used otherwise (`change-refused`) or perhaps (`unseen`), a later change stands on it (`change-refused`), or another one is under way (`change-locked`)
 * @throws ChangeError if a step could not be taken back; those after it have been
 */
export async function undo(id?: number, options: UndoOptions = {}): Promise<UndoneChange> {
  if (id !== undefined) integer(id, 'id', 1, Number.MAX_SAFE_INTEGER)
  checkChangeOptions(options)
  const { force = false, onEvent, timeout } = options
  boolean(force, 'options.force')
  const folder = stateRoot(options)
  find(id, listChanges(options), folder)
  const lock = await ChangeLock.take(folder)
  const io = options.io ?? new KernelIo({ timeout, keep: lock.fd })
  try {
    const all = listChanges(options)
    const entry = find(id, all, folder)
    const { plan, begun } = entry
    refuseLater(entry, all, options)
    const rebooted = plan.bootId !== bootId(options)
    const still = begun.filter(({ index }) => {
      const step = plan.steps[index]
      return step !== undefined && (!rebooted || isOnDisk(step))
    })
    if (!rebooted) await refuseUse(entry, still, io, options)
    const journal = Journal.resume(entry, folder)
    const leftovers = await takeBack({ steps: plan.steps, begun: still, journal, io, onEvent, force })
    const [first] = leftovers
    if (first !== undefined && !force) {
      journal.close()
      throw new ChangeError(first.error ?? new Error(first.why), entry.id, first.index, leftovers)
    }
    journal.remove()
    return { id: entry.id, entry, rebooted }
  } finally {
    if (options.io === undefined) await io.close()
    await lock.release()
  }
}
