// Runs the guest that drives an edu device which is passed through: its registers are mapped into the guest, its interrupts
// reach the guest through the kernel, and user space has no part in a round. KVM's own counters of exits say so.
import { EventFd, wireDoorbell, wireMsi } from 'node-vfio'
import { CONTROL_LENGTH, CONTROL_PORT, ControlPort } from './control.js'
import { type EduPlace, eduGuest } from './guest/edu.js'
import { DOORBELLS, PROGRAM, VECTOR } from './guest/runtime.js'
import { type ExitCounts, interruptMessage, type Machine } from './machine.js'
import { Mailbox } from './mailbox.js'
import { watch } from './watchdog.js'

const STALLED_SECONDS = 60

export interface EduCounts {
  /** Times that the guest made the device interrupt, and interrupts that it took. */
  raised: number
  taken: number
  /** Exits to the VMM while that went on. */
  exits: ExitCounts
  seconds: number
}

/**
 * Lets the guest have `rounds` interrupts from the device, one at a time.
 * @throws Error when one was lost, the guest failed, or the VMM took part
 */
export async function runEduLoop(machine: Machine, place: EduPlace, rounds: number): Promise<EduCounts> {
  const { vm, poller, memory } = machine
  const { image, entry } = eduGuest(place)
  machine.load(PROGRAM, image)
  const mailbox = new Mailbox(memory, 0)
  mailbox.set('rounds', rounds)

  let [before, started] = [machine.exits, 0]
  let result: Pick<EduCounts, 'exits' | 'seconds'> | undefined
  const wake = new EventFd()
  const finished = (): void => {
    const { io, mmio } = machine.exits
    const exits = { io: io - before.io, mmio: mmio - before.mmio }
    result = { exits, seconds: (performance.now() - started) / 1000 }
    mailbox.set('stop', 1)
    wake.signal()
  }
  const wires = [
    wireMsi(vm, wake, interruptMessage(0, VECTOR.wake)),
    wireDoorbell(vm, { mmio: BigInt(DOORBELLS), length: 4 }, { handler: finished, poller }),
  ]
  const control = new ControlPort({
    // The guest waits in this very exit: what is counted from here on is the loop's.
    ready: () => {
      before = machine.exits
      started = performance.now()
    },
    done: () => {
      machine.stop()
    },
  })
  machine.bus.attachPorts(CONTROL_PORT, CONTROL_LENGTH, control)
  const stopWatching = watch(
    // Its exits too, by which it gets ready.
    () => mailbox.get('interrupts') + machine.exits.io,
    STALLED_SECONDS,
    () => {
      machine.stop()
    },
  )
  try {
    const { reason, detail } = await machine.run({ entry, registers: {} })
    const [raised, taken] = [mailbox.get('doorbells'), mailbox.get('interrupts')]
    if (reason !== 'stopped' || result === undefined || raised !== rounds || taken !== rounds) {
      throw new Error(
        `the guest ${reason} (${detail}): ${raised} interrupts raised, ${taken} taken, of ${rounds}; ${machine.where}`,
      )
    }
    const { exits } = result
    if (exits.io !== 0 || exits.mmio !== 0) {
      throw new Error(`the VMM took part: KVM counted ${exits.io} port and ${exits.mmio} memory exits`)
    }
    return { raised, taken, ...result }
  } finally {
    stopWatching()
    for (const wire of wires) wire.close()
    wake.close()
  }
}
