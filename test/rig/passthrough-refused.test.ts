// What a guest may ask of a real device that the host, or the device, does not have: nothing of it is an exception, and the
// guest sees what hardware would show.
import test from 'ava'

import {
  GuestMemory,
  PciPassthrough,
  VfioDevice,
  VfioError,
  type PassthroughOptions,
} from '../../ts/index.js'
import { Random } from '../fuzz/random.js'
import { type DeviceName, devices, holdings, nextCount, rebind, until, withDevice } from './devices.js'
import { DOORBELLS, Guest, answering } from './guest.js'

const COMMAND = 0x04
const MEMORY_AND_MASTER = 6

async function withPassthrough(
  name: DeviceName,
  options: PassthroughOptions,
  use: (passthrough: PciPassthrough, guest: Guest, device: VfioDevice) => Promise<void>,
): Promise<void> {
  const guest = new Guest()
  try {
    await withDevice(
      name,
      async (device) => {
        const passthrough = new PciPassthrough(guest.vm, device, options)
        await passthrough.start()
        await use(passthrough, guest, device)
        passthrough.close()
      },
      { vm: guest.vm },
    )
  } finally {
    await guest.close()
  }
}

/** Addresses of the guest's memory that are a device's. */
const barSlots = (guest: Guest): bigint[] =>
  guest.vm.memorySlots
    .filter(({ memory }) => !(memory instanceof GuestMemory))
    .map((slot) => slot.guestAddress)

test.serial('edu: a guest that grants itself 32 MSI of a device that has one gets that one', async (t) => {
  await withPassthrough('edu', {}, async (passthrough, guest, device) => {
    passthrough.setBar(0, 0xe000_0000n)
    passthrough.writeConfig(COMMAND, 2, MEMORY_AND_MASTER)
    using bell = guest.vm.ioeventfd({ mmio: BigInt(DOORBELLS), length: 4 })
    guest.run(
      answering(
        () => undefined,
        () => undefined,
      ),
    )
    await guest.ready()
    passthrough.writeConfig(0x44, 4, Number(guest.event.address))
    passthrough.writeConfig(0x4c, 2, guest.event.data)
    for (const log2 of [5, 6, 7, 0]) {
      t.notThrows(() => {
        passthrough.writeConfig(0x42, 2, 1 | (log2 << 4))
      })
      t.is(passthrough.interruptMode, 'msi')
      device.region('bar0').write32(0x60, 1)
      t.is(await nextCount(bell), 1, guest.exit)
      device.region('bar0').write32(0x64, 1)
    }
  })
})

test.serial(
  'e1000e: BARs change places, meet and part, and a guest reads its own registers at each place',
  async (t) => {
    await withPassthrough('e1000e', {}, (passthrough, guest, device) => {
      const own = device.region('bar0').read32(8)
      const flash = 0xe100_0000n
      passthrough.setBar(0, 0xe000_0000n)
      passthrough.setBar(1, flash)
      passthrough.writeConfig(COMMAND, 2, 2)
      t.deepEqual(barSlots(guest), [0xe000_0000n, flash])
      passthrough.setBar(0, flash)
      passthrough.setBar(1, 0xe000_0000n)
      t.deepEqual(barSlots(guest), [0xe000_0000n, flash])
      t.is(
        guest.vm.memorySlots.find(({ guestAddress }) => guestAddress === flash)?.memory,
        device.region('bar0'),
      )
      passthrough.setBar(1, flash)
      t.deepEqual(barSlots(guest), [flash])
      passthrough.setBar(1, 0xe200_0000n)
      t.deepEqual(barSlots(guest), [flash, 0xe200_0000n])
      // The status register, read by the guest where BAR 0 now is: mov eax, [8]; out 0x10, eax.
      guest.bytes.set([0x66, 0xa1, 0x08, 0x00, 0x66, 0xe7, 0x10])
      const { cs, ds } = guest.vcpu.specialRegisters
      guest.vcpu.specialRegisters = {
        cs: { ...cs, base: 0n, selector: 0 },
        ds: { ...ds, base: flash },
      }
      guest.vcpu.registers = { rip: 0n, rflags: 2n }
      const exit = guest.vcpu.run()
      if (exit.reason !== 'io') return Promise.resolve(t.fail(exit.reason))
      t.is(new DataView(exit.data.buffer, exit.data.byteOffset).getUint32(0, true), own)
      return Promise.resolve()
    })
  },
)

test.serial(
  'e1000e: a guest reads nothing of the AER log, nor of a serial number that is hidden',
  async (t) => {
    await withPassthrough('e1000e', { hide: ({ name }) => name === 'dsn' }, (passthrough, _guest, device) => {
      const extended = device.config.extendedCapabilities()
      t.deepEqual(
        extended.map(({ name }) => name),
        ['err', 'dsn'],
      )
      const bytes = (read: (offset: number) => number): number[] =>
        Array.from({ length: 0xf00 }, (_, i) => read(0x100 + i)).filter((byte) => byte !== 0)
      t.not(bytes((offset) => device.config.space.read8(offset)).length, 0)
      t.deepEqual(bytes((offset) => passthrough.readConfig(offset, 1)), []) // prettier-ignore
      return Promise.resolve()
    })
  },
)

