// A guest that writes anything anywhere in the configuration space and the BARs of its device, as often as it likes.
import { setTimeout as sleep } from 'node:timers/promises'

import { PciPassthrough } from '../../ts/index.js'
import { Kvm } from '../../ts/kvm/index.js'
import { Random } from '../fuzz/random.js'
import { SANITIZED } from '../unit/support.js'
import { E1000E, EDU, GPU, NVME } from '../unit/pci/dump.js'
import { FakeDevice, type FakeOptions } from './fake-device.js'
import { kvmTest } from './support.js'

const ACCESSES = SANITIZED ? 20_000 : 200_000
const COMMAND = 4
/** Bytes. */
const MORE_AT_MOST = 96 << 20

const DEVICES: Record<string, Omit<FakeOptions, 'vm'>> = {
  'a hostile guest of edu: no exception, a warning of each kind at most, memory bounded': {
    dump: EDU,
    size: 256,
    bars: { 0: 0x10_0000 },
    msi: 1,
  },
  'a hostile guest of e1000e: no exception, a warning of each kind at most, memory bounded': {
    dump: E1000E,
    bars: { 0: 0x20000, 1: 0x20000, 2: 0x20, 3: 0x4000 },
    msi: 1,
    msix: 5,
    spare: 3,
  },
  'a hostile guest of nvme: no exception, a warning of each kind at most, memory bounded': {
    dump: NVME,
    bars: { 0: 0x4000 },
    msix: 65,
    spare: 20,
  },
  // Eight vectors asked for, and two of them there.
  'a hostile guest of gpu: no exception, a warning of each kind at most, memory bounded': {
    dump: GPU.replace('05 d0 89 01', '05 d0 87 01'),
    bars: { 0: 0x10_0000, 2: 0x10_0000 },
    msi: 8,
    spare: 2,
  },
}

/** Addresses that a guest would think of, so that BARs land on each other and on memory. */
const PLACES = [0xe000_0000, 0xe010_0000, 0xe000_4000, 0xffff_ffff, 0, 0xfee0_0000, 0x1000]

for (const [title, options] of Object.entries(DEVICES)) {
  kvmTest(title, async (t) => {
    t.timeout(300_000)
    using kvm = Kvm.open()
    using vm = kvm.createVm()
    const fake = new FakeDevice({ ...options, vm })
    const passthrough = new PciPassthrough(vm, fake.device)
    await passthrough.start()
    const warned = new Map<string, number>()
    const listener = (warning: Error): void => {
      const kind = warning.message.replace(/[0-9a-f]+/g, '').slice(0, 40)
      warned.set(kind, (warned.get(kind) ?? 0) + 1)
    }
    process.on('warning', listener)
    const random = new Random(0x2026)
    const size = options.size ?? 4096
    const capabilities = fake.device.config.capabilities().map(({ offset }) => offset)
    const configOffset = (): number => {
      const kind = random.below(8)
      if (kind === 0) return random.below(size)
      if (kind < 3) return 0x10 + random.below(0x24)
      return kind < 4 ? COMMAND : (random.of(capabilities) + random.below(0x18)) % size
    }
    const value = (width: number): number => {
      const place = random.chance(0.5) ? random.of(PLACES) + random.below(8) : random.next()
      return place % 2 ** (8 * width)
    }
    const data = new Uint8Array(8)
    const once = (): void => {
      const bar = random.of(passthrough.bars)
      if (random.chance(0.5)) {
        const width = 1 + random.below(4)
        const offset = Math.min(configOffset(), 4095)
        if (random.chance(0.7)) passthrough.writeConfig(offset, width, value(width))
        else passthrough.readConfig(offset, width)
      } else if (bar.kind === 'memory') {
        const address = (bar.address ?? BigInt(random.of(PLACES) >>> 0)) + BigInt(random.below(0x2100))
        for (let i = 0; i < 8; i++) data[i] = random.next()
        passthrough.handleMmio({ address, length: 1 + random.below(8), isWrite: random.chance(0.6), data })
      } else {
        const direction = random.chance(0.5) ? 'in' : 'out'
        const port = (Number(bar.address ?? 0n) + random.below(64)) % 0xffff
        passthrough.handlePio({
          port,
          direction,
          size: 1 + random.below(4),
          count: 1 + random.below(2),
          data,
        })
      }
      if (random.chance(0.01)) fake.eventfds[0]?.signal()
    }
    const before = process.memoryUsage()
    t.notThrows(() => {
      for (let i = 0; i < ACCESSES; i++) once()
    })
    const after = process.memoryUsage()
    t.true(after.external - before.external < MORE_AT_MOST)
    t.true(after.heapUsed - before.heapUsed < MORE_AT_MOST)
    await sleep(10)
    process.off('warning', listener)
    t.true(
      [...warned.values()].every((count) => count === 1),
      JSON.stringify([...warned]),
    )
    t.true(vm.memorySlots.length <= 8)
    t.true(vm.routing.size <= 40 + 65)
    // And the device is as good as new for whoever behaves.
    await passthrough.reset()
    t.deepEqual(vm.memorySlots, [])
    t.is(vm.routing.size, 40)
    passthrough.close()
    fake.close()
  })
}
