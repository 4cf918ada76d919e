// A device passed through to a real machine, with a host that is short of everything and a guest that asks for it: what the
// guest sees is what hardware would show.
import { setTimeout as sleep } from 'node:timers/promises'

import { EventFd, GuestMemory, PciPassthrough, type PassthroughOptions } from '../../ts/index.js'
import { Kvm, type MsiRoute, type Vm } from '../../ts/kvm/index.js'
import { E1000E, EDU, GPU, NVME } from '../unit/pci/dump.js'
import { FakeDevice, type FakeOptions } from './fake-device.js'
import { COUNTER, DOORBELL, type Machine, MESSAGE, countingMachine, kvmTest, runInWorker } from './support.js'

const COMMAND = 4
const MEMORY = 2
const PAGE = 4096
const TWO_BARS = { 0: 0x4000, 1: 0x4000 }

interface Setting {
  vm: Vm
  fake: FakeDevice
  passthrough: PciPassthrough
}

async function withDevice(
  options: Omit<FakeOptions, 'vm'> & PassthroughOptions,
  use: (setting: Setting) => Promise<void> | void,
): Promise<void> {
  using kvm = Kvm.open()
  using vm = kvm.createVm()
  await withDeviceOf(vm, options, use)
}

async function withDeviceOf(
  vm: Vm,
  options: Omit<FakeOptions, 'vm'> & PassthroughOptions,
  use: (setting: Setting) => Promise<void> | void,
): Promise<void> {
  const fake = new FakeDevice({ ...options, vm })
  const passthrough = new PciPassthrough(vm, fake.device, options)
  try {
    await passthrough.start()
    await use({ vm, fake, passthrough })
  } finally {
    passthrough.close()
    fake.close()
  }
}

/** Warnings of the process about this, until the returned function is called. */
function warnings(about: RegExp): () => string[] {
  const heard: string[] = []
  const listener = (warning: Error): void => {
    if (warning.name === 'VfioPassthroughWarning' && about.test(warning.message)) heard.push(warning.message)
  }
  process.on('warning', listener)
  return () => {
    process.off('warning', listener)
    return heard
  }
}

/** The counters that tell of shortages; a version that has them not gives undefined. */
const counters = (passthrough: PciPassthrough): Record<string, number> => passthrough.counters

const slots = (vm: Vm): [bigint, string][] =>
  vm.memorySlots
    .filter(({ memory }) => !(memory instanceof GuestMemory))
    .map(({ guestAddress, memory }) => [guestAddress, (memory as unknown as { name: string }).name])

/** What a guest reads at an address through its memory. */
function guestReads(vm: Vm, address: bigint): string {
  const slot = vm.memorySlots.find(
    (each) => address >= each.guestAddress && address < each.guestAddress + BigInt(each.size),
  )
  return slot === undefined ? 'nothing' : (slot.memory as unknown as { name: string }).name
}

kvmTest(
  'two BARs that change places are both memory of the guest again, each with its own content',
  async (t) => {
    using machine = countingMachine()
    const { vm, vcpu, memory } = machine
    await withDeviceOf(vm, { dump: E1000E, bars: TWO_BARS }, ({ passthrough, fake }) => {
      const reads = (address: bigint): number => {
        // mov ax, [0]; out 0x10, ax; jmp to the out: it never runs away.
        new Uint8Array(memory.buffer).set([0xa1, 0x00, 0x00, 0xe7, 0x10, 0xeb, 0xfc], 0x3000)
        const { cs, ds } = vcpu.specialRegisters
        vcpu.specialRegisters = {
          cs: { ...cs, base: 0n, selector: 0 },
          ds: { ...ds, base: address },
        }
        vcpu.registers = { ...vcpu.registers, rip: 0x3000n, rflags: 2n }
        const exit = vcpu.run()
        if (exit.reason !== 'io') return -1
        return new DataView(exit.data.buffer, exit.data.byteOffset).getUint16(0, true)
      }
      for (const [index, value] of [
        [0, 0x1111],
        [1, 0x2222],
      ] as const)
        // prettier-ignore
        new DataView((fake.memory.get(index) as GuestMemory).buffer).setUint16(0, value, true)
      passthrough.setBar(0, 0xe000_0000n)
      passthrough.setBar(1, 0xe100_0000n)
      passthrough.writeConfig(COMMAND, 2, MEMORY)
      t.deepEqual([reads(0xe000_0000n), reads(0xe100_0000n)], [0x1111, 0x2222])
      passthrough.setBar(0, 0xe100_0000n)
      passthrough.setBar(1, 0xe000_0000n)
      t.deepEqual(slots(vm), [[0xe000_0000n, 'bar1'], [0xe100_0000n, 'bar0']]) // prettier-ignore
      t.deepEqual([reads(0xe000_0000n), reads(0xe100_0000n)], [0x2222, 0x1111])
    })
  },
)

