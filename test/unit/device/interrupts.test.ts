// InterruptIndex against a device that only remembers what it was told.
import { setImmediate } from 'node:timers/promises'
import test from 'ava'

import { EventFd, InterruptIndex, SignalPoller, VfioError } from '../../../ts/index.js'
import { type DeviceBackend, IRQ_ACTION, type IrqData } from '../../../ts/device/backend.js'
import type { DeviceCore } from '../../../ts/device/core.js'
import type { IrqInfo } from '../../../ts/device/info.js'
import { coreOf } from '../../fakes/device-core.js'
import { held, until } from '../support.js'

interface Told {
  action: number
  index: number
  start: number
  count: number
  data: IrqData
}

function fake(): { owner: DeviceCore; told: Told[]; refuse: (errno: number) => void } {
  const told: Told[] = []
  let refusal = 0
  const setIrqs: DeviceBackend['setIrqs'] = (action, index, start, count, data) => {
    if (refusal !== 0) {
      const errno = refusal
      refusal = 0
      throw new VfioError(errno, 'VFIO_DEVICE_SET_IRQS')
    }
    told.push({ action, index, start, count, data })
  }
  return { owner: coreOf({ setIrqs }), told, refuse: (errno) => (refusal = errno) }
}

function info(index: number, count: number, flags: Partial<IrqInfo['flags']> = {}): IrqInfo {
  return {
    index,
    count,
    flags: { eventfd: true, maskable: false, automasked: false, noresize: true, raw: 0, ...flags },
  }
}

test('enable by number, by eventfds and by range; disable closes what it made and only that', (t) => {
  const { owner, told } = fake()
  const msix = new InterruptIndex(info(2, 8), owner)
  t.is(msix.name, 'msix')
  const own = msix.enable(3)
  t.is(own.length, 3)
  t.deepEqual(told, [{ action: IRQ_ACTION.trigger, index: 2, start: 0, count: 3, data: own }])
  t.true(msix.enabled)
  t.is(owner.exclusive, msix)
  using given = new EventFd()
  t.deepEqual(msix.enable({ start: 3, eventfds: [given, null] }), [given])
  t.deepEqual([...msix.eventfds.keys()], [0, 1, 2, 3])
  msix.set(1, given)
  t.true(own[1]?.closed, 'replaced: nobody else has it')
  msix.set(0, null)
  t.true(own[0]?.closed)
  t.deepEqual([...msix.eventfds.keys()], [1, 2, 3])
  msix.disable()
  t.deepEqual(told.at(-1), { action: IRQ_ACTION.trigger, index: 2, start: 0, count: 0, data: null })
  t.true(own[2]?.closed)
  t.false(given.closed)
  t.false(msix.enabled)
  t.is(owner.exclusive, undefined)
  const { length } = told
  msix.disable()
  t.is(told.length, length, 'nothing to turn off')
})

test('vectors that the kernel took off their eventfds when it failed midway get them back', (t) => {
  const { owner, told, refuse } = fake()
  const msix = new InterruptIndex(info(2, 8, { noresize: false }), owner)
  const [first, second, third] = msix.enable(3) as [EventFd, EventFd, EventFd]
  const ENOSPC = 28
  for (const call of [() => msix.enable({ start: 1, count: 7 }), () => msix.enable([third, second, first])]) {
    told.length = 0
    refuse(ENOSPC)
    t.throws(call, { instanceOf: VfioError, code: 'ENOSPC' })
    t.true(told.every(({ action, count }) => action === IRQ_ACTION.trigger && count === 1))
    const back = told.map(({ start, data }) => [start, (data as EventFd[])[0]])
    t.deepEqual(back.slice(-2), [
      [1, second],
      [2, third],
    ])
    t.deepEqual([...msix.eventfds.values()], [first, second, third])
  }
  t.is(told.length, 3, 'all three of the second time')
  told.length = 0
  refuse(22)
  t.throws(() => msix.enable({ start: 1, count: 7 }), { code: 'EINVAL' })
  t.deepEqual(told, [], 'refused before any was touched')
})

test('a refused enable leaves no eventfd, and says what is in the way', (t) => {
  const { owner, refuse } = fake()
  const msi = new InterruptIndex(info(1, 4), owner)
  const msix = new InterruptIndex(info(2, 4), owner)
  msi.enable(1)
  const before = held().descriptors
  refuse(22)
  const error = t.throws(() => msix.enable(2), { instanceOf: VfioError, code: 'EINVAL' })
  t.deepEqual(held().descriptors, before)
  t.regex(error.remedy ?? '', /msi is enabled/)
  t.is(error.subject, 'msix vectors 0-1 of the fake')
  t.false(msix.enabled)
  t.is(msix.eventfds.size, 0)
  refuse(25)
  t.regex(
    t.throws(
      () => {
        msi.mask()
      },
      { instanceOf: VfioError },
    ).remedy ?? '',
    /does not support/,
  )
  msi.disable()
})

