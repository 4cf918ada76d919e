// The control port, through which the project's own guests tell the VMM how far they are.
import type { BusDevice } from './bus.js'
import { CONTROL, DONE, READY } from './guest/runtime.js'

export const CONTROL_PORT = BigInt(CONTROL)
export const CONTROL_LENGTH = 1

export class ControlPort implements BusDevice {
  readonly #onReady: (cpu: number) => void
  readonly #onDone: (cpu: number) => void

  constructor(on: { ready: (cpu: number) => void; done: (cpu: number) => void }) {
    this.#onReady = on.ready
    this.#onDone = on.done
  }

  read(): bigint {
    return 0n
  }

  write(_offset: number, _size: number, value: bigint, cpu: number): void {
    if (value === BigInt(READY)) this.#onReady(cpu)
    else if (value === BigInt(DONE)) this.#onDone(cpu)
  }
}
