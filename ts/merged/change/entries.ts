// Reads the journals of a state folder: the changes of this host that can be undone, those of other hosts, and journals
// that cannot be read. A damaged one hides no other.

import { readdirSync, readFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { join } from 'node:path'
import type { HostStep } from '../../host/step.js'
import { readText } from '../../host/sysfs.js'
import { checkChangeOptions } from './check-options.js'
import { explained } from './disk.js'
import { type ChangeHost, journalPath, type Line, stateRoot } from './journal.js'
import { bootId } from './plan.js'
import type { ChangeOptions, Plan } from './types.js'

/** A step that was begun. */
export interface BegunStep {
  readonly index: number
  /** What was seen after it; undefined if it was not seen to end. */
  readonly seen: string | null | undefined
}

/** A change that was begun and not undone. */
export interface JournalEntry {
  /** What `undo` takes; later changes have greater numbers. */
  readonly id: number
  /**
   * `applied`: done; `interrupted`: its process ended, or could not take it back, before it was done. Whether one is under way
   * just now, only the lock tells.
   */
  readonly state: 'applied' | 'interrupted'
  /** When it was begun, as ISO 8601 has it. */
  readonly time: string
  /** Where it was made; null in a journal of an earlier version. */
  readonly host: ChangeHost | null
  readonly plan: Plan
  readonly begun: readonly BegunStep[]
  /** Folders of earlier changes that go with this one, as a file of this one is in them. */
  readonly inherited: readonly HostStep[]
  /** Where the journal is. */
  readonly path: string
}

/** A journal that does not tell what was changed. */
export interface DamagedJournal {
  readonly id: number
  readonly path: string
  readonly why: string
}

/** All that a state folder has, each in the order of its numbers. */
export interface Journals {
  /** Changes of this host. */
  readonly own: readonly JournalEntry[]
  /** Changes of other hosts with the same state folder: only they can undo them. */
  readonly elsewhere: readonly JournalEntry[]
  readonly damaged: readonly DamagedJournal[]
}

const PATTERN = /^(\d+)\.journal$/

/** The numbers of the journals among the names of a folder. */
export function journalNumbers(names: readonly string[]): number[] {
  return names
    .map((name) => Number(PATTERN.exec(name)?.[1] ?? 0))
    .filter((id) => id > 0)
    .sort((a, b) => a - b)
}

export function thisHost({ etcRoot = '/etc' }: ChangeOptions): ChangeHost {
  return { id: readText(join(etcRoot, 'machine-id')), name: hostname() }
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

const isText = (value: unknown): boolean => typeof value === 'string'
const isTextOrNull = (value: unknown): boolean => value === null || isText(value)

function isStep(value: unknown): value is HostStep {
  if (!isObject(value)) return false
  const { write, look, undo, old, new: after } = value
  return (
    [write, undo].every((each) => isObject(each) && isText(each.file) && isTextOrNull(each.text)) &&
    isObject(look) &&
    [look.how, look.path].every(isText) &&
    [old, after].every(isTextOrNull)
  )
}

function isPlan(value: unknown): value is Plan {
  if (!isObject(value)) return false
  const { change, summary, devices, steps, bootId: boot } = value
  return (
    isObject(change) &&
    isText(summary) &&
    isTextOrNull(boot) &&
    Array.isArray(devices) &&
    devices.every(isText) &&
    Array.isArray(steps) &&
    steps.every(isStep)
  )
}

const isIndex = (value: unknown): boolean => Number.isSafeInteger(value) && Number(value) >= 0

const CHECKS: Readonly<Record<string, (line: Record<string, unknown>) => boolean>> = {
  plan: ({ time, plan }) => isText(time) && isPlan(plan),
  begin: ({ index }) => isIndex(index),
  seen: ({ index, value }) => isIndex(index) && isTextOrNull(value),
  'taken-back': ({ index }) => isIndex(index),
  inherits: ({ step }) => isStep(step),
  applied: () => true,
}

/** A line; null for what was cut off by a crash while it was written (what it would have told had not begun), or damaged. */
function parse(text: string): Line | null {
  try {
    const line = JSON.parse(text) as unknown
    if (isObject(line) && CHECKS[String(line.line)]?.(line) === true) return line as unknown as Line
  } catch {
    // No JSON.
  }
  return null
}

/** @param whole whether no line is missing: where one is, a step before the last that was begun counts as begun */
function entryOf(id: number, path: string, lines: readonly Line[], whole: boolean): JournalEntry | null {
  const [first, ...rest] = lines
  if (first?.line !== 'plan') return null
  const begun = new Map<number, string | null | undefined>()
  const takenBack = new Set<number>()
  const inherited: HostStep[] = []
  let state: JournalEntry['state'] = 'interrupted'
  for (const line of rest) {
    if (line.line === 'begin') begun.set(line.index, undefined)
    else if (line.line === 'seen') begun.set(line.index, line.value)
    else if (line.line === 'applied') state = 'applied'
    else if (line.line === 'inherits') inherited.push(line.step)
    else if (line.line === 'taken-back') {
      begun.delete(line.index)
      takenBack.add(line.index)
      state = 'interrupted'
    }
  }
  const { plan, time, host = null } = first
  const steps = plan.steps.flatMap((_step, index): BegunStep[] => {
    const missing = !whole && !takenBack.has(index) && [...begun.keys()].some((each) => each > index)
    return begun.has(index) || missing ? [{ index, seen: begun.get(index) }] : []
  })
  return { id, state, time, host, plan, path, begun: steps, inherited }
}

const PLAN_LINE = '{"line":"plan"'

/** Null for a journal that tells of nothing: the process ended before it had written its plan, and thus before any step. */
function readEntry(folder: string, id: number): JournalEntry | DamagedJournal | null {
  const path = journalPath(folder, id)
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined
    // Taken back since the folder was listed.
    if (code === 'ENOENT') return null
    const reason = explained(error, path)
    if (code === 'EACCES' || code === 'EPERM') throw reason
    return { id, path, why: reason instanceof Error ? reason.message : String(reason) }
  }
  // Zeros are blocks that were never written.
  const written = text.split(/[\n\0]+/).filter((line) => line !== '')
  const lines = written.map(parse).filter((line) => line !== null)
  const entry = entryOf(id, path, lines, lines.length === written.length)
  if (entry !== null) return entry
  const [first = ''] = written
  const cut = first.startsWith(PLAN_LINE) || PLAN_LINE.startsWith(first)
  return cut && lines.length === 0 ? null : { id, path, why: 'its plan cannot be read' }
}

function isElsewhere({ host, plan }: JournalEntry, { id }: ChangeHost, boot: string | null): boolean {
  const theirs = host?.id ?? null
  if (theirs === null || id === null || theirs === id) return false
  // A machine may get its id after its first changes.
  return boot === null || plan.bootId !== boot
}

/**
 * Reads every journal.
 * @throws TypeError if an option is not a string
 * @throws VfioError EACCES for who may not see them
 */
export function listJournals(options: ChangeOptions = {}): Journals {
  checkChangeOptions(options)
  const folder = stateRoot(options)
  let names: string[]
  try {
    names = readdirSync(folder)
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT')
      return { own: [], elsewhere: [], damaged: [] }
    throw explained(error, folder)
  }
  const host = thisHost(options)
  const boot = bootId(options)
  const own: JournalEntry[] = []
  const elsewhere: JournalEntry[] = []
  const damaged: DamagedJournal[] = []
  for (const id of journalNumbers(names)) {
    const entry = readEntry(folder, id)
    if (entry === null) continue
    if ('why' in entry) damaged.push(entry)
    else if (isElsewhere(entry, host, boot)) elsewhere.push(entry)
    else own.push(entry)
  }
  return { own, elsewhere, damaged }
}

/**
 * Every change of this host that can be undone, the latest last.
 * @throws TypeError if an option is not a string
 * @throws VfioError EACCES for who may not see them
 */
export function listChanges(options: ChangeOptions = {}): JournalEntry[] {
  return [...listJournals(options).own]
}
