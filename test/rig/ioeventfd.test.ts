// Registers that the kernel writes when an eventfd is signalled, on real devices.
import { setTimeout as sleep } from 'node:timers/promises'

import test from 'ava'

import { EventFd, SignalPoller, VfioError } from '../../ts/index.js'
import { EDU, Edu, holdings, until, withDevice } from './devices.js'

test.serial(
  'a signal writes the register, with the data that was said, once for signals that come together',
  async (t) => {
    await withDevice('edu', async (device) => {
      const edu = new Edu(device)
      const doorbell = edu.bar0.ioeventfd(EDU.factorial, { width: 4, data: 5 })
      edu.bar0.write32(EDU.factorial, 1)
      await until(() => edu.bar0.read32(EDU.factorial) === 1, 'the first factorial')
      doorbell.eventfd.signal()
      await until(() => edu.bar0.read32(EDU.factorial) === 120, 'the factorial of what the kernel wrote')
      // The liveness register holds the inverse of what was written last: a second write with other data.
      using liveness = new EventFd()
      const second = edu.bar0.ioeventfd(EDU.liveness, { width: 4, data: 0xffff_0000n, eventfd: liveness })
      liveness.signal(7)
      await until(() => edu.bar0.read32(EDU.liveness) === 0x0000_ffff, 'the inverse')
      second.close()
      edu.bar0.write32(EDU.liveness, 0)
      liveness.signal()
      t.is(liveness.read(), 1, 'nobody takes it any more')
      t.is(edu.bar0.read32(EDU.liveness), 0xffff_ffff)
      t.false(liveness.closed, "it stays the caller's")
      doorbell.close()
      t.true(doorbell.eventfd.closed, 'its own goes with it')
      doorbell.close()
    })
  },
)

test.serial('a signal that comes while memory decoding is off writes nothing, and is not kept', async (t) => {
  await withDevice('edu', async (device) => {
    const edu = new Edu(device)
    using signals = new EventFd()
    const doorbell = edu.bar0.ioeventfd(EDU.liveness, { width: 4, data: 0xffff_0000, eventfd: signals })
    const { command } = device.config
    edu.bar0.write32(EDU.liveness, 1)
    command.memorySpace = false
    signals.signal()
    command.memorySpace = true
    edu.bar0.remap()
    await sleep(50)
    t.is(edu.bar0.read32(EDU.liveness), 0xffff_fffe)
    signals.signal()
    await until(() => edu.bar0.read32(EDU.liveness) === 0x0000_ffff, 'the next one')
    doorbell.close()
  })
})

test.serial('its eventfd has one consumer: reads, pollers, loops and a second one are refused', async (t) => {
  await withDevice('edu', (device) => {
    const bar0 = device.region('bar0')
    using eventfd = new EventFd()
    using other = new EventFd()
    using poller = new SignalPoller()
    const taken = { instanceOf: VfioError, code: 'EBUSY' }
    const doorbell = bar0.ioeventfd(EDU.factorial, { width: 4, data: 1, eventfd })
    for (const refused of [
      t.throws(() => eventfd.read(), taken),
      t.throws(() => {
        poller.add(eventfd, () => undefined)
      }, taken),
      t.throws(() => bar0.ioeventfd(EDU.liveness, { width: 4, data: 1, eventfd }), taken),
      t.throws(() => eventfd[Symbol.asyncIterator](), taken),
    ]) {
      t.is(refused.reason, 'eventfd-in-use')
      t.truthy(refused.remedy)
    }
    poller.add(other, () => undefined)
    t.throws(() => bar0.ioeventfd(EDU.liveness, { width: 4, data: 1, eventfd: other }), taken)
    doorbell.close()
    t.is(eventfd.read(), 0)
  })
})

