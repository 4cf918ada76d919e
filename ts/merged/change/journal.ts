// What was changed, on the disk before it is done: a file per change, to which a line is added before and after each write.
// It must not know how a change is made or taken back.

import { closeSync, fsyncSync, openSync, readdirSync, readFileSync, rmSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { string } from '../../validate.js'
import { checkChangeOptions } from './check-options.js'
import { explained, syncFolder } from './files.js'
import type { ChangeOptions, Plan } from './types.js'

/** A step that was begun. */
export interface BegunStep {
  readonly index: number
  /** What was seen after it; undefined if it was not seen to end. */
  readonly seen: string | null | undefined
}

/** A change that was begun and not taken back. */
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
  readonly plan: Plan
  readonly begun: readonly BegunStep[]
  /** Where the journal is. */
  readonly path: string
}

type Line =
  | { readonly line: 'plan'; readonly time: string; readonly plan: Plan }
  | { readonly line: 'begin'; readonly index: number }
  | { readonly line: 'seen'; readonly index: number; readonly value: string | null }
  | { readonly line: 'taken-back'; readonly index: number }
  | { readonly line: 'applied' }

const PATTERN = /^(\d+)\.journal$/

export function stateRoot(options: ChangeOptions): string {
  return string(options.stateRoot ?? '/var/lib/node-vfio', 'options.stateRoot')
}

/** The journal of the change that is under way. */
export class Journal {
  readonly id: number
  readonly path: string
  readonly #folder: string
  readonly #fd: number

  private constructor(folder: string, id: number, flags: string) {
    this.id = id
    this.#folder = folder
    this.path = join(folder, `${id}.journal`)
    this.#fd = openSync(this.path, flags, 0o600)
  }

  /** On the disk, plan and all, when this returns. */
  static begin(folder: string, id: number, plan: Plan): Journal {
    const journal = new Journal(folder, id, 'ax')
    journal.#add({ line: 'plan', time: new Date().toISOString(), plan })
    syncFolder(folder)
    return journal
  }

  static resume({ id }: JournalEntry, folder: string): Journal {
    return new Journal(folder, id, 'a')
  }

  #add(line: Line): void {
    // The end of the line before: a line that was cut off by a crash ends there.
    writeSync(this.#fd, `\n${JSON.stringify(line)}\n`)
    fsyncSync(this.#fd)
  }

  begin(index: number): void {
    this.#add({ line: 'begin', index })
  }

  seen(index: number, value: string | null): void {
    this.#add({ line: 'seen', index, value })
  }

  takenBack(index: number): void {
    this.#add({ line: 'taken-back', index })
  }

  applied(): void {
    this.#add({ line: 'applied' })
  }

  close(): void {
    closeSync(this.#fd)
  }

  /** There is nothing left to take back. */
  remove(): void {
    this.close()
    rmSync(this.path)
    syncFolder(this.#folder)
  }
}

function parse(text: string): Line[] {
  return text.split('\n').flatMap((line) => {
    if (line === '') return []
    try {
      return [JSON.parse(line) as Line]
    } catch {
      // Cut off by a crash while it was written; what it would have told had not begun.
      return []
    }
  })
}

function readEntry(folder: string, id: number): JournalEntry | null {
  const path = join(folder, `${id}.journal`)
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    // Taken back since the folder was listed.
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return null
    throw error
  }
  const lines = parse(text)
  const [first] = lines
  // Without a plan on the disk nothing was written to the host.
  if (first?.line !== 'plan') return null
  const begun = new Map<number, string | null | undefined>()
  let state: JournalEntry['state'] = 'interrupted'
  for (const line of lines) {
    if (line.line === 'begin') begun.set(line.index, undefined)
    else if (line.line === 'seen') begun.set(line.index, line.value)
    else if (line.line === 'applied') state = 'applied'
    else if (line.line === 'taken-back') {
      begun.delete(line.index)
      state = 'interrupted'
    }
  }
  const { plan, time } = first
  return { id, state, time, plan, path, begun: [...begun].map(([index, seen]) => ({ index, seen })) }
}

/**
 * Every change that can be taken back, the latest last.
 * @throws TypeError if an option is no text
 * @throws VfioError EACCES for who may not see them
 */
export function listChanges(options: ChangeOptions = {}): JournalEntry[] {
  checkChangeOptions(options)
  const folder = stateRoot(options)
  let names: string[]
  try {
    names = readdirSync(folder)
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return []
    throw explained(error, folder)
  }
  return names
    .map((name) => Number(PATTERN.exec(name)?.[1] ?? 0))
    .filter((id) => id > 0)
    .sort((a, b) => a - b)
    .map((id) => readEntry(folder, id))
    .filter((entry) => entry !== null)
}