kvmTest(
  'a doorbell that the device brings along rings in the kernel, where the guest has the BAR',
  async (t) => {
    using machine = countingMachine()
    const { vm, vcpu, memory } = machine
    using eventfd = new EventFd()
    const doorbells = { 0: [{ offset: 0x10, width: 4, match: 5n, eventfd }] }
    await withDeviceOf(vm, { dump: E1000E, bars: { 0: 256 }, doorbells }, ({ passthrough }) => {
      // mov dword [0x10], 5; mov dword [0x10], 6; out 0x10, ax: the value of each write that comes out.
      const code = [5, 6].flatMap((value) => [0x66, 0xc7, 0x06, 0x10, 0x00, value, 0x00, 0x00, 0x00])
      const written = (address: bigint): number[] => {
        new Uint8Array(memory.buffer).set([...code, 0xe7, 0x10], 0x3000)
        const { cs, ds } = vcpu.specialRegisters
        vcpu.specialRegisters = { cs: { ...cs, base: 0n, selector: 0 }, ds: { ...ds, base: address } }
        vcpu.registers = { ...vcpu.registers, rip: 0x3000n, rflags: 2n }
        const values: number[] = []
        for (let exit = vcpu.run(); exit.reason === 'mmio'; exit = vcpu.run()) values.push(exit.data[0] ?? 0)
        return values
      }
      const home = 0xe000_0000n
      passthrough.setBar(0, home)
      passthrough.writeConfig(COMMAND, 2, MEMORY)
      t.deepEqual(written(home), [6], 'the other value comes out')
      t.is(eventfd.read(), 1)
      const moved = 0xe200_0000n
      passthrough.setBar(0, moved)
      t.deepEqual(written(home), [5, 6], 'nothing rings where the BAR was')
      t.deepEqual(written(moved), [6])
      t.is(eventfd.read(), 1)
      passthrough.writeConfig(COMMAND, 2, 0)
      t.deepEqual(written(moved), [5, 6], 'nor while memory decoding is off')
      t.is(eventfd.read(), 0)
    })
    t.false(eventfd.closed, 'it stays the device’s')
  },
)

kvmTest('BARs that are moved onto each other and apart again are both memory again', async (t) => {
  await withDevice({ dump: E1000E, bars: TWO_BARS }, ({ vm, passthrough }) => {
    passthrough.setBar(0, 0xe000_0000n)
    passthrough.setBar(1, 0xe100_0000n)
    passthrough.writeConfig(COMMAND, 2, MEMORY)
    // Whichever stays: it leaves, and the other one is there.
    for (const [moved, stays] of [
      [0, 1],
      [1, 0],
    ] as const) {
      // prettier-ignore
      const home = BigInt(0xe000_0000 + moved * 0x100_0000)
      const other = BigInt(0xe000_0000 + stays * 0x100_0000)
      passthrough.setBar(moved, other)
      t.deepEqual(slots(vm), [[other, `bar${String(stays)}`]])
      passthrough.setBar(stays, 0xe200_0000n)
      t.deepEqual(slots(vm), [[other, `bar${String(moved)}`], [0xe200_0000n, `bar${String(stays)}`]]) // prettier-ignore
      passthrough.setBar(stays, other)
      passthrough.setBar(moved, home)
      t.deepEqual(slots(vm).map(([address]) => address), [0xe000_0000n, 0xe100_0000n]) // prettier-ignore
      passthrough.setBar(0, 0xe000_0000n)
      passthrough.setBar(1, 0xe100_0000n)
      t.is(guestReads(vm, 0xe000_0000n), 'bar0')
      t.is(guestReads(vm, 0xe100_0000n), 'bar1')
    }
    // Turned off and on while one lies over the other.
    passthrough.setBar(0, 0xe100_0000n)
    passthrough.writeConfig(COMMAND, 2, 0)
    t.deepEqual(slots(vm), [])
    passthrough.writeConfig(COMMAND, 2, MEMORY)
    t.is(slots(vm).length, 1)
    passthrough.setBar(0, 0xe000_0000n)
    t.is(slots(vm).length, 2)
  })
})

