// A small guest for the tests that wire devices to one: memory from address 0, one processor in a Worker, and programs of a
// few dozen instructions. An exit to user space that nobody expects ends it.
import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import type { Worker } from 'node:worker_threads'

import { type Assembler, dword } from '../../examples/vmm/guest/assembler.js'
import {
  DOORBELLS,
  type GuestProgram,
  PROGRAM,
  VECTOR,
  assembleGuest,
  endInterrupt,
  mail,
  MAIL,
  MAILBOXES,
  sleep,
} from '../../examples/vmm/guest/runtime.js'
import { GuestMemory } from '../../ts/index.js'
import { Kvm, type Vcpu, type Vm } from '../../ts/kvm/index.js'
import { ended, inWorker } from '../unit/support.js'
import { until } from './devices.js'

export { DOORBELLS } from '../../examples/vmm/guest/runtime.js'

// The rig's processor is AMD's; its kernel has KVM as a module.
if (!existsSync('/dev/kvm')) execFileSync('modprobe', ['kvm_amd'])

const MEMORY = 1 << 20
const RESERVED_FLAG = 2n
const PROTECTED_MODE = 1n

/** What the vCPU's thread does until it is told to stop; it says why it ended. */
const RUN = `
  const { Vcpu } = await import(new URL('./kvm/index.js', data.module))
  const vcpu = Vcpu.claim(data.vcpu)
  const stop = new Int32Array(data.stop)
  let exit
  do exit = vcpu.run()
  while (exit.reason === 'interrupted' && Atomics.load(stop, 0) === 0)
  port.postMessage(JSON.stringify(exit, (_, value) => (typeof value === 'bigint' ? Number(value) : value)))
  vcpu.close()`

/** Takes interrupts and rings the doorbell for each; `more` is what a handler does first. */
export function answering(prepare: (code: Assembler) => void, more: (code: Assembler) => void): GuestProgram {
  return assembleGuest(
    {
      main(code) {
        prepare(code)
        code.mov(mail('seen'), 1)
        code.label('loop')
        sleep(code).jmp('loop')
      },
      onEvent(code) {
        more(code)
        code.inc(mail('interrupts')).mov(dword(DOORBELLS), 'eax')
        endInterrupt(code)
      },
    },
    { cpus: 1 },
  )
}

export class Guest {
  readonly kvm = Kvm.open()
  readonly vm: Vm
  readonly memory = GuestMemory.create(MEMORY)
  readonly vcpu: Vcpu
  readonly #stop = new SharedArrayBuffer(4)
  #worker: Worker | undefined
  #exit: string | undefined

  constructor() {
    this.vm = this.kvm.createVm({ irqchip: 'full' })
    this.vm.addMemory({ guestAddress: 0n, memory: this.memory })
    this.vcpu = this.vm.createVcpu(0)
    this.vcpu.cpuid = this.kvm.supportedCpuid()
  }

  get bytes(): Uint8Array<ArrayBuffer> {
    return new Uint8Array(this.memory.buffer)
  }

  /** A number of the first processor's mailbox. */
  mail(name: keyof typeof MAIL): number {
    return new Uint32Array(this.memory.buffer, MAILBOXES)[MAIL[name]] ?? 0
  }

  set(name: keyof typeof MAIL, value: number): void {
    new Uint32Array(this.memory.buffer, MAILBOXES)[MAIL[name]] = value
  }

  /** The message that makes the guest take its event. */
  get event(): { address: bigint; data: number } {
    return { address: 0xfee0_0000n, data: VECTOR.event }
  }

  /** Exits to user space so far, as KVM counts them. */
  get exits(): { io: bigint; mmio: bigint } {
    const stats = this.vcpu.stats()
    return { io: stats.io_exits ?? -1n, mmio: stats.mmio_exits ?? -1n }
  }

  /** Starts a program in 32-bit code with flat segments, and interrupts off. */
  run({ image, entry }: GuestProgram): void {
    this.bytes.set(image, PROGRAM)
    const special = this.vcpu.specialRegisters
    const segment = {
      base: 0n,
      limit: 0xffff_ffff,
      present: true,
      s: true,
      db: true,
      g: true,
      dpl: 0,
      l: false,
      avl: false,
      unusable: false,
    }
    const code = { ...segment, selector: 8, type: 11 }
    const data = { ...segment, selector: 16, type: 3 }
    this.vcpu.specialRegisters = {
      ...special,
      cs: code,
      ds: data,
      es: data,
      fs: data,
      gs: data,
      ss: data,
      cr0: special.cr0 | PROTECTED_MODE,
    }
    this.vcpu.registers = { ...this.vcpu.registers, rip: BigInt(entry), rflags: RESERVED_FLAG }
    const module = new URL('../../ts/index.js', import.meta.url).href
    this.#worker = inWorker(RUN, { vcpu: this.vcpu.share(), stop: this.#stop, module })
    this.#worker.on('message', (exit: string) => (this.#exit = exit))
  }

  /** Waits until an `answering` guest is there: before, its interrupt controller is off and drops messages. */
  async ready(): Promise<void> {
    await until(() => this.mail('seen') === 1 || this.#exit !== undefined, 'the guest')
  }

  /** Why the processor is out of the guest; undefined while it runs. */
  get exit(): string | undefined {
    return this.#exit
  }

  /** Ends the processor and everything that hangs on the Vm. */
  async close(): Promise<void> {
    Atomics.store(new Int32Array(this.#stop), 0, 1)
    if (this.#worker !== undefined) {
      this.vcpu.kick()
      await ended(this.#worker)
    }
    this.vcpu.close()
    this.vm.close()
    this.kvm.close()
    this.memory.close()
  }
}
