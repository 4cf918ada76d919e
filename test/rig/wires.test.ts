// Interrupts and doorbells wired between real devices and a real guest, in the kernel: the round from a device's interrupt
// to the guest's doorbell, an interrupt line with resampling, a doorbell that the device itself counts; and the mistakes
// that are refused.
import test from 'ava'

import { EventFd, SignalPoller, VfioError, wireDoorbell, wireIntx, wireMsi } from '../../ts/index.js'
import { dword } from '../../examples/vmm/guest/assembler.js'
import { VECTOR } from '../../examples/vmm/guest/runtime.js'
import { EDU, Edu, holdings, nextCount, settledCount, until, withDevice } from './devices.js'
import { DOORBELLS, Guest, answering } from './guest.js'

const REGISTERS = 0xe000_0000
const IOAPIC = 0xfec0_0000
const PIN = 20
const LEVEL = 1 << 15

async function withGuest(use: (guest: Guest) => Promise<void>): Promise<void> {
  const guest = new Guest()
  try {
    await use(guest)
  } finally {
    await guest.close()
  }
}

const nothing = (): void => undefined

test.serial(
  "a device's MSI reaches the guest's handler, whose doorbell reaches JavaScript: 100 rounds, none lost",
  async (t) => {
    await withGuest((guest) =>
      withDevice('edu', async (device) => {
        device.config.command.busMaster = true
        const edu = new Edu(device)
        const [vector] = device.irq('msi').enable(1) as [EventFd]
        const wire = wireMsi(guest.vm, vector, guest.event)
        using bell = guest.vm.ioeventfd({ mmio: BigInt(DOORBELLS), length: 4 })
        guest.run(answering(nothing, nothing))
        await guest.ready()
        for (let round = 1; round <= 100; round++) {
          edu.raise(round)
          t.is(await nextCount(bell), 1, `round ${String(round)}: ${guest.exit ?? ''}`)
          t.is(guest.mail('interrupts'), round)
          t.is(edu.acknowledge(), round)
        }
        wire.mask()
        t.false(wire.pending)
        edu.raise(1)
        await until(() => wire.pending, 'the interrupt to wait')
        t.is(await settledCount(bell), 0, 'held back')
        wire.unmask()
        t.is(await nextCount(bell), 1, 'delivered when it is let through')
        wire.close()
        edu.acknowledge()
        edu.raise(1)
        t.is(await nextCount(vector), 1, 'unwired: the eventfd is ours to read again')
        t.is(await settledCount(bell), 0)
        t.is(guest.exit, undefined)
      }),
    )
  },
)

test.serial('a message that the guest rewrites is sent from then on', async (t) => {
  await withGuest(async (guest) => {
    using source = new EventFd()
    using bell = guest.vm.ioeventfd({ mmio: BigInt(DOORBELLS), length: 4 })
    const wire = wireMsi(guest.vm, source, { ...guest.event, data: VECTOR.wake })
    guest.run(answering(nothing, nothing))
    await guest.ready()
    source.signal()
    t.is(await settledCount(bell), 0, 'the other vector rings nothing')
    wire.update(guest.event)
    source.signal()
    t.is(await nextCount(bell), 1)
    t.true(wire.gsi >= 0)
  })
})

test.serial(
  'an interrupt line with resampling: 100 raised, 100 taken, each lowered by the guest',
  async (t) => {
    await withGuest((guest) =>
      withDevice('edu', async (device) => {
        const edu = new Edu(device)
        const bar0 = device.region('bar0')
        guest.vm.addMemory({ guestAddress: BigInt(REGISTERS), memory: bar0, offset: 0, size: bar0.size })
        const wire = wireIntx(guest.vm, device, { gsi: PIN })
        using bell = guest.vm.ioeventfd({ mmio: BigInt(DOORBELLS), length: 4 })
        guest.run(
          answering(
            (code) => {
              code.mov(dword(IOAPIC), 0x10 + 2 * PIN).mov(dword(IOAPIC + 0x10), VECTOR.event | LEVEL)
            },
            (code) => {
              code
                .mov('eax', dword(REGISTERS + EDU.interruptStatus))
                .mov(dword(REGISTERS + EDU.acknowledge), 'eax')
            },
          ),
        )
        await guest.ready()
        for (let round = 1; round <= 100; round++) {
          edu.raise(1)
          t.is(await nextCount(bell), 1, `round ${String(round)}: ${guest.exit ?? ''}`)
          t.is(edu.causes, 0, 'the guest took it away')
        }
        t.is(await settledCount(bell), 0)
        t.is(guest.mail('interrupts'), 100)
        wire.eoi()
        wire.close()
        t.false(device.irq('intx').enabled)
        wireIntx(guest.vm, device, { gsi: PIN }).close()
      }),
    )
  },
)

