// Interrupts of real devices: messages and a level line from edu, MSI-X by loop-back, and the rules between them.
import { setTimeout as sleep } from 'node:timers/promises'
import test from 'ava'

import { EventFd, SignalPoller, VfioError } from '../../ts/index.js'
import { Edu, nextCount, settledCount, until, withDevice } from './devices.js'

function usingEdu<T>(use: (edu: Edu) => Promise<T>): Promise<T> {
  return withDevice('edu', async (device) => {
    // A message is a write that the device issues.
    device.config.command.busMaster = true
    return use(new Edu(device))
  })
}

test.serial('what edu has', async (t) => {
  await usingEdu(async ({ device }) => {
    const intx = device.irq('intx')
    t.is(intx.count, 1)
    t.true(intx.info.flags.maskable && intx.info.flags.automasked && intx.info.flags.eventfd)
    const msi = device.irq('msi')
    t.is(msi.count, 1)
    t.false(msi.info.flags.automasked)
    t.is(device.irq('msix').count, 0)
    t.is(device.irq(0), intx)
    t.true(device.irqs().includes(msi))
    t.throws(() => device.irq('msix').enable(1), { instanceOf: RangeError, message: /no msix/ })
    t.throws(() => device.irq('nmi' as never), { any: true })
    t.throws(() => device.irq(64), { instanceOf: VfioError, code: 'EINVAL' })
    t.false(msi.enabled)
  })
})

test.serial('an MSI arrives in an eventfd', async (t) => {
  await usingEdu(async (edu) => {
    const msi = edu.device.irq('msi')
    const [eventfd] = msi.enable(1)
    t.true(msi.enabled)
    t.is(msi.eventfds.get(0), eventfd)
    edu.raise(5)
    t.is(await nextCount(eventfd as EventFd), 1)
    t.is(edu.acknowledge(), 5)
    t.is(await settledCount(eventfd as EventFd), 0)
    msi.disable()
    t.false(msi.enabled)
    t.true(eventfd?.closed)
    msi.disable()
    t.is(msi.eventfds.size, 0)
  })
})

test.serial('1,000 MSIs in a closed loop, none lost and none made up', async (t) => {
  await usingEdu(async (edu) => {
    let taken = 0
    let signals = 0
    await new Promise<void>((resolve, reject) => {
      const listener = edu.device.irq('msi').listen((count) => {
        signals += count
        if (edu.acknowledge() !== 1) reject(new Error(`the wrong cause, after ${String(taken)}`))
        if (++taken === 1000) {
          listener.close()
          resolve()
        } else {
          edu.raise(1)
        }
      })
      edu.raise(1)
    })
    await sleep(100)
    t.is(taken, 1000)
    t.is(signals, 1000)
  })
})

test.serial('for await on an MSI', async (t) => {
  await usingEdu(async (edu) => {
    const [eventfd] = edu.device.irq('msi').enable(1)
    const causes: number[] = []
    edu.raise(1)
    for await (const count of eventfd as EventFd) {
      t.is(count, 1)
      causes.push(edu.acknowledge())
      if (causes.length === 20) break
      edu.raise(causes.length + 1)
    }
    t.deepEqual(
      causes,
      Array.from({ length: 20 }, (_, i) => i + 1),
    )
  })
})

test.serial('closing the device ends a for await on its interrupt', async (t) => {
  const edu = await Edu.open()
  const [eventfd] = edu.device.irq('msi').enable(1)
  const seen: number[] = []
  const loop = (async () => {
    for await (const count of eventfd as EventFd) seen.push(count)
  })()
  await sleep(20)
  await edu.device.close()
  await loop
  t.deepEqual(seen, [])
})

test.serial('an INTx is masked when it fires, and fires again on unmask while the line is up', async (t) => {
  await usingEdu(async (edu) => {
    const intx = edu.device.irq('intx')
    const [line] = intx.enable(1) as [EventFd]
    edu.raise(1)
    t.is(await nextCount(line), 1)
    t.is(await settledCount(line), 0, 'masked since it fired')
    intx.unmask()
    t.is(await nextCount(line), 1, 'the line is still up')
    t.is(await settledCount(line), 0)
    t.is(edu.acknowledge(), 1)
    intx.unmask()
    t.is(await settledCount(line), 0, 'the line is down')
    edu.raise(2)
    t.is(await nextCount(line), 1)
    edu.acknowledge()
  })
})

