// VFIO_DEVICE_FEATURE of real PCI devices: what is there, low power, tokens, and the raw form.
import test from 'ava'

import { EventFd, VfioError } from '../../ts/index.js'
import { devices, nextCount, open, rig, sysfs, until, withDevice } from './devices.js'

/** e1000e: Receive Address Low 0. */
const RAL0 = 0x5400

test.serial('supported() knows every feature by name and direction', async (t) => {
  await withDevice('e1000e', (device) => {
    const supported = device.features.supported()
    const only = (direction: 'get' | 'set'): string[] =>
      Object.entries(supported)
        .filter(([, each]) => each[direction])
        .map(([name]) => name)
    t.deepEqual(only('set'), ['lowPowerEntry', 'lowPowerEntryWithWakeup', 'lowPowerExit'])
    t.deepEqual(only('get'), rig.built ? ['dmaBuf'] : [])
    t.is(Object.keys(supported).length, 13)
    t.is(device.migration, undefined)
    t.is(device.gfx, undefined)
  })
})

for (const name of ['e1000e', 'nvme'] as const) {
  test.serial(`${name}: low power, left by exit()`, async (t) => {
    await withDevice(name, async (device) => {
      const { lowPower } = device.features
      lowPower.enter()
      t.throws(
        () => {
          lowPower.enter()
        },
        { instanceOf: VfioError, code: 'EINVAL' },
      )
      await until(() => sysfs(name, 'power/runtime_status') === 'suspended', `${name} to sleep`)
      // Through the file: the kernel wakes the device for the access.
      t.is(device.config.vendorId, Number(sysfs(name, 'vendor')))
      lowPower.exit()
      t.is(sysfs(name, 'power/runtime_status'), 'active')
      t.true(device.config.present)
    })
  })

  test.serial(`${name}: a wake-up is signalled, and the device stays awake`, async (t) => {
    await withDevice(name, async (device) => {
      const wakeup = device.features.lowPower.enterWithWakeup()
      try {
        await until(() => sysfs(name, 'power/runtime_status') === 'suspended', `${name} to sleep`)
        t.is(wakeup.read(), 0)
        t.is(device.config.vendorId, Number(sysfs(name, 'vendor')))
        t.is(await nextCount(wakeup), 1)
        t.is(sysfs(name, 'power/runtime_status'), 'active')
        device.features.lowPower.exit()
      } finally {
        wakeup.close()
      }
      using own = new EventFd()
      t.is(device.features.lowPower.enterWithWakeup(own), own)
      device.features.lowPower.exit()
    })
  })
}

test.serial('a mapped BAR does not answer in low power, and does after remap()', async (t) => {
  await withDevice('e1000e', (device) => {
    const bar0 = device.region('bar0')
    const value = bar0.read32(RAL0)
    device.features.lowPower.enter()
    t.is(bar0.read32(RAL0), 0xffff_ffff)
    t.true(bar0.faulted)
    device.features.lowPower.exit()
    bar0.remap()
    t.is(bar0.read32(RAL0), value)
  })
})

test.serial('features that a device has not say so, with the version that brought them', async (t) => {
  await withDevice('edu', (device) => {
    const { features } = device
    const token = t.throws(
      () => {
        features.vfToken('00112233-4455-6677-8899-aabbccddeeff')
      },
      { instanceOf: VfioError },
    )
    t.is(token.reason, 'no-feature')
    t.is(token.syscall, 'VFIO_DEVICE_FEATURE_PCI_VF_TOKEN')
    t.is(token.subject, devices.edu)
    t.regex(token.remedy ?? '', /5\.7/)
    t.throws(
      () => {
        features.busMaster(true)
      },
      { instanceOf: VfioError, code: 'ENOTTY' },
    )
    t.throws(() => features.dmaLogging.start({ ranges: [{ iova: 0n, size: 4096 }] }), {
      instanceOf: VfioError,
      code: 'ENOTTY',
    })
    t.throws(() => features.dmaLogging.report(0n, 4096), { instanceOf: VfioError, code: 'ENOTTY' })
    t.throws(
      () => {
        features.dmaLogging.stop()
      },
      { instanceOf: VfioError, code: 'ENOTTY' },
    )
  })
})

test.serial('arguments are checked before the kernel sees them', async (t) => {
  await withDevice('edu', (device) => {
    const { features } = device
    const range = { instanceOf: RangeError }
    t.throws(() => {
      features.vfToken('secret')
    }, range)
    t.throws(() => features.dmaLogging.start({ ranges: [] }), range)
    t.throws(() => features.dmaLogging.start({ ranges: [{ iova: 1n, size: 4096 }] }), range)
    t.throws(() => features.dmaLogging.start({ ranges: [{ iova: 0n, size: 4096 }], pageSize: 3000 }), range)
    t.throws(() => features.dmaLogging.report(0n, 4096, 100), range)
    t.throws(() => features.dmaBuf('config'), range)
    t.throws(() => features.dmaBuf('bar0', []), range)
    t.throws(() => features.dmaBuf('bar0', [{ offset: 8, size: 4096 }]), range)
    t.throws(() => features.dmaBuf('bar0', [{ offset: 0, size: 1 << 21 }]), range)
    t.throws(() => features.lowPower.enterWithWakeup({} as never), { instanceOf: TypeError })
  })
})

test.serial('raw() is the call itself, without addresses and descriptors', async (t) => {
  await withDevice('e1000e', (device) => {
    const { features } = device
    const GET = 1 << 16
    const SET = 1 << 17
    const PROBE = 1 << 18
    t.deepEqual(features.raw(3, SET | PROBE, new Uint8Array()), new Uint8Array())
    features.raw(3, SET, new Uint8Array())
    features.raw(5, SET, new Uint8Array())
    const unknown = t.throws(() => features.raw(0x7000, GET | PROBE, new Uint8Array()), {
      instanceOf: VfioError,
    })
    t.is(unknown.code, 'ENOTTY')
    t.is(unknown.syscall, 'VFIO_DEVICE_FEATURE')
    for (const [id, flag] of [
      [2, SET],
      [4, SET],
      [6, SET],
      [8, GET],
      [11, GET],
    ] as const)
      t.throws(() => features.raw(id, flag, new Uint8Array(64)), { instanceOf: RangeError })
    t.throws(() => features.raw(3, 1, new Uint8Array()), { instanceOf: RangeError })
    t.throws(() => features.raw(70_000, GET, new Uint8Array()), { instanceOf: RangeError })
  })
})

test.serial('a closed device is refused', async (t) => {
  const device = await open('edu')
  const { features } = device
  await device.close()
  t.throws(() => features.supported(), { instanceOf: VfioError, code: 'EBADF' })
  t.throws(() => features.lowPower.enterWithWakeup(), { instanceOf: VfioError, code: 'EBADF' })
})