test.serial('e1000e: MSI that a guest turns on in D3, which the kernel refuses, is on in D0', async (t) => {
  await withPassthrough('e1000e', {}, (passthrough, _guest, device) => {
    const pm = device.config.capability('pm')
    const msi = device.config.capability('msi')
    if (pm === null || msi === null) return Promise.resolve(t.fail())
    passthrough.writeConfig(pm.offset + 4, 2, 3)
    t.notThrows(() => {
      passthrough.writeConfig(msi.offset + 2, 2, 1)
    })
    t.is(passthrough.interruptMode, 'off')
    passthrough.writeConfig(pm.offset + 4, 2, 0)
    t.is(passthrough.interruptMode, 'msi')
    return Promise.resolve()
  })
})

test.serial('start() while another closes it: the guest’s memory is not left to the device', async (t) => {
  let before: ReturnType<typeof holdings> | undefined
  // The first round makes what a process makes once.
  for (const end of ['vm', 'passthrough', 'vm'] as const) {
    const guest = new Guest()
    const more = GuestMemory.create(16 << 20)
    guest.vm.addMemory({ guestAddress: 0x100_0000n, memory: more })
    await withDevice(
      'nvme',
      async (device) => {
        const passthrough = new PciPassthrough(guest.vm, device)
        const rejected = t.throwsAsync(passthrough.start(), { instanceOf: VfioError, code: 'EBADF' })
        if (end === 'passthrough') passthrough.close()
        else await guest.close()
        await rejected
        t.true(passthrough.closed)
        t.is(device.addressSpace.mappingCount, 0)
        t.false(device.config.command.busMaster)
        if (end === 'vm') return
        const later = guest.vm.addMemory({ guestAddress: 0x800_0000n, memory: more })
        t.is(device.addressSpace.mappingCount, 0)
        later.close()
      },
      { vm: guest.vm },
    )
    if (end === 'passthrough') await guest.close()
    more.close()
    before ??= holdings()
  }
  t.deepEqual(holdings(), before)
})

test.serial(
  'a Vm that is closed while a device is opened for it: the device is let go of, and opens again',
  async (t) => {
    const before = holdings()
    const guest = new Guest()
    const opened = VfioDevice.open(devices.nvme, { vm: guest.vm })
    await guest.close()
    const error = await t.throwsAsync(opened, { instanceOf: VfioError, code: 'EBADF' })
    t.is(error.reason, 'closed')
    t.deepEqual(holdings(), before)
    await withDevice('nvme', (device) => {
      t.true(device.config.present)
    })
  },
)

test.serial(
  'a device of a group whose only other one closes meanwhile is opened in a space that lives',
  async (t) => {
    // On its host driver the third device keeps the group from being viable.
    await rebind('bridgedRng', 'vfio-pci')
    const before = holdings()
    try {
      const first = await VfioDevice.open(devices.bridgedEdu1)
      const opened = VfioDevice.open(devices.bridgedEdu2)
      await first.close()
      const second = await opened
      t.false(second.addressSpace.closed)
      const buffer = await second.addressSpace.allocate(4096)
      await buffer.close()
      const { addressSpace } = second
      await second.close()
      t.true(addressSpace.closed)
      t.deepEqual(holdings(), before)
    } finally {
      await rebind('bridgedRng', 'virtio-pci')
    }
  },
)

for (const name of ['e1000e', 'nvme', 'ivshmem', 'edu'] as const) {
  test.serial(`${name}: whatever a guest writes and reads is no exception, and a warning once`, async (t) => {
    await withPassthrough(name, {}, async (passthrough, guest, device) => {
      const warned = new Map<string, number>()
      const listener = (warning: Error): void => {
        const kind = warning.message.replace(/[0-9a-f]+/g, '').slice(0, 40)
        warned.set(kind, (warned.get(kind) ?? 0) + 1)
      }
      process.on('warning', listener)
      const random = new Random(0x1130)
      const capabilities = device.config.capabilities().map(({ offset }) => offset)
      const places = [0xe000_0000, 0xe010_0000, 0xffff_ffff, 0, 0xfee0_0000, 0x1000]
      const data = new Uint8Array(8)
      const once = (): void => {
        const bar = random.of(passthrough.bars)
        const width = 1 + random.below(4)
        if (random.chance(0.6)) {
          const offset = random.chance(0.5)
            ? 4 + random.below(0x30)
            : Math.min(random.of(capabilities) + random.below(0x18), 255)
          const value = (random.chance(0.5) ? random.of(places) : random.next()) % 2 ** (8 * width)
          if (random.chance(0.7)) passthrough.writeConfig(offset, width, value)
          else passthrough.readConfig(offset, width)
        } else if (bar.kind === 'memory' && bar.address !== null) {
          for (let i = 0; i < 8; i++) data[i] = random.next()
          // Reads anywhere, writes to the MSI-X table: what QEMU's devices make of nonsense is not asked here.
          const table = device.config.capability('msix')?.table
          const isWrite = table?.bar === bar.index && random.chance(0.6)
          const offset = isWrite ? table.offset + random.below(table.size) : random.below(bar.size)
          const length = isWrite ? Math.min(4, table.offset + table.size - offset) : width
          passthrough.handleMmio({ address: bar.address + BigInt(offset), length, isWrite, data })
        }
      }
      t.notThrows(() => {
        for (let i = 0; i < 1000; i++) once()
      })
      await until(() => true, 'the warnings')
      process.off('warning', listener)
      t.true(
        [...warned.values()].every((count) => count === 1),
        JSON.stringify([...warned]),
      )
      await passthrough.reset()
      t.deepEqual(barSlots(guest), [])
      t.is(passthrough.interruptMode, 'off')
      passthrough.setBar(0, 0xe000_0000n)
      passthrough.writeConfig(COMMAND, 2, 2)
      t.true(device.config.present)
    })
  })
}
