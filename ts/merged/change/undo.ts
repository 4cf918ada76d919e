// Takes a change back, after it was made or after it was cut short by a crash.

import { dirname, sep } from 'node:path'
import { EBUSY, EIO, ENOENT, VfioError } from '../../errors.js'
import { type HostIo, KernelIo } from '../../host/io.js'
import { ANY, type HostStep } from '../../host/step.js'
import { boolean, integer } from '../../validate.js'
import { checkChangeOptions } from './check-options.js'
import { type BegunStep, type JournalEntry, type Journals, listJournals } from './entries.js'
import { ChangeError } from './error.js'
import { isOnDisk, removeEmptyFolder } from './files.js'
import { Journal, stateRoot } from './journal.js'
import { ChangeLock } from './lock.js'
import { bootId } from './plan.js'
import { refuseUsed, standingOn } from './still-used.js'
import { see, takeBack } from './take-back.js'
import type { ChangeOptions } from './types.js'

export interface UndoOptions extends ChangeOptions {
  /**
   * Skips what somebody else changed since, instead of stopping there, and continues if it cannot be seen whether
   * the devices are in use. One that is seen to be in use is never taken.
   */
  readonly force?: boolean
}

/** A change that was undone. */
export interface UndoneChange {
  readonly id: number
  readonly entry: JournalEntry
  /**
   * True if the host was booted since: what sysfs had is gone by itself. Taken back were files of the disk, and what driverctl
   * or mdevctl had made of them again.
   */
  readonly rebooted: boolean
}

/** The devices of a change, with what stands on them now. */
function reach({ plan }: JournalEntry, options: ChangeOptions): Set<string> {
  return new Set(plan.devices.flatMap((name) => [name, ...standingOn(name, options)]))
}

/** The change to undo. */
function find(id: number | undefined, { own, elsewhere, damaged }: Journals, folder: string): JournalEntry {
  const found = id === undefined ? own.at(-1) : own.find((each) => each.id === id)
  if (found !== undefined) return found
  const foreign = elsewhere.find((each) => each.id === id)
  if (foreign !== undefined)
    throw new VfioError(EBUSY, 'undo', {
      subject: `change ${foreign.id} (${foreign.plan.summary})`,
      reason: 'change-refused',
      remedy: `It was made on another host, ${foreign.host?.name ?? ''}: undo it there.`,
    })
  const lost = damaged.find((each) => each.id === id)
  if (lost !== undefined)
    throw new VfioError(EIO, 'undo', {
      subject: lost.path,
      remedy: `The journal is damaged (${lost.why}): fix by hand what it still shows, then delete it.`,
    })
  throw new VfioError(ENOENT, 'undo', {
    subject: id === undefined ? folder : `change ${id}`,
    remedy:
      own.length === 0
        ? `There is no change to undo.${elsewhere.length > 0 ? ' Changes of other hosts: vfio undo --list' : ''}`
        : `These can be undone: ${own.map((each) => each.id).join(', ')}`,
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
    remedy: `A later change depends on it (${later.plan.summary}): vfio undo ${later.id} first.`,
  })
}

/** What appears on a host is opened by udev for a moment, in milliseconds: a change is often undone right after it was made. */
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

type RemainingStep = BegunStep & { readonly onDisk: boolean }

/**
 * What there is to undo. After a reboot sysfs is new, and what it had is gone, unless driverctl or mdevctl has made it
 * again of the file that was kept for it: that shows as the whole of what the change had made of a device.
 */
async function remaining(
  entry: JournalEntry,
  rebooted: boolean,
  io: HostIo,
): Promise<readonly RemainingStep[]> {
  const there = entry.begun.flatMap((begun) => {
    const step = entry.plan.steps[begun.index]
    return step === undefined ? [] : [{ ...begun, step, onDisk: isOnDisk(step) }]
  })
  if (!rebooted) return there
  if (!there.some(({ onDisk }) => onDisk)) return []
  /** By the folder of a device's attributes. */
  const again = new Map<string, boolean>()
  const placeOf = ({ look }: HostStep): string => dirname(look.path)
  for (const { index, step, seen, onDisk } of there) {
    const changedLater = there.some((each) => each.index > index && each.step.look.path === step.look.path)
    if (onDisk || changedLater) continue
    const same = (await see(step.look, io)) === (step.new === ANY ? (seen ?? null) : step.new)
    again.set(placeOf(step), same && again.get(placeOf(step)) !== false)
  }
  return there.filter(({ step, onDisk }) => onDisk || again.get(placeOf(step)) === true)
}

/** A folder that stays, as files of a later change are in it, goes with that change. */
function handOn(folder: HostStep, from: JournalEntry, all: readonly JournalEntry[], root: string): void {
  const inside = folder.look.path + sep
  const heir = all.findLast(
    ({ id, plan, begun }) =>
      id !== from.id && begun.some(({ index }) => plan.steps[index]?.look.path.startsWith(inside) === true),
  )
  if (heir === undefined) return
  const journal = Journal.resume(heir.id, root)
  try {
    journal.inherits(folder)
  } finally {
    journal.close()
  }
}

/**
 * Takes a change back: the host is as it was before it.
 * @param id as `apply` gave it; the last change, if left out
 * @throws RangeError if `id` is not a whole number from 1
 * @throws VfioError, before anything was written: ENOENT if there is no such change; EBUSY if its devices are open
 * (`in-use`), or used otherwise (`change-refused`) or perhaps (`unseen`), a later change stands on it or it is another host's
 * (`change-refused`), or another one is under way (`change-locked`); EIO if its journal is damaged
 * @throws ChangeError if a step could not be undone; those after it were
 */
export async function undo(id?: number, options: UndoOptions = {}): Promise<UndoneChange> {
  if (id !== undefined) integer(id, 'id', 1, Number.MAX_SAFE_INTEGER)
  checkChangeOptions(options)
  const { force = false, onEvent, timeout } = options
  boolean(force, 'options.force')
  const folder = stateRoot(options)
  find(id, listJournals(options), folder)
  const lock = await ChangeLock.take(folder)
  const io = options.io ?? new KernelIo({ timeout, keep: lock.fd })
  let journal: Journal | undefined
  try {
    const journals = listJournals(options)
    const { own } = journals
    const entry = find(id, journals, folder)
    const { plan, inherited } = entry
    refuseLater(entry, own, options)
    const rebooted = plan.bootId !== bootId(options)
    const { steps } = plan
    const begun = await remaining(entry, rebooted, io)
    // Files of the disk alone are nobody's to have open.
    if (!rebooted || begun.some(({ onDisk }) => !onDisk)) await refuseUse(entry, begun, io, options)
    journal = Journal.resume(entry.id, folder)
    const onKept = (step: HostStep): void => handOn(step, entry, own, folder)
    const { leftovers, thrown } = await takeBack({ steps, begun, journal, io, onEvent, force, onKept })
    const [first] = leftovers
    if (first !== undefined && !force)
      throw new ChangeError(first.error ?? new Error(first.why), entry.id, first.index, leftovers)
    // Inner folders first.
    for (const step of [...inherited].sort((a, b) => b.look.path.length - a.look.path.length))
      if (!removeEmptyFolder(step.look.path)) onKept(step)
    journal.remove()
    if (thrown.length > 0) throw thrown[0]
    return { id: entry.id, entry, rebooted }
  } finally {
    journal?.close()
    if (options.io === undefined) await io.close()
    await lock.release()
  }
}
