// Takes steps back, the last first. What is there decides, not what the journal hopes: a step that a crash cut short, or that
// was taken back before the crash, is told by looking.

import type { HostIo } from '../../host/io.js'
import { ANY, type HostStep, type HostWrite, type Look, present } from '../../host/step.js'
import { isOnDisk, lookAtDisk, writeToDisk } from './files.js'
import type { BegunStep, Journal } from './journal.js'
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

/** A step that could not be taken back. */
export interface Leftover {
  readonly index: number
  readonly step: HostStep
  readonly why: string
  /** What the attempt threw, if it threw. */
  readonly error?: unknown
}

async function takeBackOne(step: HostStep, { seen }: BegunStep, io: HostIo): Promise<string | null> {
  const now = await see(step.look, io)
  if (now === step.old) return null
  const after = step.new === ANY ? (seen ?? now) : step.new
  if (now !== after)
    return `${step.look.path} has ${shown(now)}, neither ${shown(step.old)} nor ${shown(after)}`
  await write(step, { ...step.undo, file: step.undo.file.replace('*', now ?? '') }, io)
  const value = await seeSettled(step.look, (each) => each === step.old, io)
  return value === step.old ? null : `${step.look.path} has ${shown(value)}, and not ${shown(step.old)}`
}

export interface TakeBack {
  readonly steps: readonly HostStep[]
  readonly begun: readonly BegunStep[]
  readonly journal: Journal
  readonly io: HostIo
  readonly onEvent: ChangeOptions['onEvent']
  /** Leaves a step alone that somebody else has changed since, instead of stopping there. */
  readonly force: boolean
}

/** Stops at the first step that cannot be taken back, as the ones before it stand on it. */
export async function takeBack({ steps, begun, journal, io, onEvent, force }: TakeBack): Promise<Leftover[]> {
  const leftovers: Leftover[] = []
  for (const each of [...begun].sort((a, b) => b.index - a.index)) {
    const { index } = each
    const step = steps[index]
    if (step === undefined) continue
    const tell = async (phase: ChangeEvent['phase']): Promise<void> => onEvent?.({ phase, index, step })
    await tell('before-undo')
    let why: string | null
    let error: unknown
    try {
      why = await takeBackOne(step, each, io)
    } catch (thrown) {
      error = thrown
      why = thrown instanceof Error ? thrown.message : String(thrown)
    }
    if (why !== null) {
      leftovers.push({ index, step, why, ...(error === undefined ? {} : { error }) })
      if (!force) return leftovers
      continue
    }
    await tell('after-undo')
    journal.takenBack(index)
    await tell('undone')
  }
  return leftovers
}