test.serial('closing the eventfd, or the device, takes it back first', async (t) => {
  await withDevice('edu', (device) => {
    const bar0 = device.region('bar0')
    const options = { width: 4, data: 3 } as const
    const eventfd = new EventFd()
    const doorbell = bar0.ioeventfd(EDU.factorial, { ...options, eventfd })
    eventfd.close()
    t.true(doorbell.closed)
    const own = bar0.ioeventfd(EDU.factorial, options)
    own.eventfd.close()
    t.true(own.closed)
    // Closed while its eventfd lives on: the kernel takes the same write again.
    using living = new EventFd()
    bar0.ioeventfd(EDU.factorial, { ...options, eventfd: living }).close()
    bar0.ioeventfd(EDU.factorial, { ...options, eventfd: living }).close()
  })
  const before = holdings()
  using kept = new EventFd()
  const doorbell = await withDevice('edu', (device) =>
    device.region('bar0').ioeventfd(EDU.factorial, { width: 4, data: 3, eventfd: kept }),
  )
  t.true(doorbell.closed)
  kept.signal()
  t.is(kept.read(), 1)
  kept.close()
  t.deepEqual(holdings(), before)
})

test.serial('the same write twice, and one more than a device takes', async (t) => {
  await withDevice('edu', (device) => {
    const bar0 = device.region('bar0')
    const first = bar0.ioeventfd(EDU.factorial, { width: 4, data: 0 })
    const twice = t.throws(() => bar0.ioeventfd(EDU.factorial, { width: 4, data: 0 }), {
      instanceOf: VfioError,
      code: 'EEXIST',
    })
    t.regex(twice.message, /bar0.*0x8.*set up already/)
    for (let data = 1; data < 1000; data++) bar0.ioeventfd(EDU.factorial, { width: 4, data })
    const full = t.throws(() => bar0.ioeventfd(EDU.factorial, { width: 4, data: 1000 }), {
      instanceOf: VfioError,
      code: 'ENOSPC',
    })
    t.regex(full.remedy ?? '', /1000/)
    first.close()
    bar0.ioeventfd(EDU.factorial, { width: 4, data: 1000 })
  })
})

test.serial('where there can be none', async (t) => {
  await withDevice('nvme', (device) => {
    const bar0 = device.region('bar0')
    const table = device.config.capability('msix')?.table
    if (table === undefined) return t.fail()
    const range = { instanceOf: RangeError }
    t.throws(() => bar0.ioeventfd(table.offset, { width: 4, data: 0 }), range)
    t.throws(() => bar0.ioeventfd(table.offset + table.size - 4, { width: 4, data: 0 }), range)
    t.throws(() => bar0.ioeventfd(2, { width: 4, data: 0 }), { ...range, message: /multiple of 4/ })
    t.throws(() => bar0.ioeventfd(bar0.size, { width: 4, data: 0 }), range)
    t.throws(() => bar0.ioeventfd(0, { width: 3 as never, data: 0 }), range)
    t.throws(() => bar0.ioeventfd(0, { width: 1, data: 256 }), range)
    t.throws(() => bar0.ioeventfd(0, { width: 4, data: -1 }), range)
    t.throws(() => bar0.ioeventfd(0, { width: 4, data: 0, eventfd: {} as never }), { instanceOf: TypeError })
    t.throws(() => bar0.ioeventfd(0, undefined as never), { instanceOf: TypeError })
    t.throws(() => device.region('config').ioeventfd(0, { width: 4, data: 0 }), range)
    bar0.ioeventfd(table.offset + table.size, { width: 4, data: 0 }).close()
  })
})

test.serial('8 bytes: taken, or refused with the reason', async (t) => {
  await withDevice('edu', (device) => {
    try {
      device.region('bar0').ioeventfd(0x80, { width: 8, data: 1n }).close()
      t.pass()
    } catch (error) {
      t.true(
        error instanceof VfioError && error.code === 'EINVAL' && (error.remedy ?? '').includes('8 bytes'),
      )
    }
  })
})

test.serial('widths: the kernel takes 1, 2 and 4 bytes', async (t) => {
  await withDevice('edu', (device) => {
    const bar0 = device.region('bar0')
    for (const width of [1, 2, 4] as const) {
      const doorbell = bar0.ioeventfd(EDU.dmaLength, { width, data: 1 })
      t.false(doorbell.eventfd.closed)
      doorbell.close()
    }
  })
})
