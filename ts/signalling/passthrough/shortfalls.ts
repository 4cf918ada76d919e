// Shortfalls: where the host could not follow what a guest asked for, and the guest saw what hardware would do. Counts each,
// and says it once: a guest can ask again as often as it likes.
import { VfioError } from '../../errors.js'

/** How often the host could not follow the guest, since the start. Each kind is also a process warning, once. */
export interface ShortfallCounters {
  /** A BAR that KVM did not take as memory where the guest put it: its accesses exit, and are forwarded. */
  unmappedBars: number
  /** MSI vectors that the host could not spare: the guest's share those that it could. */
  sharedVectors: number
  /** Vectors for which KVM's routing table has no room: user space delivers them. */
  relayedVectors: number
  /** Interrupts, one vector or all, that the guest turned on and that do not come: nothing was there to deliver them. */
  refusedInterrupts: number
}

export class Shortfalls {
  readonly counters: ShortfallCounters = {
    unmappedBars: 0,
    sharedVectors: 0,
    relayedVectors: 0,
    refusedInterrupts: 0,
  }
  readonly #device: string
  readonly #said = new Set<keyof ShortfallCounters>()

  /** @param device what warnings call it */
  constructor(device: string) {
    this.#device = device
  }

  count(kind: keyof ShortfallCounters, what: string, error: Error, times = 1): void {
    this.counters[kind] += times
    if (this.#said.has(kind)) return
    this.#said.add(kind)
    process.emitWarning(`${this.#device}: ${what}: ${error.message}`, {
      type: 'VfioPassthroughWarning',
      detail: `Said once; counters.${kind} of the pass-through goes on.`,
    })
  }
}

/**
 * Whether an error is the host's refusal, which a guest is to see as hardware would show it. Others are the program's, such as
 * the use of what it has closed.
 */
export function isRefusal(error: unknown): error is VfioError | RangeError {
  return (error instanceof VfioError && error.reason !== 'closed') || error instanceof RangeError
}