kvmTest('a BAR over another device’s, or over memory, is there when that leaves', async (t) => {
  using kvm = Kvm.open()
  using vm = kvm.createVm()
  using memory = GuestMemory.create(PAGE)
  await withDeviceOf(vm, { dump: E1000E, bars: { 0: 0x4000 } }, async ({ passthrough: first }) => {
    await withDeviceOf(vm, { dump: NVME, bars: { 0: 0x4000 } }, ({ passthrough: second }) => {
      first.setBar(0, 0xe000_0000n)
      second.setBar(0, 0xe000_0000n)
      first.writeConfig(COMMAND, 2, MEMORY)
      second.writeConfig(COMMAND, 2, MEMORY)
      t.is(slots(vm).length, 1)
      first.setBar(0, 0xe100_0000n)
      t.deepEqual(slots(vm).map(([address]) => address), [0xe000_0000n, 0xe100_0000n]) // prettier-ignore
      const slot = vm.addMemory({ guestAddress: 0xe200_0000n, memory })
      second.setBar(0, 0xe200_0000n)
      t.is(slots(vm).length, 1)
      slot.close()
      t.deepEqual(slots(vm).map(([address]) => address), [0xe100_0000n, 0xe200_0000n]) // prettier-ignore
    })
  })
  t.deepEqual(slots(vm), [])
})

kvmTest(
  'a BAR where KVM takes none is reached by exits, counted, and said once however often it is put there',
  async (t) => {
    const heard = warnings(/not mapped/)
    await withDevice({ dump: NVME, bars: { 0: 0x4000 } }, async ({ passthrough, fake }) => {
      passthrough.writeConfig(COMMAND, 2, MEMORY)
      for (let i = 0; i < 50; i++) {
        // At the end of 64 bits, and beyond what a guest can address.
        passthrough.setBar(0, 0xffff_ffff_ffff_c000n)
        passthrough.setBar(0, 0xff_0000_0000_0000n + BigInt(i) * 0x4000n)
      }
      const data = new Uint8Array(4)
      new Uint8Array((fake.memory.get(0) as GuestMemory).buffer)[8] = 0x5a
      t.true(passthrough.handleMmio({ address: 0xff_0000_000c_4008n, length: 4, isWrite: false, data }))
      t.is(data[0], 0x5a)
      await sleep(5)
      t.is(heard().length, 1)
      t.true((counters(passthrough).unmappedBars ?? 0) >= 50)
    })
  },
)

/** The GPU's capability asks for one vector; here for eight. */
const EIGHT = GPU.replace('05 d0 89 01', '05 d0 87 01')
const MSI = 0xac

function enableMsi(passthrough: PciPassthrough, log2: number, data = MESSAGE.data): void {
  passthrough.writeConfig(MSI + 4, 4, Number(MESSAGE.address))
  passthrough.writeConfig(MSI + 12, 2, data)
  passthrough.writeConfig(MSI + 2, 2, 1 | (log2 << 4))
}

