// The machine: memory, processors, interrupt controllers, buses, a serial port. What runs on it, and which further devices
// it has, is decided elsewhere.
import { EventFd, GuestMemory, SignalPoller } from 'node-vfio'
import { Kvm, type Vcpu, type Vm, withTopology } from 'node-vfio/kvm'
import { Bus } from './bus.js'
import type { Start } from './linux.js'
import { Processor } from './processor.js'
import { Serial, SERIAL_IRQ, SERIAL_LENGTH, SERIAL_PORT } from './serial.js'
import { startRegisters, startSpecialRegisters } from './start-state.js'
import type { VcpuEnd } from './vcpu-worker.js'

export interface MachineOptions {
  /** Bytes of memory, from address 0 on. */
  memory: number
  cpus: number
  /** Gets what the guest prints. */
  print: (text: string) => void
}

export interface ExitCounts {
  io: number
  mmio: number
}

export class Machine {
  readonly vm: Vm
  readonly bus = new Bus()
  readonly poller = new SignalPoller()
  readonly processors: readonly Processor[]
  readonly #memory: GuestMemory
  readonly #serialInterrupt = new EventFd()

  constructor({ memory, cpus, print }: MachineOptions) {
    const kvm = Kvm.open()
    this.vm = kvm.createVm({ irqchip: 'full', pit: true })
    this.#memory = GuestMemory.create(memory)
    this.vm.addMemory({ guestAddress: 0n, memory: this.#memory })
    const cpuid = kvm.supportedCpuid()
    this.processors = Array.from({ length: cpus }, (_, id) => {
      const vcpu = this.vm.createVcpu(id)
      vcpu.cpuid = withTopology(cpuid, { apicId: id, vcpus: cpus })
      return new Processor(id, vcpu)
    })
    kvm.close()
    this.vm.irqfd(this.#serialInterrupt, { gsi: SERIAL_IRQ })
    const serial = new Serial(print, () => {
      this.#serialInterrupt.signal()
    })
    this.bus.attach('port', SERIAL_PORT, SERIAL_LENGTH, serial)
  }

  /** The guest's memory, from address 0 on. */
  get memory(): Uint8Array<ArrayBuffer> {
    return new Uint8Array(this.#memory.buffer)
  }

  /** Puts bytes into the guest's memory. */
  load(address: number, bytes: Uint8Array): void {
    this.memory.set(bytes, address)
  }

  /** Runs the guest until a processor ends, or `stop()`; then all are ended. */
  async run(start: Start): Promise<VcpuEnd> {
    const ends = this.processors.map((each) => {
      // The others wait in the kernel until the first one starts them, as on a real machine.
      if (each.id === 0) prepare(each.vcpu, start)
      return each.run(this.poller, (access) => this.bus.access(access, each.id))
    })
    try {
      return await Promise.race(ends)
    } finally {
      this.stop()
      await Promise.allSettled(ends)
    }
  }

  /** Where each processor is, once it has ended: what a guest that got stuck is asked first. */
  get where(): string {
    return this.processors
      .map(({ id, vcpu }) => `processor ${id} at 0x${vcpu.registers.rip.toString(16)}`)
      .join(', ')
  }

  /** What KVM counted of all processors: exits for ports, and exits to user space for memory. */
  get exits(): ExitCounts {
    const counts = this.processors.map(({ vcpu }) => vcpu.stats())
    const sum = (name: string): number => counts.reduce((total, each) => total + Number(each[name] ?? 0n), 0)
    return { io: sum('io_exits'), mmio: sum('mmio_exits') }
  }

  stop(): void {
    for (const each of this.processors) each.stop()
  }

  close(): void {
    for (const each of this.processors) each.close()
    this.poller.close()
    this.vm.close()
    this.#serialInterrupt.close()
    this.#memory.close()
  }
}

/** The message that interrupts a processor: to the local APIC of this number, with a vector. */
export function interruptMessage(cpu: number, vector: number): { address: bigint; data: number } {
  return { address: 0xfee0_0000n | (BigInt(cpu) << 12n), data: vector }
}

/** Lets a processor start in 32-bit code. */
function prepare(vcpu: Vcpu, { entry, registers }: Start): void {
  vcpu.specialRegisters = startSpecialRegisters(vcpu.specialRegisters.cr0)
  vcpu.registers = { ...startRegisters(entry), ...registers }
}