test('wrong arguments', (t) => {
  const { owner, told } = fake()
  const msix = new InterruptIndex(info(2, 4), owner)
  const enable = (what: unknown) => () => msix.enable(what as never)
  for (const what of [0, 5, -1, 1.5, NaN, [], { start: 4 }, { start: 2, count: 3 }, { start: -1 }])
    t.throws(enable(what), { instanceOf: RangeError })
  for (const what of ['2', null, 2n, [{}], [5], { count: 1, eventfds: [] }, { eventfds: 5 }])
    t.throws(enable(what), { instanceOf: TypeError })
  for (const vector of [-1, 4, 0.5]) {
    t.throws(
      () => {
        msix.trigger(vector)
      },
      { instanceOf: RangeError },
    )
    t.throws(
      () => {
        msix.set(vector, null)
      },
      { instanceOf: RangeError },
    )
  }
  t.throws(
    () => {
      msix.set(0, {} as never)
    },
    { instanceOf: TypeError },
  )
  t.throws(
    () => {
      msix.setUnmaskEventFd({} as never)
    },
    { instanceOf: TypeError },
  )
  t.throws(() => msix.listen(5 as never), { instanceOf: TypeError })
  t.throws(() => msix.listen(() => undefined, { poller: {} as never }), { instanceOf: TypeError })
  t.throws(() => msix.listen(() => undefined, { vector: 4 }), { instanceOf: RangeError })
  t.throws(() => new InterruptIndex(info(3, 0), owner).enable(1), {
    instanceOf: RangeError,
    message: /no err interrupt/,
  })
  const closed = new EventFd()
  closed.close()
  t.is(told.length, 0)
})

test('a handler is called with the counts, and an automasked interrupt is unmasked after it', async (t) => {
  const { owner, told } = fake()
  const intx = new InterruptIndex(info(0, 1, { maskable: true, automasked: true }), owner)
  const counts: number[] = []
  let settle: (() => void) | undefined
  const listener = intx.listen((count) => {
    counts.push(count)
    return new Promise<void>((resolve) => (settle = resolve))
  })
  const [eventfd] = intx.eventfds.values()
  eventfd?.signal(2)
  await until(() => counts.length > 0)
  const unmasks = (): number => told.filter(({ action }) => action === IRQ_ACTION.unmask).length
  t.deepEqual(counts, [2])
  t.is(unmasks(), 0, 'not before the promise has settled')
  settle?.()
  await setImmediate()
  t.is(unmasks(), 1)
  listener.close()
  listener.close()
  eventfd?.signal()
  for (let i = 0; i < 5; i++) await setImmediate()
  t.is(counts.length, 1)
  t.true(intx.enabled)
  intx.disable()
  t.true(eventfd?.closed)
})

test('a listener that closes itself in its handler leaves the line unmasked for the next', async (t) => {
  const { owner, told } = fake()
  const intx = new InterruptIndex(info(0, 1, { maskable: true, automasked: true }), owner)
  const unmasks = (): number => told.filter(({ action }) => action === IRQ_ACTION.unmask).length
  const [eventfd] = intx.enable(1)
  let settle: (() => void) | undefined
  const handlers = [
    () => undefined,
    () => {
      throw new Error('of the handler')
    },
    () => new Promise<void>((resolve) => (settle = resolve)),
  ]
  // What a handler throws goes to the process.
  const uncaught = process.listeners('uncaughtException')
  process.removeAllListeners('uncaughtException')
  process.on('uncaughtException', () => undefined)
  t.teardown(() => {
    process.removeAllListeners('uncaughtException')
    for (const each of uncaught) process.on('uncaughtException', each)
  })
  for (const [i, handler] of handlers.entries()) {
    let calls = 0
    const listener = intx.listen(() => {
      calls++
      listener.close()
      return handler()
    })
    eventfd?.signal()
    await until(() => calls > 0)
    settle?.()
    await setImmediate()
    t.is(unmasks(), i + 1)
  }
  intx.disable()
})

test('a listener on a poller of the caller’s; the device’s close ends it', async (t) => {
  const { owner } = fake()
  const msix = new InterruptIndex(info(2, 2), owner)
  using poller = new SignalPoller()
  let calls = 0
  msix.listen(() => calls++, { vector: 1, poller })
  t.is(poller.size, 1)
  const eventfd = msix.eventfds.get(1)
  eventfd?.signal()
  await until(() => calls > 0)
  t.is(calls, 1)
  msix.closeWithDevice(false)
  t.is(poller.size, 0)
  t.true(eventfd?.closed)
  t.false(msix.enabled)
})