for (const [title, says] of [
  ["MSI: a host that can spare one vector of eight and says so: the guest's share it", true],
  ["MSI: a host that can spare one vector of eight: the guest's share it", false],
] as const) {
  kvmTest(title, async (t) => {
    const heard = warnings(/MSI vectors share/)
    using machine = countingMachine()
    const { vm, view } = machine
    await withDeviceOf(vm, { dump: EIGHT, bars: { 0: 0x1000 }, msi: 8, spare: 1, says }, async (setting) => {
      const { passthrough, fake } = setting
      const runner = await running(machine)
      t.notThrows(() => {
        enableMsi(passthrough, 3)
      })
      t.is(passthrough.interruptMode, 'msi')
      t.is(fake.asked[0], 8)
      t.is(fake.asked.at(-1), 1)
      t.is(fake.eventfds.length, 1)
      // Vector 0 carries 0x40, which the guest counts; those masked wait.
      passthrough.writeConfig(MSI + 16, 4, 0xfe)
      fake.eventfds[0]?.signal()
      await until(() => view.getUint16(COUNTER, true) === 1)
      t.is(passthrough.readConfig(MSI + 20, 4), 0xfe, 'each of the guest’s has had it')
      t.is(counters(passthrough).sharedVectors, 7)
      for (let i = 0; i < 20; i++) {
        passthrough.writeConfig(MSI + 2, 2, 0)
        passthrough.writeConfig(MSI + 2, 2, 0x31)
      }
      await sleep(5)
      t.is(heard().length, 1)
      await stopped(machine, runner)
    })
  })
}

kvmTest(
  'MSI and MSI-X of a host without any vector: no exception, off, and on when there are some again',
  async (t) => {
    const heard = warnings(/not delivered/)
    await withDevice(
      { dump: EIGHT, bars: { 0: 0x1000 }, msi: 8, spare: 0 },
      async ({ passthrough, fake }) => {
        t.notThrows(() => {
          for (let i = 0; i < 30; i++) {
            enableMsi(passthrough, 3)
            passthrough.writeConfig(MSI + 2, 2, 0)
          }
          enableMsi(passthrough, 3)
        })
        t.is(passthrough.interruptMode, 'off')
        t.is(passthrough.readConfig(MSI + 2, 2) & 0x71, 0x31, 'the guest reads what it wrote')
        await sleep(5)
        t.is(heard().length, 1)
        t.true((counters(passthrough).refusedInterrupts ?? 0) >= 30)
        fake.spare = 8
        passthrough.writeConfig(MSI + 2, 2, 0)
        passthrough.writeConfig(MSI + 2, 2, 0x31)
        t.is(passthrough.interruptMode, 'msi')
        t.is(fake.eventfds.length, 8)
      },
    )
  },
)

kvmTest('MSI-X that a guest turns on while its device sleeps is on when it wakes', async (t) => {
  await withDevice({ dump: NVME, bars: { 0: 0x4000 }, msix: 65, spare: 0 }, ({ passthrough, fake }) => {
    passthrough.writeConfig(0x64, 2, 3)
    t.notThrows(() => {
      passthrough.writeConfig(0x42, 2, 0x8000)
    })
    t.is(passthrough.interruptMode, 'off')
    fake.spare = 65
    passthrough.writeConfig(0x64, 2, 0)
    t.is(passthrough.interruptMode, 'msix')
    // Or when the guest's driver puts its state back.
    fake.spare = 0
    passthrough.writeConfig(0x42, 2, 0)
    passthrough.writeConfig(0x42, 2, 0x8000)
    fake.spare = 65
    passthrough.writeConfig(0x42, 2, 0x8000)
    t.is(passthrough.interruptMode, 'msix')
  })
})

const TABLE = 0xe300_0000n
const MSIX_CONTROL = 0xa2

function mmio(passthrough: PciPassthrough, address: bigint, value?: number): number {
  const data = new Uint8Array(4)
  const view = new DataView(data.buffer)
  if (value !== undefined) view.setUint32(0, value, true)
  passthrough.handleMmio({ address, length: 4, isWrite: value !== undefined, data })
  return view.getUint32(0, true)
}

