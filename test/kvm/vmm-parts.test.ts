// The parts of node-vfio/vmm on a real virtual machine: a guest that uses the small devices where its processor runs, and devices in the
// slots of its bus, driven by accesses as a guest makes them.
import { type ExecutionContext } from 'ava'

import { Assembler, dword } from '../../examples/vmm/guest/assembler.js'
import { GuestMemory, SignalPoller } from '../../ts/index.js'
import { type IoExit, Kvm, type MmioExit, type Vcpu, type Vm } from '../../ts/kvm/index.js'
import {
  Bus,
  CONFIG_PORT,
  CONFIG_PORTS,
  layOutGuest,
  lineOf,
  Pc,
  pcState,
  PciHost,
  placeBars,
  PluggedDevice,
  prepareStart,
  type VcpuEnd,
  VcpuLoop,
} from '../../ts/vmm/index.js'
import { UserDevice } from '../../ts/vfio-user/index.js'
import { type Accesses, accesses } from './accesses.js'
import { APIC, CODE, countingMachine, kvmTest, VECTOR } from './support.js'

const MEMORY = 4 << 20
const PROGRAM = 0x8000
const COUNTER = 0x2000

interface Small {
  vm: Vm
  vcpu: Vcpu
  memory: Uint8Array<ArrayBuffer>
}

function small(t: ExecutionContext): Small {
  const kvm = Kvm.open()
  const vm = kvm.createVm({ irqchip: 'full' })
  kvm.close()
  const memory = GuestMemory.create(MEMORY)
  vm.addMemory({ guestAddress: 0n, memory })
  const vcpu = vm.createVcpu(0)
  t.teardown(() => {
    vcpu.close()
    vm.close()
    memory.close()
  })
  return { vm, vcpu, memory: new Uint8Array(memory.buffer) }
}

interface Ran {
  end: VcpuEnd
  printed: string
  forwarded: (IoExit | MmioExit)[]
  counters: VcpuLoop['counters']
}

/** Runs a program with the small devices in its own thread. */
function runProgram(t: ExecutionContext, write: (code: Assembler) => void): Ran {
  const { vm, vcpu, memory } = small(t)
  const code = new Assembler(PROGRAM)
  write(code)
  memory.set(code.assemble(), PROGRAM)
  prepareStart(vcpu, { entry: PROGRAM, registers: {} })
  const bus = new Bus()
  const forwarded: (IoExit | MmioExit)[] = []
  const loop = new VcpuLoop(vcpu, {
    bus,
    channel: {
      stopped: false,
      ask: (exit) => {
        forwarded.push({ ...exit, data: exit.data.slice() })
        Bus.answerNothing(exit)
      },
    },
  })
  let printed = ''
  new Pc(pcState(), {
    transmit: (byte) => (printed += String.fromCharCode(byte)),
    line: (gsi, level) => {
      vm.setIrqLine(gsi, level)
    },
    off: () => {
      loop.end('off')
    },
    reset: () => {
      loop.end('reset')
    },
  }).attach(bus)
  const end = loop.run()
  return { end, printed, forwarded, counters: loop.counters }
}

function print(code: Assembler, text: string): void {
  code.mov('edx', 0x3f8)
  for (const character of text) code.mov('al', character.charCodeAt(0)).out('al')
}

kvmTest('a guest prints and turns its machine off, and the main thread has no part in it', (t) => {
  const { end, printed, forwarded, counters } = runProgram(t, (code) => {
    print(code, 'hello')
    // The upper byte of PM1a's control: type 5, and sleep.
    code.mov('edx', 0x605).mov('al', 0x34).out('al').op('hlt')
  })
  t.deepEqual(end, { reason: 'off', detail: 'by the guest' })
  t.is(printed, 'hello')
  t.deepEqual(forwarded, [])
  t.deepEqual(counters, { local: 6, forwarded: 0 })
})

kvmTest('a guest begins anew by the keyboard controller, or by the register of ACPI', (t) => {
  for (const [port, value] of [
    [0x64, 0xfe],
    [0x60c, 1],
  ] as const) {
    const { end } = runProgram(t, (code) => {
      code.mov('edx', port).mov('al', value).out('al').op('hlt')
    })
    t.is(end.reason, 'reset')
  }
})

kvmTest('what no device of the thread has goes to the main thread, and its answer to the guest', (t) => {
  const { end, printed, forwarded } = runProgram(t, (code) => {
    code.mov('edx', 0x80).mov('al', 7).out('al')
    // What nobody answers reads as all ones: printed as it is.
    code.in('al').mov('edx', 0x3f8).out('al')
    code.mov('edx', 0x64).mov('al', 0xfe).out('al').op('hlt')
  })
  t.is(end.reason, 'reset')
  t.is(printed, '\xff')
  t.deepEqual(
    forwarded.map((exit) => exit.reason === 'io' && [exit.port, exit.direction]),
    [
      [0x80, 'out'],
      [0x80, 'in'],
    ],
  )
  t.is(forwarded[0]?.data[0], 7)
})

