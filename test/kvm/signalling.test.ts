// Eventfds wired to a guest, and the traps on the way.
import { EventFd, SignalPoller, VfioError } from '../../ts/index.js'
import { Kvm, type MsiRoute } from '../../ts/kvm/index.js'

import { COUNTER, DOORBELL, MESSAGE, countingMachine, kvmTest, machine, runInWorker } from './support.js'

kvmTest(
  'eventfd to irqfd to the guest to ioeventfd and back: 2,000 in a closed loop, none lost',
  async (t) => {
    using made = countingMachine()
    const { vm, vcpu, view } = made
    const interrupt = new EventFd()
    const route = vm.routing.msi(MESSAGE)
    const irqfd = vm.irqfd(interrupt, { gsi: route.gsi })
    const doorbell = vm.ioeventfd({ pio: DOORBELL, length: 1 })
    const runner = await runInWorker(vcpu)
    // Until the guest has turned its APIC on, messages are dropped.
    while (!vm.signalMsi(MESSAGE)) await new Promise((resolve) => setTimeout(resolve, 1))
    let rings = 0
    for await (const count of doorbell) {
      rings += count
      if (rings > 2000) break
      interrupt.signal()
    }
    t.is(rings, 2001)
    t.is(view.getUint16(COUNTER, true), 2001)
    const { io_exits: before = 0n } = vcpu.stats()
    irqfd.close()
    route.close()
    interrupt.close()
    t.true(before >= 0n)
    vcpu.kick()
    t.is(await runner.ended, 'interrupted')
    await runner.exited
  },
)

kvmTest('a route that is rewritten sends the new message', async (t) => {
  using made = countingMachine()
  const { vm, vcpu } = made
  const interrupt = new EventFd()
  const route = vm.routing.msi({ ...MESSAGE, data: 0x50 })
  vm.irqfd(interrupt, { gsi: route.gsi })
  const doorbell = vm.ioeventfd({ pio: DOORBELL, length: 1 })
  const runner = await runInWorker(vcpu)
  while (!vm.signalMsi(MESSAGE)) await new Promise((resolve) => setTimeout(resolve, 1))
  const rings = doorbell[Symbol.asyncIterator]()
  await rings.next()
  route.update(MESSAGE)
  interrupt.signal()
  t.is((await rings.next()).value, 1)
  await rings.return?.()
  interrupt.close()
  vcpu.kick()
  await runner.ended
  await runner.exited
})

kvmTest('an eventfd has one consumer', (t) => {
  using made = machine([0xf4])
  using eventfd = new EventFd()
  using poller = new SignalPoller()
  const { gsi } = made.vm.routing.msi(MESSAGE)
  poller.add(eventfd, () => undefined)
  const busy = t.throws(() => made.vm.irqfd(eventfd, { gsi }), { instanceOf: VfioError })
  t.is(busy.reason, 'eventfd-in-use')
  poller.remove(eventfd)
  const wire = made.vm.irqfd(eventfd, { gsi })
  t.throws(() => made.vm.irqfd(eventfd, { gsi }), { instanceOf: VfioError, code: 'EBUSY' }, 'wired twice')
  t.throws(
    () => poller.add(eventfd, () => undefined),
    { instanceOf: VfioError, code: 'EBUSY' },
    'then watched',
  )
  t.throws(() => eventfd.read(), { instanceOf: VfioError, code: 'EBUSY' }, 'then read')
  wire.close()
  wire.close()
  eventfd.signal(3)
  t.is(eventfd.read(), 3, 'free again')
})

kvmTest('an eventfd that is closed while wired takes its wire along', (t) => {
  using made = machine([0xf4])
  const route = made.vm.routing.msi(MESSAGE)
  const eventfd = new EventFd()
  const wire = made.vm.irqfd(eventfd, { gsi: route.gsi })
  t.throws(
    () => {
      route.close()
    },
    { instanceOf: VfioError, code: 'EBUSY' },
  )
  eventfd.close()
  t.true(wire.closed)
  route.close()
  made.vm.ioeventfd({ mmio: 0xd000_0000n, length: 4 }).close()
  made.vm.ioeventfd({ mmio: 0xd000_0000n, length: 4 }).close()
  t.pass('the doorbell was free again')
})

kvmTest('a resampling eventfd that is closed while wired takes its wire along', (t) => {
  using made = machine([0xf4])
  using eventfd = new EventFd()
  const resample = new EventFd()
  const wire = made.vm.irqfd(eventfd, { gsi: 5, resample })
  resample.close()
  t.true(wire.closed)
  made.vm.irqfd(eventfd, { gsi: 5 }).close()
})

kvmTest('what cannot be resampled says why', (t) => {
  using eventfd = new EventFd()
  using resample = new EventFd()
  using full = machine([0xf4])
  const { gsi } = full.vm.routing.msi(MESSAGE)
  const message = t.throws(() => full.vm.irqfd(eventfd, { gsi, resample }), { instanceOf: VfioError })
  t.is(message.code, 'EINVAL')
  t.regex(message.remedy ?? '', /not a message/)
  full.vm.irqfd(eventfd, { gsi: 5, resample }).close()
  using split = machine([0xf4], { irqchip: 'split' })
  const refused = t.throws(() => split.vm.irqfd(eventfd, { gsi: 5, resample }), { instanceOf: VfioError })
  t.regex(refused.remedy ?? '', /ioapic-eoi/)
})

