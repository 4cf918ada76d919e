// Real devices behind a broker, driven by this package's client over the socket: as if the client had them itself.
import test from 'ava'

import { type EventFd, VfioError } from '../../ts/index.js'
import { Broker } from './brokers.js'
import {
  Companion,
  EDU,
  EDU_ID,
  EDU_MASK,
  Edu,
  nextCount,
  pattern,
  settledCount,
  throughEdu,
  withDevice,
} from './devices.js'
import { identifyController } from './nvme.js'

/** e1000e: Receive Address Low 0. The kernel resets this one through its power state, which QEMU's registers outlive. */
const RAL0 = 0x5400
/** nvme: Interrupt Mask Set, which a reset clears. */
const INTMS = 0x0c

test.serial('edu: registers, both interrupts without the broker, and DMA both ways', async (t) => {
  const broker = await Broker.of(t, 'edu')
  const device = await broker.connect()
  const edu = new Edu(device)
  t.is(device.config.vendorId, 0x1234)
  t.false(device.info.resettable)
  device.config.command.memorySpace = true
  t.is(edu.bar0.read32(EDU.id), EDU_ID)
  t.is(edu.factorial(10), 3_628_800)

  const [line] = device.irq('intx').enable(1) as [EventFd]
  for (let round = 0; round < 3; round++) {
    edu.raise()
    t.is(await nextCount(line), 1)
    t.is(edu.acknowledge(), 1)
    device.irq('intx').unmask()
  }
  t.is(await settledCount(line), 0)
  device.irq('intx').disable()

  device.config.command.busMaster = true
  const [message] = device.irq('msi').enable(1) as [EventFd]
  const before = (await broker.report()).messages
  edu.raise()
  t.is(await nextCount(message), 1)
  // The write that raises it: the interrupt itself is no message.
  t.is((await broker.report()).messages, before + 1)
  edu.acknowledge()

  const buffer = await device.addressSpace.allocate(4096, { below: EDU_MASK })
  t.is((await broker.report()).mappedBytes, 4096n)
  t.deepEqual(throughEdu(edu.bar0, buffer, pattern(4096, 3)), pattern(4096, 3))
  await buffer.close()
  t.is((await broker.report()).mappedBytes, 0n)
  await device.close()

  // It has no reset: what was left in it is for nobody else.
  const { refusal, busMaster } = await broker.settled()
  t.regex(refusal ?? '', /no reset/)
  t.false(busMaster)
  const refused = await t.throwsAsync(broker.connect(), { instanceOf: VfioError })
  t.is(refused.code, 'ENOTTY')
  await broker.close()
  await withDevice('edu', (own) => t.is(own.region('bar0').read32(EDU.id), EDU_ID))
})

test.serial('e1000e: each client gets it after a reset, with all of its vectors', async (t) => {
  const broker = await Broker.of(t, 'e1000e')
  let address = 0
  await broker.withClient(async (device) => {
    t.true(device.info.resettable)
    device.config.command.memorySpace = true
    const bar0 = device.region('bar0')
    address = bar0.read32(RAL0)
    t.not(address, 0)
    bar0.write32(RAL0, 0x1122_3344)
    t.is(bar0.read32(RAL0), 0x1122_3344)
    bar0.write32(RAL0, address)
    device.config.command.busMaster = true
    const eventfds = device.irq('msix').enable(5)
    device.irq('msix').trigger([0, 4])
    t.deepEqual(
      eventfds.map((eventfd) => eventfd.read()),
      [1, 0, 0, 0, 1],
    )
    // The table is the kernel's.
    const table = device.config.capability('msix')?.table
    t.is(device.region(`bar${table?.bar ?? 0}` as 'bar0').read32(table?.offset ?? 0), 0xffff_ffff)
  })
  await broker.withClient((device) => {
    t.false(device.config.command.busMaster)
    t.false(device.config.command.memorySpace)
    // Nothing answers before its memory is on.
    t.is(device.region('bar0').read32(RAL0), 0xffff_ffff)
    device.config.command.memorySpace = true
    t.is(device.region('bar0').read32(RAL0), address)
  })
  const { events, errors } = await broker.report()
  t.deepEqual(events.filter((what) => ['connected', 'gone', 'reset'].includes(what)).slice(0, 4), [
    'connected',
    'gone',
    'reset',
    'connected',
  ])
  t.deepEqual(errors, [])
})

test.serial('nvme: commands through its queues, again after a client that was killed', async (t) => {
  const broker = await Broker.of(t, 'nvme')
  const identify = (): Promise<string> =>
    broker.withClient(async (device) => {
      device.config.command.memorySpace = true
      return Buffer.from((await identifyController(device)).subarray(24, 64))
        .toString('latin1')
        .trim()
    })
  t.regex(await identify(), /QEMU NVMe/)
  const killed = new Companion(`
    const device = await vfio.VfioDevice.connect(${JSON.stringify(broker.path)}, { watch: false })
    device.config.command.memorySpace = true
    device.config.command.busMaster = true
    device.irq('msix').enable(4)
    device.region('bar0').write32(${INTMS}, 5)
    const buffer = await device.addressSpace.allocate(1 << 20)
    say('ready')
    setInterval(() => device.region('bar0').read32(0x1c), 1)
  `)
  t.is(await killed.said(), 'ready')
  t.is((await broker.report()).mappedBytes, 1n << 20n)
  await killed.end()
  const { busMaster, mappedBytes, refusal } = await broker.settled()
  t.deepEqual({ busMaster, mappedBytes, refusal }, { busMaster: false, mappedBytes: 0n, refusal: null })
  await broker.withClient((device) => {
    device.config.command.memorySpace = true
    t.is(device.region('bar0').read32(INTMS), 0)
  })
  t.regex(await identify(), /QEMU NVMe/)
})

test.serial('nvme with its BAR mapped: the client gets the device itself, and is the only one', async (t) => {
  const broker = await Broker.of(t, 'nvme', { map: ['bar0'] })
  await broker.withClient(async (device) => {
    device.config.command.memorySpace = true
    const bar0 = device.region('bar0')
    t.true(bar0.mmapAreas.length > 0)
    const before = (await broker.report()).messages
    t.not(bar0.read32(8), 0xffff_ffff)
    t.is((await broker.report()).messages, before)
    t.regex(Buffer.from((await identifyController(device)).subarray(24, 64)).toString('latin1'), /QEMU NVMe/)
  })
  t.regex((await broker.settled()).refusal ?? '', /may still have the device/)
  await t.throwsAsync(broker.connect(), { code: 'EBUSY' })
})