function program(passthrough: PciPassthrough, vector: number, masked = false, data = MESSAGE.data): void {
  const entry = TABLE + BigInt(vector * 16)
  mmio(passthrough, entry, Number(MESSAGE.address))
  mmio(passthrough, entry + 4n, 0)
  mmio(passthrough, entry + 8n, data)
  mmio(passthrough, entry + 12n, masked ? 1 : 0)
}

const E1000E_BARS = { 0: 0x20000, 1: 0x20000, 2: 0x20, 3: 0x4000 }

function enableMsix(passthrough: PciPassthrough): void {
  passthrough.setBar(3, TABLE)
  passthrough.writeConfig(COMMAND, 2, MEMORY)
  passthrough.writeConfig(MSIX_CONTROL, 2, 0x8000)
}

kvmTest(
  'MSI-X: a vector that the host cannot spare stays silent, the others work, and it comes when there is one',
  async (t) => {
    await withDevice({ dump: E1000E, bars: E1000E_BARS, msix: 5, spare: 2 }, ({ passthrough, fake }) => {
      enableMsix(passthrough)
      t.notThrows(() => {
        for (let vector = 0; vector < 5; vector++) program(passthrough, vector)
      })
      t.is(passthrough.interruptMode, 'msix')
      t.deepEqual(fake.eventfds.map((each) => each !== null), [true, true]) // prettier-ignore
      t.is(counters(passthrough).refusedInterrupts, 3)
      fake.spare = 5
      mmio(passthrough, TABLE + 3n * 16n + 12n, 1)
      mmio(passthrough, TABLE + 3n * 16n + 12n, 0)
      t.truthy(fake.eventfds[3])
    })
  },
)

/** Leaves no room in the routing table. */
function fill({ routing }: Vm): MsiRoute[] {
  const room = routing.limit - routing.size
  const messages = Array.from({ length: room }, () => MESSAGE)
  const { batch } = routing as { batch?: (changes: { add: (typeof MESSAGE)[] }) => MsiRoute[] }
  return batch?.call(routing, { add: messages }) ?? messages.map((message) => routing.msi(message))
}

async function until(condition: () => boolean): Promise<void> {
  const end = performance.now() + 20_000
  while (!condition()) {
    if (performance.now() > end) throw new Error('it did not come')
    await sleep(2)
  }
}

const bells: EventFd[] = []

async function running(machine: Machine): ReturnType<typeof runInWorker> {
  // Nobody hears it; it goes with the machine.
  bells.push(machine.vm.ioeventfd({ pio: DOORBELL, length: 1 }))
  const runner = await runInWorker(machine.vcpu)
  // Until the guest has turned its APIC on, messages are dropped.
  while (!machine.vm.signalMsi(MESSAGE)) await sleep(1)
  await until(() => machine.view.getUint16(COUNTER, true) === 1)
  machine.view.setUint16(COUNTER, 0, true)
  return runner
}

async function stopped(machine: Machine, runner: Awaited<ReturnType<typeof runInWorker>>): Promise<void> {
  for (const bell of bells.splice(0)) bell.close()
  machine.vcpu.kick()
  await runner.ended
  await runner.exited
}

kvmTest(
  'MSI-X with the machine’s routing table full: interrupts reach the guest all the same, by user space',
  async (t) => {
    t.timeout(120_000)
    const heard = warnings(/routing table/)
    using machine = countingMachine()
    const { vm, view } = machine
    fill(vm)
    await withDeviceOf(vm, { dump: E1000E, bars: E1000E_BARS, msix: 5 }, async ({ passthrough, fake }) => {
      const runner = await running(machine)
      enableMsix(passthrough)
      t.notThrows(() => {
        for (let vector = 0; vector < 5; vector++) program(passthrough, vector)
      })
      for (let round = 1; round <= 10; round++) {
        fake.eventfds[round % 5]?.signal()
        await until(() => view.getUint16(COUNTER, true) === round)
      }
      // Masked, it waits and shows.
      mmio(passthrough, TABLE + 16n + 12n, 1)
      fake.eventfds[1]?.signal()
      await until(() => mmio(passthrough, TABLE + 0x2000n) === 2)
      t.is(view.getUint16(COUNTER, true), 10)
      mmio(passthrough, TABLE + 16n + 12n, 0)
      await until(() => view.getUint16(COUNTER, true) === 11)
      t.is(mmio(passthrough, TABLE + 0x2000n), 0)
      t.is(counters(passthrough).relayedVectors, 5)
      await sleep(5)
      t.is(heard().length, 1)
      await stopped(machine, runner)
    })
  },
)