kvmTest('a GSI that leads nowhere is refused before the kernel would be silent', (t) => {
  using made = machine([0xf4])
  using eventfd = new EventFd()
  const error = t.throws(() => made.vm.irqfd(eventfd, { gsi: 100 }), { instanceOf: VfioError })
  t.is(error.code, 'ENOENT')
  t.regex(error.remedy ?? '', /routing/)
  t.throws(
    () => {
      made.vm.setIrqLine(100, true)
    },
    { instanceOf: VfioError, code: 'ENOENT' },
  )
})

kvmTest('doorbells: lengths, matches, ports, overlaps and memory', (t) => {
  using made = machine([0xf4])
  const { vm } = made
  for (const length of [0, 1, 2, 4, 8] as const) vm.ioeventfd({ mmio: 0xd000_0000n, length }).close()
  const one = vm.ioeventfd({ mmio: 0xd000_0000n, length: 4, match: 1 })
  vm.ioeventfd({ mmio: 0xd000_0000n, length: 4, match: 2, eventfd: one })
  const taken = t.throws(() => vm.ioeventfd({ mmio: 0xd000_0000n, length: 4, match: 2 }), {
    instanceOf: VfioError,
  })
  t.is(taken.code, 'EEXIST')
  t.throws(() => vm.ioeventfd({ pio: 0x500, length: 8 }), { instanceOf: RangeError })
  t.throws(() => vm.ioeventfd({ pio: 0x500, length: 3 as never }), { instanceOf: RangeError })
  t.throws(() => vm.ioeventfd({ mmio: 0xd000_0000n, length: 0, match: 1 }), { instanceOf: RangeError })
  t.throws(() => vm.ioeventfd({ mmio: 0xd000_0000n, length: 1, match: 256 }), { instanceOf: RangeError })
  t.throws(() => vm.ioeventfd({ length: 1 } as never), { instanceOf: TypeError })
  const silent = t.throws(() => vm.ioeventfd({ mmio: 0x3000n, length: 4 }), { instanceOf: VfioError })
  t.is(silent.code, 'EFAULT')
  one.close()
})

kvmTest('routes up to the limit, which is named', (t) => {
  // Each change writes the whole table, and the kernel waits for its readers: thousands take their time.
  t.timeout(120_000)
  using kvm = Kvm.open()
  using vm = kvm.createVm()
  const { routing } = vm
  t.true(routing.limit >= 1024)
  const before = routing.size
  const routes: MsiRoute[] = []
  const error = t.throws(
    () => {
      for (let i = 0; i <= routing.limit; i++) routes.push(routing.msi(MESSAGE))
    },
    { instanceOf: VfioError },
  )
  t.is(error.code, 'ENOSPC')
  t.regex(error.remedy ?? '', new RegExp(String(routing.limit)))
  t.true(routes.length > 1000)
  for (const route of routes) route.close()
  t.is(routing.size, before)
  const pin = routing.pin(30, { chip: 'ioapic', pin: 10 })
  t.throws(() => routing.pin(30, { chip: 'ioapic', pin: 11 }), { instanceOf: VfioError, code: 'EEXIST' })
  pin.close()
  t.throws(() => routing.pin(30, { chip: 'ioapic', pin: 24 }), { instanceOf: RangeError })
})

kvmTest(
  'the split chip: a level interrupt of the VMM’s own IOAPIC ends in an exit that names its vector',
  async (t) => {
    using made = countingMachine({ irqchip: 'split' })
    const { vm, vcpu } = made
    // Bit 15: level-triggered; bit 14: asserted.
    const level = { ...MESSAGE, data: MESSAGE.data | 0xc000 }
    const route = vm.routing.msi(level, { gsi: 5 })
    t.is(route.gsi, 5)
    t.throws(() => vm.routing.msi(MESSAGE, { gsi: 5 }), { instanceOf: VfioError, code: 'EEXIST' })
    t.throws(() => vm.routing.msi(MESSAGE, { gsi: vm.routing.limit }), { instanceOf: RangeError })
    using doorbell = vm.ioeventfd({ pio: DOORBELL, length: 1 })
    const runner = await runInWorker(vcpu)
    // Until the guest has turned its APIC on, messages are dropped.
    while (!vm.signalMsi(MESSAGE)) await new Promise((resolve) => setTimeout(resolve, 1))
    const rings = doorbell[Symbol.asyncIterator]()
    await rings.next()
    vm.setIrqLine(5, true)
    t.is(await runner.ended, 'ioapic-eoi')
    await runner.exited
    t.deepEqual(vcpu.mpState, 0)
    await rings.return?.()
    using full = machine([0xf4])
    t.throws(() => full.vm.routing.msi(MESSAGE, { gsi: 5 }), { instanceOf: RangeError })
  },
)
