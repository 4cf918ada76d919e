// A virtual processor as the main thread sees it: starts its Worker, answers what the Worker does not, ends it.
import { Worker } from 'node:worker_threads'
import type { SignalPoller } from 'node-vfio'
import type { IoExit, MmioExit, Vcpu, Vm } from 'node-vfio/kvm'
import { ExitServer, type OutputReceiver, type PcState, type VcpuEnd } from 'node-vfio/vmm'
import type { VcpuWorkerData } from './vcpu-worker.js'

export interface ProcessorOptions {
  vm: Vm
  /** The small devices' memory. */
  state: PcState
  output: OutputReceiver
  poller: SignalPoller
}

export class Processor {
  readonly vcpu: Vcpu
  readonly #options: ProcessorOptions
  readonly #channel = new ExitServer()

  constructor(vcpu: Vcpu, options: ProcessorOptions) {
    this.vcpu = vcpu
    this.#options = options
  }

  /** Starts it; `handle` answers its exits. Resolves when it has ended. */
  run(handle: (exit: IoExit | MmioExit) => void): Promise<VcpuEnd> {
    const { vm, state, output, poller } = this.#options
    // The vCPU may be closed before its Worker has gone.
    const { id } = this.vcpu
    poller.add(this.#channel.bell, () => {
      this.#channel.serve(handle)
    })
    const workerData: VcpuWorkerData = {
      vcpu: this.vcpu.share(),
      vm: vm.share(),
      channel: this.#channel.token(),
      state,
      output: output.token(),
    }
    const worker = new Worker(new URL('./vcpu-worker.js', import.meta.url), { workerData })
    return new Promise((resolve, reject) => {
      worker.once('message', resolve)
      worker.once('error', reject)
      worker.once('exit', (code) => {
        reject(new Error(`the Worker of processor ${id} ended with code ${code}`))
      })
    })
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