test.serial(
  'a doorbell that reaches the device without user space, counted by the device itself',
  async (t) => {
    await withGuest((guest) =>
      withDevice('testdev', async (device) => {
        const bar0 = device.region('bar0')
        const COUNT = 12
        // Test 0 counts writes of its data at its offset.
        bar0.write8(0, 0)
        const [offset, data] = [bar0.read32(4), bar0.read8(8)]
        t.is(bar0.read32(COUNT), 0)
        const target = { region: bar0, offset, width: 1, data } as const
        const doorbell = { mmio: BigInt(DOORBELLS), length: 4 } as const
        const wire = wireDoorbell(guest.vm, doorbell, target)
        using source = new EventFd()
        wireMsi(guest.vm, source, guest.event)
        guest.run(answering(nothing, nothing))
        await guest.ready()
        source.signal()
        await until(() => bar0.read32(COUNT) === 1, 'the first ring')
        const before = guest.exits
        for (let round = 2; round <= 50; round++) {
          source.signal()
          await until(() => bar0.read32(COUNT) === round, `ring ${String(round)} (${guest.exit ?? ''})`)
        }
        t.deepEqual(guest.exits, before, 'user space had no part')
        const twice = t.throws(() => wireDoorbell(guest.vm, doorbell, target), {
          instanceOf: VfioError,
          code: 'EEXIST',
        })
        t.truthy(twice.remedy)
        wire.close()
        t.true(wire.eventfd.closed)
        wireDoorbell(guest.vm, doorbell, target).close()
      }),
    )
  },
)

test.serial('a doorbell that reaches a JavaScript handler', async (t) => {
  await withGuest(async (guest) => {
    let rings = 0
    const wire = wireDoorbell(guest.vm, { mmio: BigInt(DOORBELLS), length: 4 }, (count) => (rings += count))
    using source = new EventFd()
    wireMsi(guest.vm, source, guest.event)
    guest.run(answering(nothing, nothing))
    await guest.ready()
    for (let round = 1; round <= 20; round++) {
      source.signal()
      await until(() => rings === round, `ring ${String(round)}`)
    }
    wire.close()
    t.is(rings, 20)
  })
})

test.serial('mistakes are refused by name, before the kernel would misbehave', async (t) => {
  await withGuest((guest) =>
    withDevice('edu', async (device) => {
      using eventfd = new EventFd()
      using poller = new SignalPoller()
      const taken = { instanceOf: VfioError, code: 'EBUSY' }
      const wire = wireMsi(guest.vm, eventfd, guest.event)
      t.is(t.throws(() => eventfd.read(), taken).reason, 'eventfd-in-use')
      t.is(t.throws(() => wireMsi(guest.vm, eventfd, guest.event), taken).reason, 'eventfd-in-use')
      t.is(
        t.throws(() => {
          poller.add(eventfd, nothing)
        }, taken).reason,
        'eventfd-in-use',
      )
      wire.close()
      poller.add(eventfd, nothing)
      t.is(t.throws(() => wireMsi(guest.vm, eventfd, guest.event), taken).reason, 'eventfd-in-use')

      const second = new EventFd()
      const gone = wireMsi(guest.vm, second, guest.event)
      second.close()
      t.true(gone.closed, 'an eventfd that is closed while wired is taken from KVM first')

      const intx = wireIntx(guest.vm, device, { gsi: PIN })
      t.regex(t.throws(() => wireIntx(guest.vm, device, { gsi: PIN }), taken).remedy ?? '', /enabled already/)
      intx.close()
      device.irq('msi').enable(1)
      const other = t.throws(() => wireIntx(guest.vm, device, { gsi: PIN }), {
        instanceOf: VfioError,
        code: 'EINVAL',
      })
      t.regex(other.remedy ?? '', /msi is enabled/)
      device.irq('msi').disable()

      const type = { instanceOf: TypeError }
      t.throws(() => wireMsi({} as never, eventfd, guest.event), type)
      t.throws(() => wireMsi(guest.vm, {} as never, guest.event), type)
      t.throws(() => wireMsi(guest.vm, eventfd, { address: 1, data: 0 } as never), type)
      t.throws(() => wireMsi(guest.vm, eventfd, { address: 0n, data: -1 }), { instanceOf: RangeError })
      t.throws(() => wireIntx(guest.vm, device, {} as never), type)
      t.throws(() => wireIntx(guest.vm, device, { gsi: -1 }), { instanceOf: RangeError })
      t.throws(() => wireDoorbell(guest.vm, { mmio: 0xd000_0000n, length: 4 }, {} as never), type)
    }),
  )
})