// mov ecx, 0x174 (SYSENTER_CS); rdmsr; out 0x80, al; hlt
const READS_MSR = [0xb9, 0x74, 0x01, 0x00, 0x00, 0x0f, 0x32, 0xe6, 0x80, 0xf4]

kvmTest('an exit that was asked for is its asker’s; what he leaves gets what there is without it', (t) => {
  for (const served of [true, false]) {
    const { vm, vcpu, memory } = small(t)
    memory.set(READS_MSR, PROGRAM)
    prepareStart(vcpu, { entry: PROGRAM, registers: {} })
    vm.enableCapability('X86_USER_SPACE_MSR', [4n])
    vm.filterMsrs({ default: 'allow', ranges: [{ base: 0x174, bitmap: Uint8Array.of(0xfe) }] })
    const asked: string[] = []
    let written = -1
    const loop: VcpuLoop = new VcpuLoop(vcpu, {
      bus: new Bus(),
      channel: {
        stopped: false,
        ask: (exit) => {
          written = exit.data[0] ?? -1
          loop.end('off')
        },
      },
      others: (exit) => {
        asked.push(exit.reason)
        if (served && exit.reason === 'msr-read') exit.answer(0x41n)
        return served
      },
    })
    // #GP without a table of handlers is a triple fault.
    t.is(loop.run().reason, served ? 'off' : 'shutdown')
    t.deepEqual(asked, ['msr-read'])
    t.is(written, served ? 0x41 : -1)
  }
})

const SLOT = 5
const REGISTER = { id: 0, inverted: 4, source: 8, line: 12, bell: 16 } as const

interface Part {
  device: UserDevice
  rings: number
}

/** A device with a little of everything: registers, DMA, a pin, MSI-X, a doorbell. */
function part(): Part {
  let inverted = 0
  const made: Part = {
    rings: 0,
    device: new UserDevice({
      name: 'part',
      pci: { vendorId: 0x1234, deviceId: 0x11e8, classCode: 0xff0000 },
      regions: {
        bar0: {
          size: 0x1000,
          read: (offset) =>
            offset === REGISTER.id ? 0x0100_00ed : offset === REGISTER.inverted ? inverted : 0,
          write: (offset, _width, value) => {
            if (offset === REGISTER.inverted) inverted = ~value >>> 0
            // What the guest has there, plus one.
            if (offset === REGISTER.source) {
              const byte = new Uint8Array(1)
              made.device.dma.copyIn(BigInt(value), byte)
              made.device.dma.copyOut(BigInt(value), Uint8Array.of((byte[0] ?? 0) + 1))
            }
            if (offset === REGISTER.line) {
              if (value === 0) made.device.lower()
              else made.device.raise('intx')
            }
          },
          doorbells: [{ offset: REGISTER.bell, onRing: (count) => (made.rings += count) }],
        },
      },
      irqs: { intx: true, msix: 2 },
    }),
  }
  return made
}

interface Plugged {
  bus: Bus
  pci: PciHost
  poller: SignalPoller
  plugged: PluggedDevice
  errors: unknown[]
  reach: Accesses
}

function plug(t: ExecutionContext, vm: Vm, device: UserDevice): Plugged {
  const layout = layOutGuest(MEMORY)
  const errors: unknown[] = []
  const onError = (error: unknown): void => void errors.push(error)
  const bus = new Bus({ onError })
  const pci = new PciHost()
  bus.attachPorts(CONFIG_PORT, CONFIG_PORTS, pci.ports)
  bus.attachMemory(layout.ecam.start, Number(layout.ecam.size), pci.ecam)
  const poller = new SignalPoller()
  const plugged = new PluggedDevice(vm, bus, device, { gsi: lineOf(SLOT, 1), poller, onError })
  pci.plug(SLOT, plugged)
  placeBars(pci.functions, layout)
  t.teardown(() => {
    plugged.close()
    poller.close()
  })
  return { bus, pci, poller, plugged, errors, reach: accesses(bus, layout.ecam.start) }
}

