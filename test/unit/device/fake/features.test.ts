// Features, resets and dirty logging of a device that no kernel stands behind, and what it says where only the kernel's can.
import { setImmediate } from 'node:timers/promises'
import test from 'ava'

import { VfioDevice, VfioError } from '../../../../ts/index.js'
import { fakeDevice } from '../../../fakes/device.js'

const UUID = '2ab74924-c335-45f4-9b16-8569e5b08258'

test('features: supported, typed and raw', (t) => {
  const { device, hardware } = fakeDevice()
  const { features } = device
  t.deepEqual(features.supported().pciVfToken, { get: false, set: true })
  t.deepEqual(features.supported().migration, { get: false, set: false })
  features.vfToken(UUID)
  t.is(Buffer.from(hardware.vfToken ?? []).toString('hex'), UUID.replaceAll('-', ''))
  const busMaster = t.throws(
    () => {
      features.busMaster(true)
    },
    { instanceOf: VfioError, code: 'ENOTTY' },
  )
  t.is(busMaster.reason, 'no-feature')
  features.lowPower.enter()
  t.true(hardware.lowPower)
  t.is(device.condition, 'powered-down')
  features.lowPower.exit()
  t.is(device.condition, 'ready')
  t.deepEqual(features.raw(0, 1 << 17, Uint8Array.of(1)), Uint8Array.of(1))
  device[Symbol.dispose]()
})

test('a log of DMA: begun, read, ended, and ended with the device', (t) => {
  const { device, hardware } = fakeDevice()
  const { dmaLogging } = device.features
  const ranges = [{ iova: 0n, size: 1 << 20 }]
  t.is(dmaLogging.start({ ranges }), 4096)
  hardware.written.add(0x3000n)
  const written = dmaLogging.report(0n, 0x10000)
  t.deepEqual([written.pages, written.count, written.has(3)], [16, 1, true])
  t.is(dmaLogging.report(0n, 0x10000).count, 0, 'read once')
  dmaLogging.stop()
  t.is(hardware.logging, 0n)
  dmaLogging.start({ ranges })
  device[Symbol.dispose]()
  t.is(hardware.logging, 0n)
})

test('a device without a log says so', (t) => {
  const { device } = fakeDevice({ dmaLog: false })
  const { dmaLogging } = device.features
  const start = () => dmaLogging.start({ ranges: [{ iova: 0n, size: 4096 }] })
  const error = t.throws(start, { instanceOf: VfioError, code: 'ENOTTY' })
  t.like(error, { reason: 'no-feature', syscall: 'VFIO_DEVICE_FEATURE_DMA_LOGGING_START' })
  device[Symbol.dispose]()
})

test('a reset, in both forms; one that the device does not come back from', async (t) => {
  const { device, hardware } = fakeDevice()
  device.region('bar0').write32(0, 5)
  await device.reset()
  t.is(device.region('bar0').read32(0), 0)
  device.resetSync()
  t.is(hardware.resets, 2)
  hardware.comesBack = false
  const lost = await t.throwsAsync(device.reset(), { instanceOf: VfioError, code: 'EIO' })
  t.is(lost.reason, 'device-lost')
  t.false(device.present)
  await device.close()

  const { device: without } = fakeDevice({ resettable: false })
  t.false(without.info.resettable)
  const error = await t.throwsAsync(without.reset(), { instanceOf: VfioError, code: 'ENOTTY' })
  t.regex(error.remedy ?? '', /no reset of its own/)
  await without.close()
})

test('a device that is closed during its reset goes when the reset has ended', async (t) => {
  const { device, hardware } = fakeDevice()
  let letGo = (): void => undefined
  hardware.gate = new Promise((resolve) => (letGo = resolve))
  const reset = device.reset()
  let closed = false
  const close = device.close().then(() => (closed = true))
  await setImmediate()
  t.true(device.closed)
  t.false(closed)
  letGo()
  await reset
  await close
  t.is(hardware.resets, 1)
})

test('what only the kernel’s device has is refused by name', async (t) => {
  const { device } = fakeDevice()
  const refused = { instanceOf: VfioError, code: 'EOPNOTSUPP' }
  const calls: [call: () => unknown, syscall: string][] = [
    [() => device.fd, 'open'],
    [() => device.hotReset.info(), 'VFIO_DEVICE_GET_PCI_HOT_RESET_INFO'],
    [
      () => {
        device.hotReset.runSync()
      },
      'VFIO_DEVICE_PCI_HOT_RESET',
    ],
    [() => device.region('bar0').ioeventfd(0, { width: 4, data: 1 }), 'VFIO_DEVICE_IOEVENTFD'],
    [() => device.features.dmaBuf('bar0', [{ offset: 0, size: 4096 }]), 'VFIO_DEVICE_FEATURE_DMA_BUF'],
  ]
  for (const [call, syscall] of calls) {
    const error = t.throws(call, refused, syscall)
    t.like(error, { syscall, reason: 'no-feature' })
    t.regex(error.remedy ?? '', /kernel's VFIO/)
  }
  await t.throwsAsync(device.detach(), refused)
  await t.throwsAsync(device.attach(device.addressSpace), refused)
  await t.throwsAsync(device.hotReset.run(), refused)
  t.is(device.gfx, undefined)
  t.is(device.iommufdId, null)
  t.is(device.vfioFileFd, null)
  t.is(device.opened, null)
  await device.close()
})

test('a second wrapper over the device, as another Worker makes it', (t) => {
  const { device, hardware } = fakeDevice()
  const claimed = VfioDevice.claim(device.share())
  device.region('bar0').write32(0, 9)
  t.is(claimed.region('bar0').read32(0), 9)
  device.config.command.busMaster = true
  device[Symbol.dispose]()
  t.true(hardware.busMaster, 'another still holds it')
  t.is(claimed.region('bar0').read32(0), 9)
  claimed[Symbol.dispose]()
  t.false(hardware.busMaster)
})
