// The asynchronous iteration of an EventFd: counts that arrive while the consumer is busy are added up, never dropped.
import { type SignalSource, environmentPollers } from './poller.js'

/** Iterates the counts of an eventfd until the loop is left or the eventfd is closed. */
export function eventsOf(eventfd: SignalSource): AsyncIterableIterator<number> {
  const poller = environmentPollers().waiting
  let waiting: ((result: IteratorResult<number>) => void)[] = []
  let collected = 0
  let done = false

  const finish = (): void => {
    if (done) return
    done = true
    forget()
    poller.remove(eventfd)
    for (const resolve of waiting) resolve({ done: true, value: undefined })
    waiting = []
  }
  poller.add(eventfd, (count) => {
    const resolve = waiting.shift()
    if (resolve === undefined) collected += count
    else resolve({ done: false, value: count })
  })
  // After add(), which refuses a second loop: that one must not end with the eventfd what the first one has.
  const forget = eventfd.beforeClose(finish)

  return {
    [Symbol.asyncIterator]() {
      return this
    },
    next() {
      if (collected > 0) {
        const value = collected
        collected = 0
        return Promise.resolve({ done: false, value })
      }
      if (done) return Promise.resolve({ done: true, value: undefined })
      return new Promise((resolve) => waiting.push(resolve))
    },
    return() {
      // What was taken and not consumed goes back for the next reader.
      const rest = collected
      collected = 0
      const open = !eventfd.closed
      finish()
      if (rest > 0 && open) eventfd.giveBack(rest)
      return Promise.resolve({ done: true, value: undefined })
    },
  }
}
