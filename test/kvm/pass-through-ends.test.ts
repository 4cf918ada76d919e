// A pass-through that ends while it begins, or begins anew while it ends: nothing of the guest's memory stays mapped for the
// device, and nothing that comes later joins it.
import { setTimeout as sleep } from 'node:timers/promises'

import { GuestMemory, PciPassthrough, VfioError } from '../../ts/index.js'
import { Kvm, type Vm } from '../../ts/kvm/index.js'
import { NVME } from '../unit/pci/dump.js'
import { FakeDevice, type FakeOptions, FakeSpace } from './fake-device.js'
import { kvmTest } from './support.js'

const PAGE = 4096

/** A promise that the test resolves. */
class Gate {
  readonly waits: (() => void)[] = []
  readonly wait = (): Promise<void> => new Promise((resolve) => this.waits.push(resolve))
  open(): void {
    for (const resolve of this.waits.splice(0)) resolve()
  }
}

interface Setting {
  vm: Vm
  memory: GuestMemory
  gate: Gate
  space: FakeSpace
  device(options?: Partial<FakeOptions>): FakeDevice
  add(page: number): ReturnType<Vm['addMemory']>
}

/** A machine with two pages at 0 and 2, whose space maps each when the gate opens. */
async function setting(use: (setting: Setting) => Promise<void>): Promise<void> {
  using kvm = Kvm.open()
  using memory = GuestMemory.create(PAGE)
  using vm = kvm.createVm()
  const gate = new Gate()
  const space = new FakeSpace()
  space.gate = gate.wait
  const fakes: FakeDevice[] = []
  const add = (page: number): ReturnType<Vm['addMemory']> =>
    vm.addMemory({ guestAddress: BigInt(page * PAGE), memory })
  add(0)
  add(2)
  const device = (options: Partial<FakeOptions> = {}): FakeDevice => {
    const fake = new FakeDevice({ dump: NVME, bars: { 0: 0x4000 }, msix: 65, space, vm, ...options })
    fakes.push(fake)
    return fake
  }
  try {
    await use({ vm, memory, gate, space, device, add })
  } finally {
    gate.open()
    for (const fake of fakes) fake.close()
  }
}

/** Lets what is under way go on, until nothing is. */
async function drain(gate: Gate): Promise<void> {
  for (let i = 0; i < 20; i++) {
    gate.open()
    await sleep(1)
  }
}

const mapped = (space: FakeSpace): number[] => [...space.mapped.keys()].map((iova) => Number(iova) / PAGE)

for (const [title, end] of [
  [
    'start(), while the memory is mapped it is closed: it rejects, and nothing is mapped',
    (_: Setting, __: FakeDevice, passthrough: PciPassthrough) => {
      passthrough.close()
    },
  ],
  [
    'start(), while the memory is mapped its Vm is closed: it rejects, and nothing is mapped',
    ({ vm }: Setting) => {
      vm.close()
    },
  ],
  [
    'start(), while the memory is mapped its device is closed: it rejects, and nothing is mapped',
    (_: Setting, fake: FakeDevice) => {
      fake.close()
    },
  ],
] as const) {
  // prettier-ignore
  kvmTest(title, async (t) => {
    await setting(async (given) => {
      const { vm, gate, space, device, add } = given
      const fake = device()
      const passthrough = new PciPassthrough(vm, fake.device)
      const started = passthrough.start()
      const rejected = t.throwsAsync(started, { instanceOf: VfioError, code: 'EBADF' })
      await sleep(1)
      end(given, fake, passthrough)
      await drain(gate)
      await rejected
      t.true(passthrough.closed)
      t.deepEqual(mapped(space), [])
      if (vm.closed) return
      add(7)
      t.deepEqual(mapped(space), [], 'what comes later does not join it')
      t.is(space.started, 1, 'the rest was not begun')
    })
  })
}

