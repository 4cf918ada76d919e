// The control port, through which the project's own guests tell the VMM how far they are.
import type { BusDevice, Width } from 'node-vfio/vmm'
import { CONTROL, DONE, READY } from './guest/runtime.js'

export const CONTROL_PORT = CONTROL
export const CONTROL_LENGTH = 1

export class ControlPort implements BusDevice {
  readonly #onReady: (cpu: number) => void
  readonly #onDone: (cpu: number) => void

  constructor(on: { ready: (cpu: number) => void; done: (cpu: number) => void }) {
    this.#onReady = on.ready
    this.#onDone = on.done
  }

  read(): number {
    return 0
  }

  write(_offset: number, _width: Width, value: number, cpu: number): void {
    if (value === READY) this.#onReady(cpu)
    else if (value === DONE) this.#onDone(cpu)
  }
}
