// Plans, makes and undoes changes of the host for the commands of ../commands/change.ts: asks before what is lost, and
// shows each step as it is done.
import { createInterface } from 'node:readline/promises'
import { readFileSync } from 'node:fs'
import {
  apply,
  ChangeError,
  type ChangeEvent,
  type ChangeOptions,
  type HostChange,
  listJournals,
  type Plan,
  plan,
  undo,
} from '../../merged/index.js'
import { ANY } from '../../host/index.js'
import { array, object } from '../../validate.js'
import type { CliContext } from '../context.js'
import { CliError, json } from '../format.js'
import { given } from '../given.js'
import type { ChangeOutput, ChangesOutput, PlanOutput, UndoOutput } from '../output.js'
import { styleOf } from '../style.js'
import { changesText, planText, stepLines } from './print.js'

export interface ChangeFlags {
  readonly dryRun?: boolean
  readonly json?: boolean
  /** Yes to every warning. */
  readonly yes?: boolean
  /** Although not everything could be looked at that may use the devices. */
  readonly force?: boolean
}

export interface UndoFlags {
  readonly list?: boolean
  readonly json?: boolean
  readonly force?: boolean
}

/** Beside 0 for done and 2 for wrong arguments. */
const STATUS = {
  /** Refused, or failed before anything was written. */
  refused: 1,
  /** A step failed, and everything was undone. */
  undone: 3,
  /** A step failed, and not everything could be undone. */
  left: 4,
  /** There are warnings, and nobody to ask. */
  unconfirmed: 5,
} as const

function optionsOf({ host, changes }: CliContext): ChangeOptions {
  return { ...host, ...changes }
}

async function confirmed(): Promise<boolean> {
  const reader = createInterface({ input: process.stdin, output: process.stderr })
  // An end of the input (Ctrl-D) answers nothing.
  const ended = new Promise<string>((resolve) => reader.once('close', () => resolve('')))
  try {
    return /^y(es)?$/i.test((await Promise.race([reader.question('Do it? [y/N] '), ended])).trim())
  } finally {
    reader.close()
  }
}

/** A refusal and a failure, as an error that has an exit status. */
function failure(error: unknown): unknown {
  if (!(error instanceof ChangeError)) return error
  return new CliError(error.message, error.outcome === 'undone' ? STATUS.undone : STATUS.left)
}

/** An interrupt from the terminal ends a change between two steps. */
async function interruptible<T>(context: CliContext, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController()
  const deaf = context.onInterrupt(() => controller.abort(new Error('interrupted')))
  try {
    return await work(controller.signal)
  } finally {
    deaf()
  }
}

/** Shows steps as they are done, and those that are undone. */
function progress(context: CliContext, own: ChangeOptions['onEvent']): (event: ChangeEvent) => Promise<void> {
  const style = styleOf(context)
  return async (event) => {
    if (event.phase === 'done') context.out(stepLines(event.step, style.good(' ok '), style))
    if (event.phase === 'undone') context.out(stepLines(event.step, style.warn(' <- '), style))
    await own?.(event)
  }
}