kvmTest(
  'closed during start() and begun anew before that has ended: the memory is mapped once',
  async (t) => {
    await setting(async ({ vm, gate, space, device, add }) => {
      const fake = device()
      const first = new PciPassthrough(vm, fake.device)
      const ended = t.throwsAsync(first.start(), { instanceOf: VfioError, code: 'EBADF' })
      await sleep(1)
      first.close()
      const second = new PciPassthrough(vm, fake.device)
      const started = second.start()
      await drain(gate)
      await ended
      await started
      t.deepEqual(mapped(space).sort(), [0, 2])
      add(5).close()
      t.deepEqual(mapped(space).sort(), [0, 2])
      second.close()
      t.deepEqual(mapped(space), [])
    })
  },
)

kvmTest('a slot that goes while start() maps another is not mapped', async (t) => {
  await setting(async ({ vm, gate, space, device }) => {
    const passthrough = new PciPassthrough(vm, device().device)
    const started = passthrough.start()
    await sleep(1)
    vm.memorySlots[1]?.close()
    await drain(gate)
    await started
    t.deepEqual(mapped(space), [0])
    passthrough.close()
  })
})

kvmTest('a second device that joins is started when all of the memory is mapped, not before', async (t) => {
  await setting(async ({ vm, gate, space, device }) => {
    // Only the first page takes its time.
    space.gate = (): Promise<void> => (space.started === 1 ? gate.wait() : Promise.resolve())
    const [first, second] = [0, 1].map(() => new PciPassthrough(vm, device().device))
    const one = first?.start()
    await sleep(1)
    let done = false
    const two = second?.start().then(() => (done = true))
    await sleep(5)
    t.false(done)
    await drain(gate)
    await one
    await two
    t.deepEqual(mapped(space).sort(), [0, 2])
    first?.close()
    t.deepEqual(mapped(space).sort(), [0, 2])
    second?.close()
    t.deepEqual(mapped(space), [])
  })
})

kvmTest('memory that cannot be mapped: start() rejects with that, and nothing stays', async (t) => {
  await setting(async ({ vm, space, device, add }) => {
    space.gate = (): Promise<void> =>
      space.started === 2 ? Promise.reject(new VfioError(12, 'VFIO_IOMMU_MAP_DMA')) : Promise.resolve()
    const passthrough = new PciPassthrough(vm, device().device)
    await t.throwsAsync(passthrough.start(), { instanceOf: VfioError, code: 'ENOMEM' })
    t.deepEqual(mapped(space), [])
    add(5)
    t.deepEqual(mapped(space), [])
  })
})

kvmTest(
  'while reset() is under way the guest reaches nothing of the device, and two resets are one',
  async (t) => {
    await setting(async ({ vm, gate, space, device }) => {
      space.gate = undefined
      let resets = 0
      const reset = async (): Promise<void> => {
        if (resets++ > 0) await gate.wait()
      }
      const passthrough = new PciPassthrough(vm, device({ reset }).device)
      await passthrough.start()
      passthrough.setBar(0, 0xe000_0000n)
      passthrough.writeConfig(4, 2, 2)
      const both = [passthrough.reset(), passthrough.reset()]
      t.is(passthrough.readConfig(0, 4), 0xffff_ffff)
      // A guest that goes on: none of it may be there when the device comes back without decoding.
      passthrough.writeConfig(0x10, 4, 0xe000_0000)
      passthrough.writeConfig(4, 2, 2)
      t.is(vm.memorySlots.length, 2)
      await sleep(1)
      gate.open()
      await Promise.all(both)
      t.is(resets, 2)
      t.is(passthrough.readConfig(4, 2) & 2, 0)
      t.is(vm.memorySlots.length, 2)
      t.is(passthrough.readConfig(0, 4), 0x0010_1b36)
      const closing = t.throwsAsync(passthrough.reset(), { instanceOf: VfioError, code: 'EBADF' })
      passthrough.close()
      gate.open()
      await closing
      t.deepEqual(mapped(space), [])
    })
  },
)