test.serial('a wire that cannot be finished takes back what it has begun', async (t) => {
  await withGuest((guest) =>
    withDevice('edu', (device) => {
      const before = holdings()
      const intx = device.irq('intx')
      const { vm } = guest
      // What KVM refuses here cannot be provoked: the pin is checked, and the eventfds are new.
      Object.defineProperty(vm, 'irqfd', {
        configurable: true,
        value: () => {
          throw new VfioError(12, 'KVM_IRQFD')
        },
      })
      const error = t.throws(() => wireIntx(vm, device, { gsi: PIN }), { instanceOf: VfioError })
      t.is(error.code, 'ENOMEM')
      t.false(intx.enabled)
      t.deepEqual(holdings(), before)
      Reflect.deleteProperty(vm, 'irqfd')
      wireIntx(vm, device, { gsi: PIN }).close()
    }),
  )
})

test.serial('with the split interrupt chip the pin is the VMM’s own', async (t) => {
  const guest = new Guest()
  const vm = guest.kvm.createVm({ irqchip: 'split' })
  try {
    await withDevice('edu', async (device) => {
      const edu = new Edu(device)
      const refused = t.throws(() => wireIntx(vm, device, { gsi: PIN }), {
        instanceOf: VfioError,
        code: 'EINVAL',
      })
      t.regex(refused.remedy ?? '', /full in-kernel interrupt chip.*'split'.*onAssert/)
      const told: string[] = []
      const wire = wireIntx(vm, device, {
        onAssert: () => told.push('assert'),
        onEoi: () => told.push('eoi'),
      })
      edu.raise(1)
      await until(() => told.length === 1, 'the line')
      wire.eoi()
      await until(() => told.length === 3, 'the line, which is still up')
      t.deepEqual(told, ['assert', 'eoi', 'assert'])
      edu.acknowledge()
      wire.eoi()
      wire.eoi()
      t.deepEqual(told, ['assert', 'eoi', 'assert', 'eoi'], 'an end of interrupt without one is nothing')
      wire.close()
      t.false(device.irq('intx').enabled)
    })
  } finally {
    vm.close()
    await guest.close()
  }
})

test.serial('a Vm closed while wired: everything is undone, and the device works on', async (t) => {
  const before = holdings()
  await withDevice('edu', async (device) => {
    device.config.command.busMaster = true
    const edu = new Edu(device)
    const [vector] = device.irq('msi').enable(1) as [EventFd]
    const guest = new Guest()
    const wire = wireMsi(guest.vm, vector, guest.event)
    const doorbell = wireDoorbell(
      guest.vm,
      { mmio: BigInt(DOORBELLS), length: 4 },
      { region: edu.bar0, offset: EDU.factorial, width: 4, data: 4 },
    )
    await guest.close()
    t.true(wire.closed && doorbell.closed && doorbell.eventfd.closed)
    edu.raise(1)
    t.is(await nextCount(vector), 1)
  })
  t.deepEqual(holdings(), before)
})