kvmTest('a device in a slot: found by ports and memory, its registers where the BAR is', (t) => {
  const { vm } = small(t)
  const { errors, plugged, reach } = plug(t, vm, part().device)
  reach.port(0xcf8, 4, (0x8000_0000 | (SLOT << 11)) >>> 0)
  t.is(reach.port(0xcfc, 4), 0x11e8_1234)
  t.is(reach.config(SLOT, 0, 4), 0x11e8_1234)
  t.is(reach.config(SLOT, 0x100, 4), 0xffff_ffff)
  t.is(reach.bar(SLOT, 0, REGISTER.id, 4), 0x0100_00ed)
  reach.bar(SLOT, 0, REGISTER.inverted, 4, 0x1234_5678)
  t.is(reach.bar(SLOT, 0, REGISTER.inverted, 4), 0xedcb_a987)
  // Elsewhere, and nowhere.
  const old = BigInt(reach.config(SLOT, 0x10, 4))
  reach.config(SLOT, 0x10, 4, 0xd000_0000)
  t.is(reach.memory(0xd000_0000n, 4), 0x0100_00ed)
  t.is(reach.memory(old, 4), 0xffff_ffff)
  reach.config(SLOT, 4, 2, 0)
  t.is(reach.memory(0xd000_0000n, 4), 0xffff_ffff)
  t.is(reach.config(SLOT, 0x3c, 1), lineOf(SLOT, 1))
  t.deepEqual(errors, [])
  plugged.close()
  t.is(reach.config(SLOT, 0, 4), 0xffff_ffff)
})

kvmTest('a device over another one, or over the bus itself, is not reached, and comes back', (t) => {
  const { vm } = small(t)
  const { errors, reach } = plug(t, vm, part().device)
  reach.config(SLOT, 0x10, 4, 0xe000_0000)
  t.is(reach.config(SLOT, 0, 4), 0x11e8_1234, 'the configuration space is where it was')
  reach.config(SLOT, 0x10, 4, 0xd000_0000)
  t.is(reach.memory(0xd000_0000n, 4), 0x0100_00ed)
  t.deepEqual(errors, [])
})

kvmTest("a device reaches the guest's memory, also what comes later, once it may", (t) => {
  const { vm, memory } = small(t)
  const { errors, reach } = plug(t, vm, part().device)
  memory[0x3000] = 7
  reach.bar(SLOT, 0, REGISTER.source, 4, 0x3000)
  t.is(memory[0x3000], 7, 'not the bus master yet')
  t.is(errors.length, 1)
  reach.config(SLOT, 4, 2, 6)
  reach.bar(SLOT, 0, REGISTER.source, 4, 0x3000)
  t.is(memory[0x3000], 8)
  const more = GuestMemory.create(0x1000)
  const slot = vm.addMemory({ guestAddress: 0x1000_0000n, memory: more })
  reach.bar(SLOT, 0, REGISTER.source, 4, 0x1000_0000)
  t.is(new Uint8Array(more.buffer)[0], 1)
  slot.close()
  reach.bar(SLOT, 0, REGISTER.source, 4, 0x1000_0000)
  t.is(new Uint8Array(more.buffer)[0], 1)
  more.close()
})

kvmTest(
  'a device whose handler unplugs it leaves nothing on the bus, and is not reset by who had it',
  (t) => {
    const { vm } = small(t)
    const bus = new Bus()
    const poller = new SignalPoller()
    const device = new UserDevice({
      name: 'leaving',
      pci: { vendorId: 0x1234, deviceId: 1, classCode: 0xff0000 },
      regions: { bar0: { size: 0x1000, doorbells: [{ offset: 0, onRing: () => undefined }] } },
      irqs: { intx: true },
      onCommand: () => {
        plugged.close()
      },
    })
    const plugged = new PluggedDevice(vm, bus, device, { gsi: 16, poller })
    plugged.writeConfig(0x10, 4, 0xd000_0000)
    plugged.writeConfig(4, 2, 2)
    t.true(plugged.closed)
    t.false(
      bus.serve({
        reason: 'mmio',
        address: 0xd000_0000n,
        length: 4,
        isWrite: false,
        data: new Uint8Array(4),
      }),
    )
    t.throws(
      () => {
        plugged.reset()
      },
      { code: 'EBADF' },
    )
    poller.close()
  },
)

kvmTest('a device belongs to one guest, and can be plugged in again', (t) => {
  const { vm } = small(t)
  const { device } = part()
  const bus = new Bus()
  const poller = new SignalPoller()
  const options = { gsi: 16, poller }
  const first = new PluggedDevice(vm, bus, device, options)
  t.true(device.connected)
  t.throws(() => new PluggedDevice(vm, bus, device, options), { code: 'EBUSY' })
  first.close()
  t.false(device.connected)
  const second = new PluggedDevice(vm, bus, device, options)
  second.close()
  poller.close()
})

// mov dword [0xf0], 0x1ff (the APIC on); mov dx, 0x501; out dx, al; sti; hlt; jmp hlt
const TELLS_FIRST = [
  ...[0x66, 0xc7, 0x06, 0xf0, 0x00, 0xff, 0x01, 0x00, 0x00],
  ...[0xba, 0x01, 0x05, 0xee, 0xfb, 0xf4, 0xeb, 0xfd],
]