kvmTest('an access beside the MSI-X table never reaches what the host has in it', async (t) => {
  await withDevice({ dump: E1000E, bars: E1000E_BARS, msix: 5 }, ({ passthrough, fake }) => {
    const own = new Uint8Array((fake.memory.get(3) as GuestMemory).buffer)
    own.fill(0x77)
    enableMsix(passthrough)
    // The table has five entries: its last four bytes, and four behind it.
    const data = new Uint8Array(8)
    passthrough.handleMmio({ address: TABLE + 76n, length: 8, isWrite: false, data })
    t.deepEqual([...data], [1, 0, 0, 0, 0x77, 0x77, 0x77, 0x77])
    passthrough.handleMmio({ address: TABLE + 76n, length: 8, isWrite: true, data: data.fill(0x12) })
    t.is(own[79], 0x77)
    t.is(own[80], 0x12)
  })
  const hidden = { dump: E1000E, bars: E1000E_BARS, msix: 5, hide: (): boolean => true }
  await withDevice(hidden, ({ vm, passthrough, fake }) => {
    const own = new Uint8Array((fake.memory.get(3) as GuestMemory).buffer)
    own.fill(0x77)
    passthrough.setBar(3, TABLE)
    passthrough.writeConfig(COMMAND, 2, MEMORY)
    t.is(guestReads(vm, TABLE), 'nothing')
    t.is(mmio(passthrough, TABLE + 16n), 0)
    mmio(passthrough, TABLE, 0x1234)
    t.is(own[0], 0x77)
  })
})

kvmTest(
  'a device that does not answer reads as all ones and takes writes without an exception',
  async (t) => {
    await withDevice({ dump: NVME, bars: { 0: 0x4000 }, msix: 65 }, ({ passthrough, fake }) => {
      passthrough.setBar(0, 0xe000_0000n)
      passthrough.writeConfig(COMMAND, 2, MEMORY)
      const before = passthrough.counters.failed
      fake.config.lost = true
      t.is(passthrough.readConfig(0, 4), 0xffff_ffff)
      t.is(passthrough.readConfig(0, 3), 0xff_ffff)
      t.notThrows(() => {
        passthrough.writeConfig(COMMAND, 2, 0)
        passthrough.writeConfig(0x64, 2, 3)
        passthrough.writeConfig(0x88, 2, 0x8000)
      })
      t.true(passthrough.counters.failed > before)
      fake.config.lost = false
      t.is(passthrough.readConfig(0, 4), 0x0010_1b36)
    })
  },
)

kvmTest(
  'a configuration access that reaches past the end, or is of three bytes, is no exception',
  async (t) => {
    await withDevice({ dump: NVME, bars: { 0: 0x4000 } }, ({ passthrough }) => {
      t.is(passthrough.readConfig(0xffe, 4), 0xffff_0000)
      t.is(passthrough.readConfig(0, 3), 0x10_1b36)
      passthrough.writeConfig(0xffe, 4, 0x1234_5678)
      passthrough.writeConfig(0x0c, 3, 0x0a_0b0c)
      t.is(passthrough.readConfig(0x0c, 2), 0x0b0c)
    })
  },
)

kvmTest('a policy and a listener of the VMM throw through: they are no doing of the guest', async (t) => {
  const policy = (): never => {
    throw new TypeError('the policy')
  }
  await withDevice({ dump: EDU, size: 256, bars: { 0: 0x1000 }, policy }, ({ passthrough }) => {
    t.throws(() => passthrough.readConfig(0, 4), { instanceOf: TypeError, message: 'the policy' })
  })
})
