// The kernel's sample serial card as a mediated device: interrupts, migration from one into another, DMA logging.
import test from 'ava'

import {
  type MigrationState,
  type PrecopyInfo,
  type Region,
  VfioDevice,
  VfioError,
  wireIntx,
} from '../../../ts/index.js'
import { holdings, nextCount, settledCount, until } from '../devices.js'
import { Guest } from '../guest.js'
import { createMdev, removeMdev, withMdevs } from '../mdev.js'

const ONE_PORT = { parent: 'mtty', type: 'mtty-1' }
const TWO_PORTS = { parent: 'mtty', type: 'mtty-2' }

/** Registers of a 16550. */
const UART = { data: 0, enable: 1, fifo: 2, line: 3, modem: 4, status: 5, scratch: 7 } as const
const RECEIVED = 1
const FIFO_ON = 1
const DATA_READY = 1

/** Sends bytes into a port, which loops them back, and leaves them in its queue. */
function send(port: Region, text: string): void {
  port.write8(UART.fifo, FIFO_ON)
  for (const byte of Buffer.from(text)) port.write8(UART.data, byte)
}

/** Takes what is in a port's queue. */
function receive(port: Region): string {
  const bytes: number[] = []
  while ((port.read8(UART.status) & DATA_READY) !== 0 && bytes.length < 100) bytes.push(port.read8(UART.data))
  return Buffer.from(bytes).toString()
}

const nothing = (): void => undefined

async function refusal(call: () => Promise<unknown>): Promise<VfioError> {
  try {
    await call()
  } catch (error) {
    if (error instanceof VfioError) return error
    throw error
  }
  throw new Error('it was not refused')
}

test.serial('two of them, opened by UUID, each with a port of its own', async (t) => {
  await withMdevs({ ...TWO_PORTS, count: 2 }, ([first, second], uuids) => {
    t.is(first?.name, uuids[0])
    t.is(first?.info.bus, 'pci')
    t.deepEqual(
      first?.regions().map(({ name }) => name),
      ['bar0', 'bar1', 'config'],
    )
    const ports = [first, second].flatMap((each) => [each?.region('bar0'), each?.region('bar1')])
    ports.forEach((port, i) => port?.write8(UART.scratch, 0x50 + i))
    t.deepEqual(
      ports.map((port) => port?.read8(UART.scratch)),
      [0x50, 0x51, 0x52, 0x53],
    )
  })
})

test.serial('INTx: automasked when a byte has come, until it is unmasked', async (t) => {
  await withMdevs(ONE_PORT, async ([device]) => {
    const port = device?.region('bar0') as Region
    const intx = device?.irq('intx')
    const [eventfd] = intx?.enable(1) ?? []
    if (eventfd === undefined || intx === undefined) throw new Error('no INTx')
    port.write8(UART.enable, RECEIVED)
    send(port, 'a')
    t.is(await nextCount(eventfd), 1)
    t.is(receive(port), 'a')
    send(port, 'b')
    t.is(await settledCount(eventfd), 0)
    t.is(receive(port), 'b')
    intx.unmask(0)
    send(port, 'c')
    t.is(await nextCount(eventfd), 1)
    intx.unmask(0)
    intx.trigger(0)
    t.is(await nextCount(eventfd), 1)
    intx.disable()
  })
})

test.serial(
  'INTx of a driver that unmasks by call only: not for a resampled pin, but for a VMM’s own',
  async (t) => {
    const guest = new Guest()
    const split = guest.kvm.createVm({ irqchip: 'split' })
    await withMdevs(ONE_PORT, async ([device]) => {
      if (device === undefined) return t.fail()
      const refused = t.throws(() => wireIntx(guest.vm, device, { gsi: 20 }), {
        instanceOf: VfioError,
        code: 'ENOTTY',
      })
      t.is(refused.syscall, 'VFIO_DEVICE_SET_IRQS')
      t.regex(refused.remedy ?? '', /'split'.*onAssert/)
      t.false(device.irq('intx').enabled)
      const port = device.region('bar0')
      let raised = 0
      const wire = wireIntx(split, device, { onAssert: () => raised++, onEoi: nothing })
      port.write8(UART.enable, RECEIVED)
      for (const [index, letter] of ['a', 'b'].entries()) {
        send(port, letter)
        await until(() => raised === index + 1, `byte ${letter}`)
        t.is(receive(port), letter)
        wire.eoi()
      }
      wire.close()
    })
    split.close()
    await guest.close()
  },
)

