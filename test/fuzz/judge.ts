// Which errors may come out of a call, and what is noticed of those that may.
import { inspect } from 'node:util'

import { VfioError } from '../../ts/index.js'
import { ChangeError } from '../../ts/merged/index.js'
import type { Member } from './surface.js'

/** Something that must not be: ends the run. */
export class Finding extends Error {}

const ALLOWED = [TypeError, RangeError, VfioError]
/** What says that a change was begun, and what became of it: the documented fourth kind, and theirs alone. */
const CHANGES = new Set(['apply', 'undo'])

export function isAllowed(error: unknown): boolean {
  return ALLOWED.some((type) => error instanceof type)
}

/** The reason of the caller's own signal, which comes out as it was given. */
function isAbort(error: unknown): boolean {
  return error instanceof DOMException && error.name === 'AbortError'
}

/** V8's own words instead of a check's: allowed, but worth a look. */
const UNTIDY =
  /Cannot (read|mix|destructure|convert|set|perform)|is not a function|is not iterable|not an object|Receiver|a detached/

export class Judge {
  readonly outcomes = { returned: 0, refused: 0, vfio: 0, changes: 0 }
  readonly untidy = new Map<string, number>()
  /** What returned at least once. */
  readonly succeeded = new Set<string>()

  returned(member: Member): void {
    this.outcomes.returned++
    this.succeeded.add(member.name)
  }

  /** @throws Finding for an error that must not come out */
  threw(member: Member, error: unknown): void {
    if (error instanceof Finding) throw error
    if (CHANGES.has(member.name) && (error instanceof ChangeError || isAbort(error))) {
      this.outcomes.changes++
      return
    }
    if (!isAllowed(error)) throw new Finding(`${member.name} threw ${inspect(error).slice(0, 2000)}`)
    const { message } = error as Error
    if (error instanceof VfioError) this.outcomes.vfio++
    else this.outcomes.refused++
    // Of an object whose constructor never ran, there is nothing better to say.
    if (!UNTIDY.test(message) || /private member|Receiver must be an instance/.test(message)) return
    // Only now: a stack is text once it is asked for, and that takes longer than the call.
    const place = /\n\s+at (.*)\n?/.exec((error as Error).stack ?? '')?.[1] ?? ''
    // The fuzzer's own values, which throw such words themselves.
    if (place.includes('/test/fuzz/')) return
    const what = `${member.name}: ${message.slice(0, 80)} (${place.replace(/file:\S*\/(out|ts)\//, '')})`
    this.untidy.set(what, (this.untidy.get(what) ?? 0) + 1)
  }
}
