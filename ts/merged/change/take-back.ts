// Takes steps back, the last first. What is there decides, not what the journal hopes: a step that a crash cut short, or that
// was undone before the crash is found out by looking.

import type { HostIo } from '../../host/io.js'
import { ANY, type HostStep, type HostWrite, type Look, present } from '../../host/step.js'
import { clearTrace } from './disk.js'
import type { BegunStep } from './entries.js'
import { isOnDisk, lookAtDisk, removeEmptyFolder, writeToDisk } from './files.js'
import type { Journal } from './journal.js'
import type { ChangeEvent, ChangeOptions } from './types.js'

/** How long an effect may take to show after the write has returned: some drivers probe in a thread of the kernel's. */
const SETTLE = 2_000
const PAUSE = 20

/** What is there. */
export async function see(look: Look, io: HostIo): Promise<string | null> {
  return look.how === 'file' || look.how === 'folder' ? lookAtDisk(look) : present(await io.look(look))
}

/** What is there once it is what it should be, or is not for some time. */
export async function seeSettled(
  look: Look,
  wanted: (value: string | null) => boolean,
  io: HostIo,
): Promise<string | null> {
  const end = performance.now() + SETTLE
  for (;;) {
    const value = await see(look, io)
    if (wanted(value) || performance.now() > end) return value
    await new Promise((resolve) => setTimeout(resolve, PAUSE))
  }
}

export async function write(step: HostStep, what: HostWrite, io: HostIo): Promise<void> {
  if (isOnDisk(step)) writeToDisk(step.look.how, what)
  else await io.write(what.file, what.text ?? '')
}

const shown = (value: string | null): string => (value === null ? 'nothing' : JSON.stringify(value.trim()))

/** A step that could not be undone. */
export interface Leftover {
  readonly index: number
  readonly step: HostStep
  readonly why: string
  /** What the attempt threw, if it threw. */
  readonly error?: unknown
}

/** Gives what is in the way, or null once it is as it was. */
async function takeBackOne(step: HostStep, { seen }: BegunStep, io: HostIo): Promise<string | null> {
  if (step.look.how === 'file') clearTrace(step.look.path)
  const now = await see(step.look, io)
  if (now === step.old) return null
  const after = step.new === ANY ? (seen ?? now) : step.new
  // What was seen right after the write is its doing, whatever was planned.
  if (now !== after && now !== seen)
    return `${step.look.path} has ${shown(now)}, neither ${shown(step.old)} nor ${shown(after)}`
  await write(step, { ...step.undo, file: step.undo.file.replace('*', now ?? '') }, io)
  // The link is there again; what stands where it leads has nothing to do with it.
  if (step.undo.nature?.link !== undefined) return null
  const value = await seeSettled(step.look, (each) => each === step.old, io)
  return value === step.old ? null : `${step.look.path} has ${shown(value)}, and not ${shown(step.old)}`
}

export interface TakeBack {
  readonly steps: readonly HostStep[]
  readonly begun: readonly BegunStep[]
  readonly journal: Journal
  readonly io: HostIo
  readonly onEvent: ChangeOptions['onEvent']
  /** Skips a step that somebody else changed since, instead of stopping there. */
  readonly force: boolean
  /** Told of each folder that stays, as something else is in it by now. */
  readonly onKept?: (step: HostStep) => void
}

export interface TakenBack {
  readonly leftovers: readonly Leftover[]
  /** What `onEvent` threw, which ends nothing. */
  readonly thrown: readonly unknown[]
}

/** Takes one step back; gives why it is still there, or null. */
async function attempt(
  step: HostStep,
  begun: BegunStep,
  { io, onKept }: TakeBack,
): Promise<Pick<Leftover, 'why' | 'error'> | null> {
  try {
    if (step.look.how === 'folder') {
      if (!removeEmptyFolder(step.look.path)) onKept?.(step)
      return null
    }
    const why = await takeBackOne(step, begun, io)
    return why === null ? null : { why }
  } catch (error) {
    return { why: error instanceof Error ? error.message : String(error), error }
  }
}

/** Whether a step that is left keeps one before it: a write to the kernel stands on those before it, a folder on its files. */
function keeps({ step: left }: Leftover, step: HostStep): boolean {
  if (isOnDisk(left) !== isOnDisk(step)) return false
  return !isOnDisk(step) || step.look.how === 'folder'
}

/**
 * Takes back what can be, the last step first. Neither a listener nor a journal that fails keeps the host from being as it
 * was: without its lines, what is there tells the next undo as much.
 */
export async function takeBack(given: TakeBack): Promise<TakenBack> {
  const { steps, begun, journal, onEvent, force } = given
  const leftovers: Leftover[] = []
  const thrown: unknown[] = []
  for (const each of [...begun].sort((a, b) => b.index - a.index)) {
    const { index } = each
    const step = steps[index]
    if (step === undefined) continue
    if (!force && leftovers.some((left) => keeps(left, step))) continue
    const tell = async (phase: ChangeEvent['phase']): Promise<void> => {
      try {
        await onEvent?.({ phase, index, step })
      } catch (error) {
        thrown.push(error)
      }
    }
    await tell('before-undo')
    const left = await attempt(step, each, given)
    if (left !== null) {
      leftovers.push({ index, step, ...left })
      continue
    }
    await tell('after-undo')
    try {
      journal.takenBack(index)
    } catch {
      // A disk that is full or broken.
    }
    await tell('undone')
  }
  return { leftovers, thrown }
}