test.serial('MSI: one message for each byte', async (t) => {
  await withMdevs(ONE_PORT, async ([device]) => {
    const port = device?.region('bar0') as Region
    const [eventfd] = device?.irq('msi').enable(1) ?? []
    if (eventfd === undefined) throw new Error('no MSI')
    port.write8(UART.enable, RECEIVED)
    for (const letter of 'xyz') {
      send(port, letter)
      t.is(await nextCount(eventfd), 1)
      t.is(receive(port), letter)
    }
    device?.irq('msi').trigger(0)
    t.is(await nextCount(eventfd), 1)
  })
})

test.serial('what it says of itself', async (t) => {
  await withMdevs(TWO_PORTS, ([device]) => {
    const { migration, features } = device as VfioDevice
    if (migration === undefined) throw new Error('no migration')
    t.deepEqual(migration.capabilities, { stopCopy: true, p2p: true, preCopy: true })
    t.is(migration.state, 'running')
    t.true(migration.stopCopySize > 0)
    t.is(migration.stream, null)
    const supported = features.supported()
    t.deepEqual(supported.migration, { get: true, set: false })
    t.deepEqual(supported.migDeviceState, { get: true, set: true })
    t.deepEqual(supported.migPrecopyInfoV2, { get: false, set: true })
    t.deepEqual(supported.dmaBuf, { get: false, set: false })
    t.deepEqual(supported.lowPowerEntry, { get: false, set: false })
  })
})

for (const [what, options] of [
  ['in one go', {}],
  ['in chunks of 7 bytes', { chunkSize: 7 }],
  ['with pre-copy', { preCopy: true, chunkSize: 16 }],
] as const) {
  test.serial(`one is migrated into the other: ${what}`, async (t) => {
    await withMdevs({ ...TWO_PORTS, count: 2 }, async ([source, destination]) => {
      const from = source?.migration
      const to = destination?.migration
      if (from === undefined || to === undefined) throw new Error('no migration')
      const ports = (device: VfioDevice | undefined): Region[] =>
        ['bar0', 'bar1'].map((name) => device?.region(name as 'bar0') as Region)
      const [first, second] = ports(source) as [Region, Region]
      first.write8(UART.scratch, 0x5a)
      second.write8(UART.scratch, 0xa5)
      second.write8(UART.line, 3)
      send(first, 'left in')
      send(second, 'the queue')

      let bytes = 0
      const chunks = from.save(options)
      await to.restore(
        (async function* () {
          for await (const chunk of chunks) {
            bytes += chunk.byteLength
            yield chunk
          }
        })(),
      )
      t.is(from.state, 'stop')
      t.is(to.state, 'stop')
      t.is(bytes, from.stopCopySize)
      t.is(from.stream, null)
      t.is(to.stream, null)
      t.is(await to.setState('running'), null)

      const [third, fourth] = ports(destination) as [Region, Region]
      t.is(third.read8(UART.scratch), 0x5a)
      t.is(fourth.read8(UART.scratch), 0xa5)
      t.is(fourth.read8(UART.line), 3)
      t.is(receive(third), 'left in')
      t.is(receive(fourth), 'the queue')
    })
  })
}

test.serial(
  'pre-copy goes on until it is told otherwise, and tells what is left in both versions',
  async (t) => {
    await withMdevs(ONE_PORT, async ([device]) => {
      const migration = device?.migration
      if (migration === undefined) throw new Error('no migration')
      const infos: PrecopyInfo[] = []
      const states = new Set<MigrationState>()
      let asked = 0
      const preCopy = {
        until: (info: PrecopyInfo) => {
          infos.push(info)
          states.add(migration.state)
          return ++asked === 5
        },
      }
      for await (const chunk of migration.save({ preCopy, chunkSize: 4 })) t.true(chunk.byteLength <= 4)
      t.is(asked, 5)
      t.deepEqual([...states], ['preCopy'])
      t.true((infos[0]?.initialBytes ?? 0) > (infos[1]?.initialBytes ?? 0))
      t.deepEqual(
        infos.map(({ dirtyBytes, reinit }) => [dirtyBytes, reinit]),
        infos.map(() => [0, false]),
      )
      await migration.setState('running')
    })
  },
)