test.serial('a mask holds an INTx back until it is taken away', async (t) => {
  await usingEdu(async (edu) => {
    const intx = edu.device.irq('intx')
    const error = t.throws(
      () => {
        intx.mask()
      },
      { instanceOf: VfioError },
    )
    t.is(error.code, 'EINVAL')
    t.regex(error.message, /enable\(\) first/)
    const [line] = intx.enable(1) as [EventFd]
    intx.mask()
    edu.raise(1)
    t.is(await settledCount(line), 0)
    intx.unmask()
    t.is(await nextCount(line), 1)
    edu.acknowledge()
  })
})

test.serial('an eventfd unmasks an INTx in the kernel', async (t) => {
  await usingEdu(async (edu) => {
    const intx = edu.device.irq('intx')
    const [line] = intx.enable(1) as [EventFd]
    using unmask = new EventFd()
    intx.setUnmaskEventFd(unmask)
    t.is(intx.unmaskEventFd, unmask)
    for (let round = 0; round < 20; round++) {
      if (round === 0) edu.raise(1)
      else unmask.signal()
      t.is(await nextCount(line), 1, `round ${String(round)}`)
    }
    edu.acknowledge()
    unmask.signal()
    t.is(await settledCount(line), 0)
    intx.setUnmaskEventFd(null)
    t.is(intx.unmaskEventFd, undefined)
    intx.disable()
    t.false(unmask.closed)
  })
})

test.serial('a line that stays up costs one handler call at a time', async (t) => {
  await usingEdu(async (edu) => {
    const intx = edu.device.irq('intx')
    let calls = 0
    let running = 0
    let most = 0
    const listener = intx.listen(async () => {
      calls++
      most = Math.max(most, ++running)
      await sleep(20)
      running--
    })
    edu.raise(1)
    const started = performance.now()
    await sleep(1000)
    const bound = (performance.now() - started) / 20 + 1
    t.true(calls >= 2, `${String(calls)} calls`)
    t.true(calls <= bound, `${String(calls)} calls, at most ${String(bound)} could have run`)
    t.is(most, 1)
    edu.acknowledge()
    await sleep(100)
    const after = calls
    await sleep(200)
    t.is(calls, after, 'quiet once the line is down')
    listener.close()
    edu.raise(1)
    await sleep(100)
    t.is(calls, after, 'quiet once the listener is closed')
    edu.acknowledge()
  })
})

test.serial('an INTx listener that closes itself in its handler leaves the line to the next', async (t) => {
  await usingEdu(async (edu) => {
    const intx = edu.device.irq('intx')
    for (let round = 0; round < 5; round++) {
      let calls = 0
      const listener = intx.listen(() => {
        listener.close()
        edu.acknowledge()
        calls++
      })
      edu.raise(1)
      const end = performance.now() + 5000
      while (calls === 0 && performance.now() < end) await sleep(5)
      t.is(calls, 1, `listener ${String(round)}`)
    }
  })
})

test.serial('a handler of an INTx that throws or rejects does not leave it masked', async (t) => {
  await usingEdu(async (edu) => {
    const uncaught: unknown[] = []
    const onError = (error: unknown): unknown => uncaught.push(error)
    const listeners = process.listeners('uncaughtException')
    const rejections = process.listeners('unhandledRejection')
    process.removeAllListeners('uncaughtException').on('uncaughtException', onError)
    process.removeAllListeners('unhandledRejection').on('unhandledRejection', onError)
    try {
      let calls = 0
      const listener = edu.device.irq('intx').listen(() => {
        edu.acknowledge()
        calls++
        if (calls === 1) throw new Error('thrown')
        if (calls === 2) return Promise.reject(new Error('rejected'))
        return undefined
      })
      for (const wanted of [1, 2, 3]) {
        edu.raise(1)
        const end = performance.now() + 10_000
        while (calls < wanted && performance.now() < end) await sleep(5)
        t.is(calls, wanted)
      }
      listener.close()
      await sleep(10)
    } finally {
      process.removeAllListeners('uncaughtException')
      process.removeAllListeners('unhandledRejection')
      for (const each of listeners) process.on('uncaughtException', each)
      for (const each of rejections) process.on('unhandledRejection', each)
    }
    t.deepEqual(
      uncaught.map((error) => (error as Error).message),
      ['thrown', 'rejected'],
    )
  })
})

