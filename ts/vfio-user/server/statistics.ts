// What a server has done so far, in numbers; and to whom errors are told that nobody waits for.

/** Figures since a server was made. */
export interface ServerStatistics {
  /** Clients that have connected, and said something. */
  clients: number
  /** Who connected and said nothing in time. */
  silent: number
  /** Messages that came. */
  messages: number
  /** Reads and writes of registers. */
  reads: number
  writes: number
  /** Accesses beyond a region: all ones were read, nothing was written. */
  beyond: number
  /** Commands that were answered with an error. */
  refused: number
  /** Exceptions of handlers. */
  failed: number
  /** Answers that came later than the deadline, and were given without the handler. */
  late: number
  /** Interrupts signalled. */
  signals: number
  /** Bytes that went by DMA messages. */
  dmaRead: number
  dmaWritten: number
}

export function newStatistics(): ServerStatistics {
  return {
    clients: 0,
    silent: 0,
    messages: 0,
    reads: 0,
    writes: 0,
    beyond: 0,
    refused: 0,
    failed: 0,
    late: 0,
    signals: 0,
    dmaRead: 0,
    dmaWritten: 0,
  }
}

/** Is told of what went wrong: an exception of a handler, an answer that was late, a client that broke the protocol. */
export type ErrorHandler = (error: Error) => unknown

const MOST_WARNINGS = 10

/**
 * Tells a handler, or without one the process by a warning; of those only the first ten, since a guest can cause them at will.
 * What a handler throws itself is an uncaught exception.
 */
export function reporter(name: string, onError: ErrorHandler | undefined): ErrorHandler {
  let warnings = 0
  return (error) => {
    if (onError !== undefined) {
      try {
        onError(error)
      } catch (thrown) {
        queueMicrotask(() => {
          throw thrown
        })
      }
      return
    }
    if (warnings >= MOST_WARNINGS) return
    warnings++
    const more = warnings === MOST_WARNINGS ? ' (no more of these are shown: give an onError)' : ''
    process.emitWarning(`${name}: ${error.message}${more}`, { type: 'VfioUserWarning' })
  }
}

/** Whatever was thrown, as an error. */
export function errorOf(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown), { cause: thrown })
}
