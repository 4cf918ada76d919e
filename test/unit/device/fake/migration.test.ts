// Migration of a device that no kernel stands behind: its state is read out, by halves where that is asked for, and written into
// another.
import test from 'ava'

import { type DeviceMigration, type VfioDevice, VfioError } from '../../../../ts/index.js'
import { type FakeDeviceOptions, type FakeHardware, fakeDevice } from '../../../fakes/device.js'
import { MIGRATION_FLAG } from '../../../fakes/migration.js'

const ALL = MIGRATION_FLAG.stopCopy | MIGRATION_FLAG.p2p | MIGRATION_FLAG.preCopy

function migrating(options: FakeDeviceOptions = {}): {
  device: VfioDevice
  hardware: FakeHardware
  migration: DeviceMigration
} {
  const { device, hardware } = fakeDevice({ migration: ALL, ...options })
  const { migration } = device
  if (migration === undefined) throw new Error('no migration')
  return { device, hardware, migration }
}

async function collect(chunks: AsyncIterable<Uint8Array>): Promise<Uint8Array[]> {
  const all: Uint8Array[] = []
  for await (const chunk of chunks) all.push(chunk)
  return all
}

test('there is none without the feature; with it, what the driver says of it', async (t) => {
  const { device: without } = fakeDevice()
  t.is(without.migration, undefined)
  await without.close()
  const { device, migration } = migrating({ migration: MIGRATION_FLAG.stopCopy })
  t.deepEqual(migration.capabilities, { stopCopy: true, p2p: false, preCopy: false })
  t.is(migration.state, 'running')
  t.is(migration.stopCopySize, 8192)
  await device.close()
})

test('save here, restore there', async (t) => {
  const source = migrating()
  const target = migrating()
  source.device.region('bar0').write32(0x10, 0xcafe)
  const chunks = await collect(source.migration.save({ chunkSize: 3000 }))
  t.deepEqual(
    chunks.map(({ length }) => length),
    [3000, 3000, 2192],
  )
  t.is(source.migration.state, 'stop')
  await target.migration.restore(chunks)
  t.is(target.migration.state, 'stop')
  await target.migration.setState('running')
  t.is(target.device.region('bar0').read32(0x10), 0xcafe)
  await source.device.close()
  t.is(source.hardware.resets, 1, 'it was left in stop')
  await target.device.close()
  t.is(target.hardware.resets, 0)
})

for (const tells of [true, false]) {
  test(`pre-copy of a device that ${tells ? 'tells' : 'does not tell'} what is left`, async (t) => {
    const { device, hardware, migration } = migrating({ tells })
    const sizes: number[] = []
    for await (const chunk of migration.save({ preCopy: true, chunkSize: 8192 })) {
      sizes.push(chunk.length)
      t.is(hardware.migration.state, sizes.length === 1 ? 'preCopy' : 'stopCopy')
    }
    t.deepEqual(sizes, [8192, 8192])
    t.deepEqual(hardware.migration.changes, ['preCopy', 'stopCopy', 'stop'])
    await migration.setState('running')
    const session = await migration.setState('preCopy')
    if (tells) t.is(session?.precopyInfo().initialBytes, 8192)
    else t.throws(() => session?.precopyInfo(), { instanceOf: VfioError, code: 'EOPNOTSUPP' })
    t.throws(() => session?.fd, { instanceOf: VfioError, code: 'EOPNOTSUPP' })
    await device.close()
    t.true(session?.closed)
    t.is(hardware.resets, 1)
  })
}

test('a loop that ends early leaves the device as it was; data that does not fit resets it', async (t) => {
  const { device, hardware, migration } = migrating()
  for await (const chunk of migration.save({ chunkSize: 100 })) {
    t.is(chunk.length, 100)
    break
  }
  t.is(migration.state, 'running')
  t.is(migration.stream, null)
  const error = await t.throwsAsync(migration.restore([new Uint8Array(5000)]), {
    instanceOf: VfioError,
    code: 'EINVAL',
  })
  t.regex(error.remedy ?? '', /resuming/)
  t.is(hardware.resets, 1)
  t.is(migration.state, 'running')
  await device.close()
})

test('a device that is closed during a change of state is reset before it goes', async (t) => {
  const { device, hardware, migration } = migrating()
  let letGo = (): void => undefined
  hardware.migration.gate = new Promise((resolve) => (letGo = resolve))
  const change = migration.setState('stop')
  const close = device.close()
  letGo()
  await t.throwsAsync(change, { instanceOf: VfioError, code: 'EBADF' })
  await close
  t.is(hardware.resets, 1)
  t.is(hardware.migration.state, 'running')
})