async function make(context: CliContext, planned: Plan, flags: ChangeFlags): Promise<void> {
  const { out, err } = context
  const options = optionsOf(context)
  const quiet = flags.json === true
  const { refusals, warnings, steps, unseen = [] } = planned
  const tell = (told: Omit<ChangeOutput, 'schema'>): void => {
    const output: ChangeOutput = { schema: 'vfio-change/1', ...told }
    out(json(output))
  }
  if (flags.dryRun === true) {
    out(quiet ? json(planned satisfies PlanOutput) : planText(planned, styleOf(context)))
    if (refusals.length > 0) throw new CliError('the change would be refused', STATUS.refused)
    return
  }
  context.commit?.()
  if (refusals.length > 0) {
    if (quiet) tell({ outcome: 'refused', id: null, plan: planned, seen: [] })
    else err(planText(planned, styleOf(context)))
    throw new CliError('refused; nothing was changed', STATUS.refused)
  }
  if (unseen.length > 0 && flags.force !== true) {
    if (quiet) tell({ outcome: 'refused', id: null, plan: planned, seen: [] })
    else err(planText(planned, styleOf(context)))
    throw new CliError(
      'some possible uses of the device could not be examined; --force continues anyway; nothing was changed',
      STATUS.refused,
    )
  }
  if (warnings.length > 0 && flags.yes !== true) {
    err(planText(planned, styleOf(context)))
    if (quiet || !process.stdin.isTTY)
      throw new CliError('there are warnings; --yes confirms them; nothing was changed', STATUS.unconfirmed)
    if (!(await confirmed())) throw new CliError('nothing was changed', STATUS.unconfirmed)
  }
  if (!quiet) {
    tellInterrupted(context, options)
    out(`${planned.summary}\n`)
    for (const note of planned.notes) out(`note     ${note}\n`)
    if (steps.length === 0) out('nothing to do: already done\n')
  }
  try {
    const done = await interruptible(context, (signal) =>
      apply(planned, {
        ...options,
        force: flags.force === true,
        signal,
        ...(quiet ? {} : { onEvent: progress(context, options.onEvent) }),
      }),
    )
    if (quiet) tell({ outcome: 'applied', ...done })
    else if (steps.some((step, index) => step.new === ANY && done.seen[index] === null))
      out('no host driver took it: it has no driver\n')
    if (!quiet && done.id !== null) out(`done; to undo it: vfio undo ${done.id}\n`)
  } catch (error) {
    if (quiet) {
      const outcome = error instanceof ChangeError ? error.outcome : 'refused'
      const id = error instanceof ChangeError && error.outcome === 'left' ? error.id : null
      tell({ outcome, id, plan: planned, seen: [] })
    }
    throw failure(error)
  }
}

/** What was cut short is named before anything else is done, whatever device it was about. */
function tellInterrupted({ err }: CliContext, options: ChangeOptions): void {
  const { own, damaged } = listJournals(options)
  for (const { id, state, plan: cut } of own)
    if (state === 'interrupted') err(`an earlier change was interrupted (${cut.summary}): vfio undo ${id}\n`)
  for (const { path, why } of damaged)
    err(`the journal of an earlier change is damaged (${why}); what it changed is unknown: see ${path}\n`)
}

/** `vfio bind`, `unbind`, `sriov set`, ...: plans and, unless it is a dry run, makes. */
export async function change(context: CliContext, asked: HostChange, flags: ChangeFlags): Promise<void> {
  await make(
    context,
    given(() => plan(asked, optionsOf(context))),
    flags,
  )
}

/** `vfio apply`. */
export async function applyFile(context: CliContext, file: string, flags: ChangeFlags): Promise<void> {
  let planned: Plan
  try {
    planned = JSON.parse(readFileSync(file === '-' ? 0 : file, 'utf8')) as Plan
  } catch (error) {
    throw new CliError(`${file} is not a plan: ${error instanceof Error ? error.message : String(error)}`)
  }
  // What the file says besides is not believed: the change is planned anew, and has to give the same steps.
  const now = given(() => {
    object(planned, file)
    array(planned.steps, `${file}: steps`)
    return plan(planned.change, optionsOf(context))
  })
  await make(context, { ...now, steps: planned.steps, bootId: planned.bootId }, flags)
}

/** `vfio undo`. */
export async function undoChange(
  context: CliContext,
  id: number | undefined,
  flags: UndoFlags,
): Promise<void> {
  const { out } = context
  const options = optionsOf(context)
  const quiet = flags.json === true
  if (flags.list === true) {
    const { own: changes, elsewhere, damaged } = listJournals(options)
    const output: ChangesOutput = { schema: 'vfio-changes/1', changes, elsewhere, damaged }
    out(quiet ? json(output) : changesText({ own: changes, elsewhere, damaged }))
    return
  }
  context.commit?.()
  const deaf = context.onInterrupt(() => context.err('undoing; a second signal stops that\n'))
  try {
    const { entry, rebooted } = await undo(id, {
      ...options,
      force: flags.force === true,
      ...(quiet ? {} : { onEvent: progress(context, options.onEvent) }),
    })
    const output: UndoOutput = { schema: 'vfio-undo/1', id: entry.id, rebooted, plan: entry.plan }
    if (quiet) out(json(output))
    else out(`undone: ${entry.plan.summary}${rebooted ? ' (the host was rebooted since)' : ''}\n`)
  } catch (error) {
    throw failure(error)
  } finally {
    deaf()
  }
}
