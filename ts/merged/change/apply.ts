// Makes a planned change, one step at a time: each is looked at after it was written, and on the first difference all are
// undone. The journal is on the disk before the first write.

import { isDeepStrictEqual } from 'node:util'
import { EBUSY, EINVAL, EIO, ETIMEDOUT, VfioError } from '../../errors.js'
import { type HostIo, KernelIo } from '../../host/io.js'
import { ANY, type HostStep } from '../../host/step.js'
import { array, boolean, object } from '../../validate.js'
import { checkChangeOptions } from './check-options.js'
import { ChangeError } from './error.js'
import { type JournalEntry, listChanges, thisHost } from './entries.js'
import { Journal, stateRoot } from './journal.js'
import { ChangeLock } from './lock.js'
import { plan as planAgain } from './plan.js'
import { withRemedy } from './remedies.js'
import { refuseUnseen } from './still-used.js'
import { see, seeSettled, takeBack, write } from './take-back.js'
import type { ChangeEvent, ChangeOptions, Plan } from './types.js'

export interface ApplyOptions extends ChangeOptions {
  /** Makes the change although not every possible use of its devices could be examined, see {@link Plan.unseen}. */
  readonly force?: boolean
}

/** A change that was made. */
export interface AppliedChange {
  /** The ID to pass to `undo`; null if there was nothing to do. */
  readonly id: number | null
  readonly plan: Plan
  /** What was seen after each step. */
  readonly seen: readonly (string | null)[]
}

const shown = (value: string | null): string => (value === null ? 'nothing' : JSON.stringify(value.trim()))

function checkPlan(plan: Plan): Plan {
  const { schema, change, steps } = object(plan, 'plan')
  if ((schema as string) !== 'vfio-plan/1')
    throw new TypeError(`plan.schema must be "vfio-plan/1", not ${JSON.stringify(schema)}`)
  object(change, 'plan.change')
  array(steps, 'plan.steps')
  return plan
}

/** How what is there after a write differs from what was planned, and what that means; null if it does not. */
function difference({ look, new: wanted, never }: HostStep, seen: string | null): string | null {
  if (wanted === ANY) {
    if (seen === null || never?.includes(seen) !== true) return null
    const list = seen.endsWith('pciback') ? 'remove_slot' : 'remove_id'
    return (
      `${seen} took the device again, because its ID is on that driver's list (module options or new_id). ` +
      `Remove it (/sys/bus/pci/drivers/${seen}/${list}), or leave the device without a driver (--no-driver).`
    )
  }
  if (seen === wanted) return null
  if (look.how === 'link' && seen !== null && wanted !== null)
    return `${seen} took the device instead of ${wanted}: something else on this host binds it (udev, driverctl, libvirt).`
  return `${look.path} contains ${shown(seen)} instead of ${shown(wanted)}: dmesg may say why.`
}

/** The plan, made anew: a plan is data that anybody may have written, and the host may have changed since. */
function confirm(plan: Plan, options: ApplyOptions): Plan {
  const again = planAgain(plan.change, options)
  const differs = (what: string): VfioError =>
    new VfioError(EINVAL, 'apply', {
      subject: plan.summary,
      reason: 'host-differs',
      remedy: `The host has changed since this was planned: ${what}. Plan again.`,
    })
  if (plan.bootId !== again.bootId) throw differs('it was rebooted')
  const index = Math.max(plan.steps.length, again.steps.length)
  for (let at = 0; at < index; at++) {
    const then: HostStep | undefined = plan.steps[at]
    const now = again.steps[at]
    if (!isDeepStrictEqual(then, now)) {
      const path = (now ?? then)?.write.file ?? ''
      throw differs(`step ${at + 1} (${path}) is different now`)
    }
  }
  const [refusal] = again.refusals
  if (refusal !== undefined) {
    const more = again.refusals.length > 1 ? ` (and ${again.refusals.length - 1} more)` : ''
    throw new VfioError(EBUSY, 'apply', {
      subject: `${again.summary}: ${refusal.what}${more}`,
      reason: refusal.reason === 'in-use' ? 'in-use' : 'change-refused',
      remedy: refusal.remedy,
    })
  }
  if (options.force !== true) refuseUnseen('apply', again.summary, again.unseen)
  return again
}

/** An interrupted change of the same devices must be undone first. */
function refuseInterrupted(plan: Plan, entries: readonly JournalEntry[]): void {
  const found = entries.find(
    ({ state, plan: other }) =>
      state === 'interrupted' && other.devices.some((name) => plan.devices.includes(name)),
  )
  if (found === undefined) return
  throw new VfioError(EBUSY, 'apply', {
    subject: plan.summary,
    reason: 'change-interrupted',
    remedy: `An earlier change (${found.plan.summary}, ${found.time}) was interrupted: vfio undo ${found.id}`,
  })
}

