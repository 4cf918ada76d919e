// QEMU's monitor (QMP), for what a guest cannot do: plug devices, reset the machine, migrate it.
import { type Socket } from 'node:net'
import { createInterface } from 'node:readline'

interface Answer {
  QMP?: unknown
  event?: string
  return?: unknown
  error?: { desc: string }
}

export class Monitor {
  readonly #socket: Socket
  readonly #waiting: { resolve: (value: unknown) => void; reject: (error: Error) => void }[] = []
  readonly #events: string[] = []

  constructor(socket: Socket) {
    this.#socket = socket
    socket.on('error', () => undefined)
    socket.on('close', () => {
      for (const { reject } of this.#waiting.splice(0)) reject(new Error('QEMU went away'))
    })
    // A reset, as when QEMU is ended, closes it too. The reader of lines passes errors on.
    createInterface({ input: socket })
      .on('line', (line) => this.#take(JSON.parse(line) as Answer))
      .on('error', () => undefined)
  }

  #take(answer: Answer): void {
    if (answer.QMP !== undefined) return
    if (answer.event !== undefined) {
      this.#events.push(answer.event)
      return
    }
    const waiting = this.#waiting.shift()
    if (answer.error === undefined) waiting?.resolve(answer.return)
    else waiting?.reject(new Error(answer.error.desc))
  }

  ask(command: string, args: Record<string, unknown> = {}): Promise<unknown> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject })
      this.#socket.write(`${JSON.stringify({ execute: command, arguments: args })}\n`)
    })
  }

  greet(): Promise<unknown> {
    return this.ask('qmp_capabilities')
  }

  reset(): Promise<unknown> {
    return this.ask('system_reset')
  }

  /** The names of what happened, in order. */
  get events(): readonly string[] {
    return this.#events
  }
}
