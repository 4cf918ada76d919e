// What was changed, on the disk before it is done: a file per change, to which a line is added before and after each write.
// Room for all of its lines is taken before the first step, so that a disk that fills up meanwhile stops neither the change
// nor its undoing. It must not know how a change is made or undone.

import { closeSync, fstatSync, fsyncSync, openSync, readSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { ANY, type HostStep } from '../../host/step.js'
import { string } from '../../validate.js'
import { onDisk, syncFolder, writeFully } from './disk.js'
import type { ChangeOptions, Plan } from './types.js'

/** The machine on which a change was made. */
export interface ChangeHost {
  /** `/etc/machine-id`; null where there is none. */
  readonly id: string | null
  readonly name: string
}

/** A line of a journal. Lines that are empty are the room that is left. */
export type Line =
  | { readonly line: 'plan'; readonly time: string; readonly host?: ChangeHost; readonly plan: Plan }
  | { readonly line: 'begin'; readonly index: number }
  | { readonly line: 'seen'; readonly index: number; readonly value: string | null }
  | { readonly line: 'taken-back'; readonly index: number }
  /** A folder that another change had made, and could not take away as a file of this one was in it. */
  | { readonly line: 'inherits'; readonly step: HostStep }
  | { readonly line: 'applied' }

export function stateRoot(options: ChangeOptions): string {
  return string(options.stateRoot ?? '/var/lib/node-vfio', 'options.stateRoot')
}

export const journalPath = (folder: string, id: number): string => join(folder, `${id}.journal`)

// The end of the line before: a line that was cut off by a crash ends there.
const bytesOf = (line: Line): Buffer => Buffer.from(`\n${JSON.stringify(line)}\n`)

const NEWLINE = 0x0a
/** More than a driver's name has, or whatever else the kernel decides. */
const DECIDED = 'x'.repeat(256)

/** What the lines of a change and of its undoing take. */
function room(steps: readonly HostStep[]): number {
  const lines = steps.flatMap(({ new: value }, index): Line[] => [
    { line: 'begin', index },
    { line: 'seen', index, value: value === ANY ? DECIDED : value },
    { line: 'taken-back', index },
  ])
  return [...lines, { line: 'applied' } as const].reduce((sum, line) => sum + bytesOf(line).length, 0)
}

/** Where the last line of a journal ends, before the room that is left. */
function endOf(fd: number): number {
  const bytes = Buffer.alloc(fstatSync(fd).size)
  for (let done = 0; done < bytes.length;) {
    const count = readSync(fd, bytes, done, bytes.length - done, done)
    if (count === 0) break
    done += count
  }
  let end = bytes.length
  while (end > 0 && bytes[end - 1] === NEWLINE) end--
  return end
}

/** The journal of the change that is under way. */
export class Journal {
  readonly path: string
  readonly #folder: string
  readonly #fd: number
  #closed = false
  /** What a write that failed has left after it is written over. */
  #end = 0

  private constructor(folder: string, id: number, flags: string) {
    this.#folder = folder
    this.path = journalPath(folder, id)
    this.#fd = onDisk(this.path, () => openSync(this.path, flags, 0o600))
  }

  /**
   * On the disk, plan and room and all, when this returns; nothing is, when it throws.
   * @throws VfioError ENOSPC if there is no room for it
   */
  static begin(folder: string, id: number, plan: Plan, host: ChangeHost): Journal {
    const journal = new Journal(folder, id, 'wx')
    try {
      const first = bytesOf({ line: 'plan', time: new Date().toISOString(), host, plan })
      const all = Buffer.concat([first, Buffer.alloc(room(plan.steps), NEWLINE)])
      onDisk(journal.path, () => {
        writeFully(journal.#fd, all, 0)
        fsyncSync(journal.#fd)
        syncFolder(folder)
      })
      journal.#end = first.length
      return journal
    } catch (error) {
      journal.close()
      rmSync(journal.path, { force: true })
      throw error
    }
  }

  static resume(id: number, folder: string): Journal {
    const journal = new Journal(folder, id, 'r+')
    journal.#end = onDisk(journal.path, () => endOf(journal.#fd))
    return journal
  }

  #add(line: Line): void {
    const bytes = bytesOf(line)
    onDisk(this.path, () => {
      writeFully(this.#fd, bytes, this.#end)
      this.#end += bytes.length
      fsyncSync(this.#fd)
    })
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

  inherits(step: HostStep): void {
    this.#add({ line: 'inherits', step })
  }

  applied(): void {
    this.#add({ line: 'applied' })
  }

  /** Also for one that is closed. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    closeSync(this.#fd)
  }

  /** There is nothing left to undo. */
  remove(): void {
    this.close()
    onDisk(this.path, () => {
      rmSync(this.path, { force: true })
      syncFolder(this.#folder)
    })
  }
}