test.serial('a save that is broken off leaves the device as it was', async (t) => {
  await withMdevs(ONE_PORT, async ([device]) => {
    const migration = device?.migration
    if (migration === undefined) throw new Error('no migration')
    const before = holdings().descriptors
    for await (const chunk of migration.save({ chunkSize: 8 })) {
      t.is(chunk.byteLength, 8)
      t.is(migration.state, 'stopCopy')
      t.is((await refusal(() => migration.setState('running'))).code, 'EBUSY')
      t.is((await refusal(() => migration.restore([]))).code, 'EBUSY')
      break
    }
    t.is(migration.state, 'running')
    const thrown = await t.throwsAsync(async () => {
      for await (const chunk of migration.save({ preCopy: true, chunkSize: 8 }))
        throw new Error(`${String(chunk.byteLength)} bytes`)
    })
    t.is(thrown.message, '8 bytes')
    t.is(migration.state, 'running')
    await migration.setState('stop')
    for await (const chunk of migration.save()) if (chunk.byteLength > 0) break
    t.is(migration.state, 'stop')
    t.deepEqual(holdings().descriptors, before)
    await migration.setState('running')
  })
})

test.serial('data that is not the device’s is refused, and the device is reset', async (t) => {
  await withMdevs({ ...ONE_PORT, count: 2 }, async ([source, destination]) => {
    const to = destination?.migration
    if (to === undefined) throw new Error('no migration')
    const before = holdings().descriptors
    const wrong = await refusal(() => to.restore([new Uint8Array(32)]))
    t.is(wrong.code, 'EFAULT')
    t.is(wrong.syscall, 'write')
    t.is(to.state, 'running')
    const chunks: Uint8Array[] = []
    for await (const chunk of source?.migration?.save() ?? []) chunks.push(chunk)
    const all = Buffer.concat(chunks)
    const short = await refusal(() => to.restore([all.subarray(0, all.length - 1)]))
    t.is(short.code, 'EINVAL')
    t.is(short.syscall, 'VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE')
    t.is(to.state, 'running')
    const much = await refusal(() => to.restore([all, all]))
    t.is(much.code, 'ENOMEM')
    t.is(to.state, 'running')
    async function* failing(): AsyncGenerator<Uint8Array> {
      yield all.subarray(0, 10)
      await Promise.resolve()
      throw new TypeError('the wire is cut')
    }
    await t.throwsAsync(to.restore(failing()), { instanceOf: TypeError, message: 'the wire is cut' })
    t.is(to.state, 'running')
    t.deepEqual(holdings().descriptors, before)
    await to.restore([all.subarray(0, 3), all.subarray(3)])
    t.is(to.state, 'stop')
  })
})

test.serial('every way that the kernel walks, and none that it does not', async (t) => {
  await withMdevs(ONE_PORT, async ([device]) => {
    const migration = device?.migration
    if (migration === undefined) throw new Error('no migration')
    const before = holdings().descriptors
    const go = async (...states: MigrationState[]): Promise<void> => {
      for (const state of states) {
        const stream = await migration.setState(state)
        t.is(migration.state, state)
        t.is(stream, migration.stream)
        t.is(stream !== null, ['stopCopy', 'preCopy', 'preCopyP2p', 'resuming'].includes(state), state)
      }
    }
    await go('runningP2p', 'running', 'preCopy', 'preCopyP2p', 'preCopy', 'preCopyP2p', 'stopCopy', 'stop')
    await go('resuming')
    await device?.reset()
    t.is(migration.stream, null)
    await go('preCopy', 'stopCopy', 'running', 'preCopyP2p', 'runningP2p', 'stopCopy', 'runningP2p', 'stop')
    await go('stopCopy', 'stopCopy')

    const back = await refusal(() => migration.setState('preCopy'))
    t.is(back.code, 'EINVAL')
    t.is(back.reason, 'illegal-transition')
    t.is(back.cause, undefined, 'the kernel was not asked')
    t.regex(back.remedy ?? '', /stopCopy -> stop -> runningP2p -> running -> preCopy\.$/)
    t.is(migration.state, 'stopCopy')
    const busy = await refusal(async () => {
      for await (const chunk of migration.save()) t.fail(String(chunk.byteLength))
    })
    t.is(busy.reason, 'illegal-transition')
    t.is((await refusal(() => migration.setState('error'))).reason, 'illegal-transition')
    await go('running')
    t.deepEqual(holdings().descriptors, before)
  })
})

