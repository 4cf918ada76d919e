// The guest that benchmarks and the stress test run: the same bytes and the same machine as in bench/baseline/guest.h.
import { once } from 'node:events'
import { mkdirSync, writeFileSync } from 'node:fs'
import { Worker } from 'node:worker_threads'

import { echoGuest } from '../../examples/vmm/guest/echo.js'
import { doorbellAddress, MAIL, mailboxAddress, PROGRAM, VECTOR } from '../../examples/vmm/guest/runtime.js'
import { type EventFd, GuestMemory } from '../../ts/index.js'
import { Kvm, type Vcpu, type Vm } from '../../ts/kvm/index.js'
import { prepareStart } from '../../ts/vmm/index.js'
import { ROOT } from '../limits.js'
import type { GuestWorkerData } from './worker.js'

const MEMORY = 1 << 20

const program = echoGuest({ cpus: 1 })

/** Where the C++ programs find the guest's bytes, and where these start. */
export function guestForLimits(): [file: string, entry: number] {
  const file = `${ROOT}build-bench/guest.bin`
  mkdirSync(`${ROOT}build-bench`, { recursive: true })
  writeFileSync(file, program.image)
  return [file, program.entry]
}

export class BenchGuest {
  readonly vm: Vm
  readonly vcpu: Vcpu
  readonly #memory: GuestMemory
  readonly #mailbox: Uint32Array
  readonly #exits = new BigInt64Array(new SharedArrayBuffer(8))
  #worker: Worker | undefined

  constructor() {
    const kvm = Kvm.open()
    this.vm = kvm.createVm({ irqchip: 'full' })
    kvm.close()
    this.#memory = GuestMemory.create(MEMORY)
    this.vm.addMemory({ guestAddress: 0n, memory: this.#memory })
    new Uint8Array(this.#memory.buffer).set(program.image, PROGRAM)
    this.#mailbox = new Uint32Array(this.#memory.buffer, mailboxAddress(0), Object.keys(MAIL).length)
    this.vcpu = this.vm.createVcpu(0)
    prepareStart(this.vcpu, { entry: program.entry, registers: {} })
  }

  /** A word of the mailbox. */
  get(field: keyof typeof MAIL): number {
    return Atomics.load(this.#mailbox, MAIL[field])
  }

  set(field: keyof typeof MAIL, value: number): void {
    Atomics.store(this.#mailbox, MAIL[field], value)
  }

  /** Each signal of the eventfd interrupts the guest, until what is returned is closed. */
  interruptBy(eventfd: EventFd): { close(): unknown } {
    const route = this.vm.routing.msi({ address: 0xfee0_0000n, data: VECTOR.event })
    const irqfd = this.vm.irqfd(eventfd, { gsi: route.gsi })
    return {
      close() {
        irqfd.close()
        route.close()
      },
    }
  }

  /** The guest's doorbell signals an eventfd: this one, or one that is made. */
  doorbell(eventfd?: EventFd): EventFd {
    const mmio = BigInt(doorbellAddress(0))
    return this.vm.ioeventfd({ mmio, length: 4, ...(eventfd === undefined ? {} : { eventfd }) })
  }

  /** Doorbells that came as exits to user space, because no eventfd was wired to them. */
  get doorbellExits(): number {
    return Number(Atomics.load(this.#exits, 0))
  }

  /** Starts the guest in a Worker, on a CPU if one is named, and waits until it takes interrupts. */
  async start(cpu?: number): Promise<void> {
    const workerData: GuestWorkerData = { vcpu: this.vcpu.share(), cpu, exits: this.#exits }
    this.#worker = new Worker(new URL('./worker.js', import.meta.url), { workerData })
    // A Worker that ends before its guest is ready would never say so.
    const ended = once(this.#worker, 'exit').then(() => {
      throw new Error('the Worker of the guest ended before it was ready')
    })
    ended.catch(() => undefined)
    await Promise.race([once(this.#worker, 'message'), ended])
  }

  async close(): Promise<void> {
    await this.#worker?.terminate()
    this.vcpu.close()
    this.vm.close()
    this.#memory.close()
  }
}