test.serial('listen() on a poller of one’s own, and again after close', async (t) => {
  await usingEdu(async (edu) => {
    using poller = new SignalPoller()
    for (let round = 0; round < 3; round++) {
      const arrived = new Promise<number>((resolve) => {
        const listener = edu.device.irq('msi').listen(
          (count) => {
            listener.close()
            resolve(count)
          },
          { poller },
        )
      })
      edu.raise(1)
      t.is(await arrived, 1)
      edu.acknowledge()
    }
    t.is(poller.size, 0)
    t.is(poller.counters.events, 3)
  })
})

test.serial('MSI-X vectors of nvme by loop-back', async (t) => {
  await withDevice('nvme', async (device) => {
    const msix = device.irq('msix')
    t.is(device.config.capability('msix')?.tableSize, msix.count)
    const all = msix.enable(msix.count)
    t.is(all.length, msix.count)
    for (const vector of [0, 1, 7, msix.count - 1]) {
      msix.trigger(vector)
      t.deepEqual(
        all.map((eventfd) => eventfd.read()),
        all.map((_, i) => (i === vector ? 1 : 0)),
        `vector ${String(vector)}`,
      )
    }
    msix.trigger(3)
    msix.trigger(3)
    t.is(all[3]?.read(), 2)
    msix.trigger([9, 2, 5, 5])
    t.deepEqual(
      all.flatMap((eventfd, vector) => (eventfd.read() > 0 ? [vector] : [])),
      [2, 5, 9],
      'several in one call, and nothing between them',
    )
    t.throws(() => msix.trigger([]), { instanceOf: RangeError })
    t.throws(() => msix.trigger([0, msix.count]), { instanceOf: RangeError })
    t.throws(() => msix.trigger([0, '1' as never]), { instanceOf: TypeError })
    t.throws(
      () => {
        msix.trigger(msix.count)
      },
      { instanceOf: RangeError },
    )
    t.throws(() => msix.enable(msix.count + 1), { instanceOf: RangeError })
    msix.disable()
    t.true(all.every((eventfd) => eventfd.closed))
    t.throws(
      () => {
        msix.trigger(0)
      },
      { instanceOf: VfioError, message: /enable\(\) first/ },
    )
  })
})

test.serial('every vector of nvme at once through one poller', async (t) => {
  await withDevice('nvme', async (device) => {
    const msix = device.irq('msix')
    const vectors = msix.enable(msix.count)
    using poller = new SignalPoller()
    const seen = new Map<EventFd, number>()
    for (const vector of vectors)
      poller.add(vector, (count, from) => seen.set(from, (seen.get(from) ?? 0) + count))
    for (let round = 0; round < 10; round++) for (let i = 0; i < msix.count; i++) msix.trigger(i)
    await until(() => [...seen.values()].reduce((sum, n) => sum + n, 0) === msix.count * 10, 'all triggers')
    t.deepEqual(
      vectors.map((vector) => seen.get(vector)),
      vectors.map(() => 10),
    )
  })
})

