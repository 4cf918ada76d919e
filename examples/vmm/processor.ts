// A virtual processor as the main thread sees it: starts its Worker, serves its accesses, ends it.
import { Worker } from 'node:worker_threads'
import type { SignalPoller } from 'node-vfio'
import type { Vcpu } from 'node-vfio/kvm'
import { type Access, ExitServer } from './exit-channel.js'
import type { VcpuEnd, VcpuWorkerData } from './vcpu-worker.js'

export class Processor {
  readonly id: number
  readonly vcpu: Vcpu
  readonly #channel = new ExitServer()
  #ended: Promise<VcpuEnd> | undefined

  constructor(id: number, vcpu: Vcpu) {
    this.id = id
    this.vcpu = vcpu
  }

  /** Starts it; `handle` carries out its accesses. Resolves when it has ended. */
  run(poller: SignalPoller, handle: (access: Access) => bigint): Promise<VcpuEnd> {
    poller.add(this.#channel.bell, () => {
      this.#channel.serve(handle)
    })
    const workerData: VcpuWorkerData = { vcpu: this.vcpu.share(), channel: this.#channel.token() }
    const worker = new Worker(new URL('./vcpu-worker.js', import.meta.url), { workerData })
    this.#ended = new Promise((resolve, reject) => {
      worker.once('message', resolve)
      worker.once('error', reject)
      worker.once('exit', (code) => {
        reject(new Error(`the Worker of processor ${this.id} ended with code ${code}`))
      })
    })
    return this.#ended
  }

  /** Makes it end, wherever it is. */
  stop(): void {
    this.#channel.stop()
    this.vcpu.kick()
  }

  close(): void {
    this.#channel.close()
    this.vcpu.close()
  }
}
