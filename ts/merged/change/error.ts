// ChangeError: a change that was begun and could not be made.

import type { Leftover } from './take-back.js'

/** A change failed at one of its steps; it was undone, or could not be. */
export class ChangeError extends Error {
  override readonly name = 'ChangeError'
  /** `undone`: the host is as it was; `left`: it is not, see {@link leftovers}. */
  readonly outcome: 'undone' | 'left'
  /** The step that failed, an index of the plan's steps. */
  readonly index: number
  /** Steps that are still there. */
  readonly leftovers: readonly Leftover[]
  /** What `undo` takes, when something is left. */
  readonly id: number

  /** @internal */
  constructor(cause: unknown, id: number, index: number, leftovers: readonly Leftover[]) {
    const what = cause instanceof Error ? cause.message : String(cause)
    const rest =
      leftovers.length === 0
        ? 'The steps before it were undone.'
        : `Not everything could be undone: ${leftovers.map(({ why }) => why).join('; ')}. Fix that, then: vfio undo ${id}`
    super(`step ${index + 1}: ${what.endsWith('.') ? what : `${what}.`} ${rest}`, { cause })
    this.outcome = leftovers.length === 0 ? 'undone' : 'left'
    this.index = index
    this.leftovers = leftovers
    this.id = id
  }
}