test.serial('part of the vectors, given eventfds, empty places, one vector at a time', async (t) => {
  await withDevice('e1000e', async (device) => {
    const msix = device.irq('msix')
    t.is(msix.count, 5)
    const [second, third] = msix.enable({ start: 1, count: 2 }) as [EventFd, EventFd]
    t.deepEqual([...msix.eventfds.keys()], [1, 2])
    msix.trigger(2)
    t.deepEqual([second.read(), third.read()], [0, 1])
    msix.disable()

    using a = new EventFd()
    using b = new EventFd()
    using c = new EventFd()
    t.deepEqual(msix.enable([a, null, b]), [a, b])
    for (const vector of [0, 1, 2]) msix.trigger(vector)
    t.deepEqual([a.read(), b.read()], [1, 1])
    msix.set(1, c)
    msix.trigger(1)
    t.deepEqual([a.read(), b.read(), c.read()], [0, 0, 1])
    msix.set(0, null)
    msix.trigger(0)
    msix.trigger(2)
    t.deepEqual([a.read(), b.read(), c.read()], [0, 1, 0])
    t.deepEqual([...msix.eventfds.keys()].sort(), [1, 2])
    if (msix.info.flags.noresize) {
      const error = t.throws(
        () => {
          msix.set(4, a)
        },
        { instanceOf: VfioError },
      )
      t.is(error.code, 'EINVAL')
      t.regex(error.message, /cannot grow/)
    } else {
      msix.set(4, a)
      msix.trigger(4)
      t.is(a.read(), 1)
    }
    msix.disable()
    t.false(a.closed || b.closed || c.closed)
    t.deepEqual([a.read(), b.read(), c.read()], [0, 0, 0], 'turning off fires nothing')

    t.deepEqual(msix.enable({ start: 2, eventfds: [a] }), [a])
    msix.trigger(2)
    t.is(a.read(), 1)
    msix.disable()
    t.throws(() => msix.enable({ start: 5, count: 1 }), { instanceOf: RangeError })
    t.throws(() => msix.enable({ start: 4, count: 2 }), { instanceOf: RangeError })
    t.throws(() => msix.enable({ count: 1, eventfds: [a] }), { instanceOf: TypeError })
    t.throws(() => msix.enable(['fd' as never]), { instanceOf: TypeError })
    t.throws(() => msix.enable(0), { instanceOf: RangeError })
    t.throws(
      () => {
        msix.set(0, 5 as never)
      },
      { instanceOf: TypeError },
    )
    t.false(msix.enabled)
  })
})

test.serial('INTx, MSI and MSI-X exclude each other', async (t) => {
  await withDevice('e1000e', async (device) => {
    for (const [first, second] of [
      ['msix', 'msi'],
      ['msi', 'intx'],
      ['intx', 'msix'],
    ] as const) {
      device.irq(first).enable(1)
      const error = t.throws(() => device.irq(second).enable(1), { instanceOf: VfioError })
      t.is(error.code, 'EINVAL')
      t.is(error.syscall, 'VFIO_DEVICE_SET_IRQS')
      t.regex(error.remedy ?? '', new RegExp(`${first} is enabled.*disable it first`))
      t.false(device.irq(second).enabled)
      const idle = t.throws(
        () => {
          device.irq(second).trigger(0)
        },
        { instanceOf: VfioError },
      )
      t.regex(idle.remedy ?? '', new RegExp(`${first} is enabled`))
      device.irq(first).disable()
      t.is(device.irq(second).enable(1).length, 1)
      device.irq(second).disable()
    }
  })
})

test.serial('what a vector cannot do says which call refused it', async (t) => {
  await withDevice('e1000e', (device) => {
    const msix = device.irq('msix')
    msix.enable(1)
    const refusal = (call: () => void): VfioError => t.throws(call, { instanceOf: VfioError })
    const error = refusal(() => {
      msix.mask(0)
    })
    t.is(error.syscall, 'VFIO_DEVICE_SET_IRQS')
    t.truthy(error.remedy)
    t.throws(() => msix.enable('2' as never), { instanceOf: TypeError })
    msix.disable()
    const early = refusal(() => {
      device.irq('intx').mask()
    })
    t.is(early.code, 'EINVAL')
    t.regex(early.remedy ?? '', /enable\(\) first/)
  })
})

test.serial('the request and error interrupts by loop-back reach their handlers', async (t) => {
  await withDevice('e1000e', async (device) => {
    const seen: string[] = []
    device.onRequest = (which) => seen.push(`request ${which.name}`)
    device.onError = (which) => seen.push(`error ${which.name}`)
    device.irq('req').trigger()
    device.irq('err').trigger()
    const end = performance.now() + 5000
    while (seen.length < 2 && performance.now() < end) await sleep(5)
    t.deepEqual(seen.sort(), [`error ${device.name}`, `request ${device.name}`])
    t.false(device.closed)
  })
})

test.serial('without a handler an error turns bus mastering off, with a warning', async (t) => {
  await withDevice('e1000e', async (device) => {
    device.config.command.busMaster = true
    const warnings: string[] = []
    const onWarning = ({ name }: Error): unknown => warnings.push(name)
    process.on('warning', onWarning)
    device.irq('err').trigger()
    await until(() => warnings.length > 0, 'a warning')
    process.off('warning', onWarning)
    t.deepEqual(warnings, ['VfioErrorWarning'])
    t.false(device.config.command.busMaster)
    t.false(device.closed)
  })
})
