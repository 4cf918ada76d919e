// What a broker tells of: its clients, and all that they do to the device. Types, and one helper.
import type { PciIrqName } from '../../device/names.js'

/** How an access ended: at the device, as the policy had it, or (`unanswered`) with a device that did not take it. */
export type AccessOutcome = 'done' | 'altered' | 'replaced' | 'denied' | 'unanswered'

/** An access of a client's, done. */
export interface AccessEvent {
  readonly what: 'read' | 'write'
  /** `config`, `bar0` to `bar5`, or `rom`. */
  readonly space: string
  readonly offset: number
  readonly size: number
  /** What the client read (all ones for `unanswered`), or wanted to write; null for a read that was denied. */
  readonly value: bigint | null
  readonly outcome: AccessOutcome
}

/** Something else that happened at a broker. */
export type BrokerEvent =
  | { readonly what: 'connected' }
  | { readonly what: 'gone' }
  | {
      readonly what: 'interrupts'
      readonly irq: PciIrqName
      readonly action: 'assign' | 'off' | 'mask' | 'unmask' | 'unmask-eventfd' | 'trigger'
      /** The first vector, and how many; of `assign`, those that got an eventfd are `given`. */
      readonly start: number
      readonly count: number
      readonly given: number
    }
  | {
      readonly what: 'map'
      readonly iova: bigint
      readonly size: bigint
      /** What the device may do there. Neither, for memory that came without a file. */
      readonly read: boolean
      readonly write: boolean
    }
  | { readonly what: 'unmap'; readonly iova: bigint; readonly size: bigint }
  | { readonly what: 'reset'; readonly by: 'client' | 'broker' }
  /** No client is served any more, and why. */
  | { readonly what: 'refusing'; readonly error: Error }
  /** The kernel wants the device back. It is closed next. */
  | { readonly what: 'requested' }
  /** The bus reports an uncorrectable error of the device. */
  | { readonly what: 'bus-error' }

/** Takes an event. */
export type Tell<Event = BrokerEvent> = (event: Event) => void

/** What a handler throws itself is an uncaught exception, and no matter of the client's. */
export function teller<Event>(onEvent: (event: Event) => unknown): Tell<Event> {
  return (event) => {
    try {
      onEvent(event)
    } catch (thrown) {
      queueMicrotask(() => {
        throw thrown
      })
    }
  }
}
