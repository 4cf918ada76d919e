// The machine: memory, processors, interrupt controllers, buses, a PC's small devices, a PCI bus. What runs on it, and which further
// devices it has, is decided elsewhere.
import { GuestMemory, SignalPoller } from 'node-vfio'
import { firmwareMtrrs, type IoExit, Kvm, type MmioExit, type Vm, withTopology } from 'node-vfio/kvm'
import {
  acpiTables,
  Bus,
  CONFIG_PORT,
  CONFIG_PORTS,
  type GuestLayout,
  layOutGuest,
  OutputReceiver,
  Pc,
  PciHost,
  pcState,
  placeBars,
  prepareStart,
  type Start,
  type VcpuEnd,
} from 'node-vfio/vmm'
import { Processor } from './processor.js'

export interface MachineOptions {
  /** Bytes of memory. */
  memory: number
  cpus: number
  /** Gets what the guest prints. */
  print: (bytes: Uint8Array) => void
  onError?: (error: unknown) => void
}

export interface ExitCounts {
  io: number
  mmio: number
}

/** Answers an exit if it is its own. For devices that the guest can move about. */
export type Movable = (exit: IoExit | MmioExit) => boolean

export class Machine {
  readonly vm: Vm
  readonly layout: GuestLayout
  /** The devices of the main thread. Those of the processors' Workers come first. */
  readonly bus: Bus
  readonly pci: PciHost
  /** The serial port and the power button, from this thread. */
  readonly pc: Pc
  readonly poller = new SignalPoller()
  readonly processors: readonly Processor[]
  readonly movable: Movable[] = []
  readonly #memory: readonly GuestMemory[]
  readonly #output = new OutputReceiver()
  readonly #print: (bytes: Uint8Array) => void
  #end: VcpuEnd | undefined

  constructor({ memory, cpus, print, onError = () => undefined }: MachineOptions) {
    this.#print = print
    const kvm = Kvm.open()
    this.vm = kvm.createVm({ irqchip: 'full', pit: true })
    this.layout = layOutGuest(memory)
    this.#memory = this.layout.ram.map(({ start, size }) => {
      const piece = GuestMemory.create(Number(size))
      this.vm.addMemory({ guestAddress: start, memory: piece })
      return piece
    })
    this.bus = new Bus({ onError })
    const end = (reason: VcpuEnd['reason']) => (): void => {
      this.#endBy({ reason, detail: 'by the guest' })
    }
    this.pci = new PciHost({ reset: end('reset') })
    this.bus.attachPorts(CONFIG_PORT, CONFIG_PORTS, this.pci.ports)
    this.bus.attachMemory(this.layout.ecam.start, Number(this.layout.ecam.size), this.pci.ecam)
    const state = pcState()
    this.pc = new Pc(state, {
      transmit: (byte) => {
        print(Uint8Array.of(byte))
      },
      line: (gsi, level) => {
        this.vm.setIrqLine(gsi, level)
      },
      off: end('off'),
      reset: end('reset'),
    })
    this.poller.add(this.#output.bell, () => {
      print(this.#output.take())
    })
    const cpuid = kvm.supportedCpuid()
    this.processors = Array.from({ length: cpus }, (_, id) => {
      const vcpu = this.vm.createVcpu(id)
      vcpu.cpuid = withTopology(cpuid, { apicId: id, vcpus: cpus })
      // As firmware leaves them: memory is cached.
      vcpu.msrs.set(firmwareMtrrs())
      return new Processor(vcpu, { vm: this.vm, state, output: this.#output, poller: this.poller })
    })
    kvm.close()
  }

  /** The guest's memory, from address 0 on. */
  get memory(): Uint8Array<ArrayBuffer> {
    const [low] = this.#memory
    if (low === undefined) throw new Error('the machine has no memory')
    return new Uint8Array(low.buffer)
  }

  /** Puts bytes into the guest's memory. */
  load(address: number, bytes: Uint8Array): void {
    this.memory.set(bytes, address)
  }

  /** Does what firmware would: places the BARs, and leaves tables of ACPI. @returns where their root pointer is */
  setUp(): bigint {
    placeBars(this.pci.functions, this.layout)
    const apicIds = this.processors.map(({ vcpu }) => vcpu.id)
    const { address, bytes } = acpiTables({ layout: this.layout, apicIds })
    this.load(Number(address), bytes)
    return address
  }

  /** Runs the guest until a processor ends, or `stop()`; then all are ended. */
  async run(start: Start): Promise<VcpuEnd> {
    const ends = this.processors.map((each, cpu) => {
      // The others wait in the kernel until the first one starts them, as on a real machine.
      if (cpu === 0) prepareStart(each.vcpu, start)
      return each.run((exit) => {
        this.#answer(exit, cpu)
      })
    })
    try {
      const first = await Promise.race(ends)
      return this.#end ?? first
    } finally {
      this.stop()
      await Promise.allSettled(ends)
      this.#print(this.#output.take())
    }
  }

  /** Where each processor is, once it has ended: what a guest that got stuck is asked first. */
  get where(): string {
    return this.processors
      .map(({ vcpu }) => `processor ${vcpu.id} at 0x${vcpu.registers.rip.toString(16)}`)
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
    this.#output.close()
    for (const each of this.#memory) each.close()
  }

  #answer(exit: IoExit | MmioExit, cpu: number): void {
    if (this.bus.serve(exit, cpu)) return
    if (!this.movable.some((movable) => movable(exit))) Bus.answerNothing(exit)
  }

  #endBy(end: VcpuEnd): void {
    this.#end ??= end
    this.stop()
  }
}

/** The message that interrupts a processor: to the local APIC of this number, with a vector. */
export function interruptMessage(cpu: number, vector: number): { address: bigint; data: number } {
  return { address: 0xfee0_0000n | (BigInt(cpu) << 12n), data: vector }
}
