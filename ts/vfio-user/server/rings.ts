// Rings: the eventfds that a client's kernel signals in place of writes to doorbells. Made for one client, and gone with it.
import { EventFd } from '../../event/eventfd.js'
import type { IoFd } from '../protocol/io-fds.js'
import { type Bell, ioFdOf } from './doorbell.js'
import type { EventWatch } from './interrupts.js'
import type { BelledPart } from './region-kinds.js'

interface Given {
  readonly entries: readonly IoFd[]
  readonly eventfds: readonly EventFd[]
}

export class Rings {
  readonly #parts: readonly BelledPart[]
  readonly #watcher: EventWatch
  readonly #given = new Map<number, Given>()
  #forget: (() => void)[] = []

  constructor(parts: readonly BelledPart[], watcher: EventWatch) {
    this.#parts = parts
    this.#watcher = watcher
  }

  /** Whether a client has asked for any. */
  get given(): boolean {
    return this.#given.size > 0
  }

  /**
   * Those of a region, the same each time.
   * @param most descriptors that the client takes: for what is beyond, its writes come by message
   */
  of(region: number, most: number): { readonly entries: readonly IoFd[]; readonly fds: readonly number[] } {
    const given = this.#given.get(region) ?? this.#make(region, most)
    return { entries: given.entries, fds: given.eventfds.map(({ fd }) => fd) }
  }

  close(): void {
    for (const forget of this.#forget) forget()
    this.#forget = []
    for (const { eventfds } of this.#given.values()) for (const eventfd of eventfds) eventfd.close()
    this.#given.clear()
  }

  #make(region: number, most: number): Given {
    const bells = (this.#parts.find(({ index }) => index === region)?.bells ?? []).slice(0, most)
    const eventfds: EventFd[] = []
    if (bells.length === 0) return { entries: [], eventfds }
    this.#given.set(region, { entries: bells.map(ioFdOf), eventfds })
    for (const bell of bells) eventfds.push(this.#watched(bell))
    return { entries: bells.map(ioFdOf), eventfds }
  }

  #watched(bell: Bell): EventFd {
    const eventfd = new EventFd()
    this.#forget.push(this.#watcher.watch(eventfd, (count) => bell.onRing(count)))
    return eventfd
  }
}