test.serial('a session’s data by hand', async (t) => {
  await withMdevs({ ...ONE_PORT, count: 2 }, async ([source, destination]) => {
    const from = source?.migration
    const to = destination?.migration
    if (from === undefined || to === undefined) throw new Error('no migration')
    source?.region('bar0').write8(UART.scratch, 0x77)
    const out = await from.setState('stopCopy')
    const into = await to.setState('resuming')
    if (out === null || into === null) throw new Error('no session')
    t.throws(() => out.precopyInfo(), { instanceOf: VfioError, code: 'EINVAL' })
    for (;;) {
      const chunk = await out.read(10)
      if (chunk.byteLength === 0) break
      await into.write(chunk)
    }
    await t.throwsAsync(out.read(0), { instanceOf: RangeError })
    await t.throwsAsync(into.write('no' as never), { instanceOf: TypeError })
    await from.setState('stop')
    t.true(out.closed)
    await t.throwsAsync(out.read(1), { instanceOf: VfioError, code: 'EBADF' })
    await to.setState('running')
    t.true(into.closed)
    t.is(destination?.region('bar0').read8(UART.scratch), 0x77)
  })
})

test.serial('a device that was moved is reset as it closes: its next user finds it running', async (t) => {
  const uuid = await createMdev('mtty', 'mtty-1')
  try {
    for (const state of ['stop', 'stopCopy', 'resuming'] as const) {
      const device = await VfioDevice.open(uuid)
      await device.migration?.setState(state)
      await device.close()
      const next = VfioDevice.openSync(uuid)
      t.is(next.migration?.state, 'running')
      next[Symbol.dispose]()
    }
    const device = await VfioDevice.open(uuid)
    const { migration } = device
    const changing = migration?.setState('stopCopy').then(
      () => 'changed',
      (error: unknown) => (error as VfioError).code,
    )
    await device.close()
    t.true(['changed', 'EBADF'].includes((await changing) as string))
    t.throws(() => migration?.state, { instanceOf: VfioError, code: 'EBADF' })
    const left = holdings().descriptors.filter((each) => each.includes('mtty'))
    t.deepEqual(left, [])
    const next = await VfioDevice.open(uuid)
    t.is(next.migration?.state, 'running')
    await next.close()
  } finally {
    await removeMdev(uuid)
  }
})

test.serial('arguments of migration are checked', async (t) => {
  await withMdevs(ONE_PORT, async ([device]) => {
    const migration = device?.migration
    if (migration === undefined) throw new Error('no migration')
    await t.throwsAsync(migration.setState('paused' as never), { instanceOf: TypeError })
    t.throws(() => migration.save({ chunkSize: 0 }), { instanceOf: RangeError })
    t.throws(() => migration.save({ preCopy: 'yes' as never }), { instanceOf: TypeError })
    t.throws(() => migration.save({ preCopy: { until: 5 as never } }), { instanceOf: TypeError })
    await t.throwsAsync(migration.restore(5 as never), { instanceOf: TypeError })
    await t.throwsAsync(migration.restore({} as never), { instanceOf: TypeError })
    await t.throwsAsync(migration.restore(['text'] as never), { instanceOf: TypeError })
    t.is(migration.state, 'running')
  })
})

test.serial('DMA logging: started, read, stopped, and ended with the device', async (t) => {
  await withMdevs(ONE_PORT, ([device]) => {
    const { dmaLogging } = (device as VfioDevice).features
    t.is(dmaLogging.start({ ranges: [{ iova: 0n, size: 1 << 20 }], pageSize: 8192 }), 8192)
    const bitmap = dmaLogging.report(0n, 1 << 20, 4096)
    t.is(bitmap.pages, 256)
    t.is(bitmap.bytes.byteLength, 32)
    // This device does no DMA.
    t.is(bitmap.count, 0)
    dmaLogging.stop()
    const many = Array.from({ length: 1000 }, (_, i) => ({ iova: BigInt(i) << 20n, size: 4096 }))
    t.throws(() => dmaLogging.start({ ranges: many }), { instanceOf: VfioError, code: 'E2BIG' })
    const twice = [
      { iova: 0n, size: 8192 },
      { iova: 4096n, size: 4096 },
    ]
    t.throws(() => dmaLogging.start({ ranges: twice }), { instanceOf: VfioError, code: 'EINVAL' })
    dmaLogging.start({ ranges: [{ iova: 0n, size: 4096n }] })
  })
})