kvmTest('MSI-X of a device in a slot interrupts the guest; masked, it is pending', (t) => {
  const machine = countingMachine()
  t.teardown(() => {
    machine[Symbol.dispose]()
  })
  const { vm, vcpu, view } = machine
  machine.bytes.set(TELLS_FIRST, CODE)
  t.is(vcpu.run().reason, 'io', 'its APIC is on')
  const { device } = part()
  const { errors, reach } = plug(t, vm, device)
  const { interrupts } = device.served
  // The capability, and the table that it names.
  let cap = reach.config(SLOT, 0x34, 1)
  while (reach.config(SLOT, cap, 1) !== 0x11) cap = reach.config(SLOT, cap + 1, 1)
  const table = reach.config(SLOT, cap + 4, 4)
  const entry = (vector: number, word: number, value: number): void => {
    reach.bar(SLOT, table & 7, (table & ~7) + 16 * vector + 4 * word, 4, value)
  }
  entry(1, 0, Number(APIC))
  entry(1, 1, 0)
  entry(1, 2, VECTOR)
  reach.config(SLOT, cap + 2, 2, 0x8000)
  t.false(interrupts.taken(2), 'masked, as after a reset')
  device.raise('msix', 1)
  entry(1, 3, 0)
  t.true(interrupts.taken(2))
  t.is(vcpu.run().reason, 'io')
  t.is(view.getUint16(COUNTER, true), 1, 'what was pending')
  device.raise('msix', 1)
  t.is(vcpu.run().reason, 'io')
  t.is(view.getUint16(COUNTER, true), 2)
  reach.config(SLOT, cap + 2, 2, 0xc000)
  t.false(interrupts.taken(2), 'the whole function is masked')
  reach.config(SLOT, cap + 2, 2, 0)
  t.is(device.interruptMode, 'intx')
  t.deepEqual(errors, [])
})

kvmTest('a doorbell that a guest rings reaches the device through the kernel', async (t) => {
  const made = part()
  const { vm, vcpu, memory } = small(t)
  const { reach } = plug(t, vm, made.device)
  const bell = (reach.config(SLOT, 0x10, 4) & ~15) + REGISTER.bell
  const code = new Assembler(PROGRAM)
  code.mov('eax', 1).mov(dword(bell), 'eax').mov(dword(bell), 'eax')
  code.mov('edx', 0x80).out('al')
  memory.set(code.assemble(), PROGRAM)
  prepareStart(vcpu, { entry: PROGRAM, registers: {} })
  const exit = vcpu.run()
  t.is(exit.reason, 'io', 'the doorbells were no exits')
  for (let i = 0; i < 200 && made.rings < 2; i++) await new Promise((resolve) => setTimeout(resolve, 5))
  t.is(made.rings, 2)
  reach.bar(SLOT, 0, REGISTER.bell, 4, 1)
  t.is(made.rings, 3, 'by the bus too')
})

kvmTest('a guest that writes anything anywhere throws nothing, and the device works afterwards', (t) => {
  const { vm, memory } = small(t)
  const { bus, errors, pci, reach } = plug(t, vm, part().device)
  const ignore = (): void => undefined
  new Pc(pcState(), { transmit: ignore, line: ignore, off: ignore, reset: ignore }).attach(bus)
  let seed = 20260601
  const random = (below: number): number => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0
    return Math.floor((seed / 2 ** 32) * below)
  }
  const of = <T>(choices: readonly T[], fallback: T): T => choices[random(choices.length)] ?? fallback
  for (let round = 0; round < 50_000; round++) {
    const width = of([1, 2, 4] as const, 4)
    const value = of([0, 0xffff_ffff, 0x8000_0000, 1, random(2 ** 32), random(2 ** 32)], 0)
    const given = random(4) === 0 ? undefined : value
    switch (random(4)) {
      case 0:
        reach.config(SLOT, random(256), width, given)
        break
      case 1:
        reach.bar(SLOT, of([0, 1], 0), random(0x1000), width, given)
        break
      case 2:
        reach.port(of([0xcf8, 0xcfc, 0x3f8, 0x70, 0x600, 0x64], 0) + random(8), width, given)
        break
      default:
        reach.memory(BigInt(random(2 ** 32)) << BigInt(random(33)), width, given)
    }
  }
  t.true(errors.length <= 2, errors.map(String).join())
  // As firmware would leave it: it works.
  placeBars(pci.functions, layOutGuest(MEMORY))
  reach.config(SLOT, 4, 2, 6)
  memory[0x3000] = 1
  reach.bar(SLOT, 0, REGISTER.source, 4, 0x3000)
  t.is(memory[0x3000], 2)
})