async function checkNeeds({ needs, write: { file } }: HostStep, io: HostIo): Promise<void> {
  if (needs === undefined) return
  const list = (await io.look({ how: 'text', path: needs.path })) ?? ''
  const entries = list.split('\n').map((line) => line.trim().split(/\s*:\s*|\s+/)[0])
  if (entries.includes(needs.entry)) return
  throw new VfioError(EINVAL, 'write', {
    subject: file,
    reason: 'host-differs',
    remedy: `${needs.path} no longer lists ${needs.entry}: its siblings have used the capacity.`,
  })
}

/** If the journal cannot be removed because the disk fails, `undo` finds that there is nothing to undo. */
function forget(journal: Journal): void {
  try {
    journal.remove()
  } catch {
    // What counts is why the change failed.
  }
}

/**
 * Makes a planned change. The change is planned again first, and made only if that gives the same steps.
 * @throws TypeError if `plan` is not a plan
 * @throws VfioError, before anything was written: EBUSY if the change is refused (`in-use`, `change-refused`), a possible use
 * of its devices could not be examined (`unseen`), another change is running (`change-locked`) or was interrupted
 * (`change-interrupted`); EINVAL if the host is not as planned (`host-differs`); ENOSPC if the journal finds no room
 * @throws ChangeError if a step failed, or `signal` was aborted after the first one; what had been done was undone, unless
 * the error says otherwise
 * @throws the `reason` of `signal` (an `AbortError` unless you gave another) if it was aborted before the first step
 */
export async function apply(plan: Plan, options: ApplyOptions = {}): Promise<AppliedChange> {
  checkPlan(plan)
  checkChangeOptions(options)
  const { force = false, onEvent, signal, timeout } = options
  boolean(force, 'options.force')
  const folder = stateRoot(options)
  if (plan.steps.length === 0) return { id: null, plan: confirm(plan, options), seen: [] }
  // Before the lock as well: who may not write there is told why it is refused all the same.
  confirm(plan, options)
  const lock = await ChangeLock.take(folder)
  const io = options.io ?? new KernelIo({ timeout, keep: lock.fd })
  try {
    const { steps, ...rest } = confirm(plan, options)
    refuseInterrupted(plan, listChanges(options))
    signal?.throwIfAborted()
    const journal = Journal.begin(folder, lock.number, { ...rest, steps }, thisHost(options))
    const begun: { index: number; seen: string | null | undefined }[] = []
    let index = 0
    try {
      for (const [at, step] of steps.entries()) {
        index = at
        signal?.throwIfAborted()
        const tell = async (phase: ChangeEvent['phase']): Promise<void> =>
          onEvent?.({ phase, index: at, step })
        const before = await see(step.look, io)
        if (before !== step.old)
          throw new VfioError(EINVAL, 'read', {
            subject: step.look.path,
            reason: 'host-differs',
            remedy: `It contains ${shown(before)} instead of ${shown(step.old)} as planned.`,
          })
        await checkNeeds(step, io)
        journal.begin(at)
        const entry = { index: at, seen: undefined as string | null | undefined }
        begun.push(entry)
        await tell('before-write')
        await write(step, step.write, io)
        await tell('after-write')
        const seen = await seeSettled(step.look, (value) => difference(step, value) === null, io)
        entry.seen = seen
        journal.seen(at, seen)
        const differs = difference(step, seen)
        if (differs !== null)
          throw new VfioError(EIO, 'write', {
            subject: step.write.file,
            reason: 'host-differs',
            remedy: `The write succeeded, but ${differs}`,
          })
        await tell('done')
      }
      journal.applied()
    } catch (error) {
      const cause = error instanceof VfioError ? withRemedy(error, options) : error
      // What sleeps in the kernel holds the device: no other write would get through.
      const stuck = error instanceof VfioError && error.errno === ETIMEDOUT
      const step = steps[index]
      const leftovers =
        stuck && step !== undefined
          ? [{ index, step, why: `${step.write.file}: the write has not returned` }]
          : (await takeBack({ steps, begun, journal, io, onEvent, force: false })).leftovers
      if (leftovers.length === 0) forget(journal)
      throw new ChangeError(cause, lock.number, index, leftovers)
    } finally {
      journal.close()
    }
    return { id: lock.number, plan: { ...rest, steps }, seen: begun.map(({ seen }) => seen ?? null) }
  } finally {
    if (options.io === undefined) await io.close()
    await lock.release()
  }
}
