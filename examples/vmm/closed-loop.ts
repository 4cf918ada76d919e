// Runs the guest that answers: an interrupt, the doorbell that answers it, the next interrupt, on each processor at once.
// Both sides count, and the counts must be equal.
import { EventFd, wireDoorbell, wireMsi } from 'node-vfio'
import { CONTROL_LENGTH, CONTROL_PORT, ControlPort } from './control.js'
import { echoGuest } from './guest/echo.js'
import { doorbellAddress, PROGRAM, VECTOR } from './guest/runtime.js'
import { interruptMessage, type Machine } from './machine.js'
import { Mailbox } from './mailbox.js'
import { watch } from './watchdog.js'

const STALLED_SECONDS = 60

/** What one processor and the VMM have counted of each other. */
export interface LoopCounts {
  cpu: number
  /** Interrupts that the VMM sent, and those that the guest took. */
  sent: number
  taken: number
  /** Doorbells that the guest rang, and those that the VMM heard. */
  rung: number
  heard: number
}

/** The VMM's side of one processor's loop. */
class Loop {
  readonly #cpu: number
  readonly #rounds: number
  readonly #mailbox: Mailbox
  readonly #interrupt = new EventFd()
  readonly #wake = new EventFd()
  readonly #wires: { close(): void }[]
  #sent = 0
  #heard = 0

  constructor({ vm, poller, memory }: Machine, cpu: number, rounds: number) {
    this.#cpu = cpu
    this.#rounds = rounds
    this.#mailbox = new Mailbox(memory, cpu)
    this.#mailbox.set('burst', 1)
    const handler = (count: number): void => {
      this.#heard += count
      if (this.#sent < rounds) this.next()
      else this.#finish()
    }
    this.#wires = [
      wireMsi(vm, this.#interrupt, interruptMessage(cpu, VECTOR.event)),
      wireMsi(vm, this.#wake, interruptMessage(cpu, VECTOR.wake)),
      wireDoorbell(vm, { mmio: BigInt(doorbellAddress(cpu)), length: 4 }, { handler, poller }),
    ]
  }

  get progress(): number {
    return this.#heard
  }

  get counts(): LoopCounts {
    const [taken, rung] = [this.#mailbox.get('interrupts'), this.#mailbox.get('doorbells')]
    return { cpu: this.#cpu, sent: this.#sent, taken, rung, heard: this.#heard }
  }

  /** Whether every interrupt was taken, and every doorbell heard. */
  get complete(): boolean {
    const { sent, taken, rung, heard } = this.counts
    return [sent, taken, rung, heard].every((count) => count === this.#rounds)
  }

  next(): void {
    this.#sent++
    this.#interrupt.signal()
  }

  /** The guest prints its counts and ends. */
  #finish(): void {
    this.#mailbox.set('stop', 1)
    this.#wake.signal()
  }

  close(): void {
    for (const wire of this.#wires) wire.close()
    this.#interrupt.close()
    this.#wake.close()
  }
}

/**
 * Runs the loop, `rounds` times on each processor.
 * @throws Error when something was lost, or the guest failed
 */
export async function runClosedLoop(machine: Machine, rounds: number): Promise<LoopCounts[]> {
  const cpus = machine.processors.length
  const { image, entry } = echoGuest({ cpus })
  machine.load(PROGRAM, image)
  const loops = machine.processors.map((_, cpu) => new Loop(machine, cpu, rounds))
  let running = cpus
  const control = new ControlPort({
    ready: (cpu) => loops[cpu]?.next(),
    done: () => {
      if (--running === 0) machine.stop()
    },
  })
  machine.bus.attachPorts(CONTROL_PORT, CONTROL_LENGTH, control)
  const stopWatching = watch(
    // Its exits too, by which it gets ready.
    () => loops.reduce((sum, { progress }) => sum + progress, machine.exits.io),
    STALLED_SECONDS,
    () => {
      machine.stop()
    },
  )
  try {
    const { reason, detail } = await machine.run({ entry, registers: {} })
    const counts = loops.map((loop) => loop.counts)
    if (reason === 'stopped' && loops.every(({ complete }) => complete)) return counts
    throw new Error(
      `the guest ${reason} (${detail}) with the counts ${JSON.stringify(counts)}; ${machine.where}`,
    )
  } finally {
    stopWatching()
    for (const loop of loops) loop.close()
  }
}
