// Opening and closing, beyond open.test.ts: calls in flight, copies of descriptors in another process, groups with several
// devices, and drivers that come and go.
import test from 'ava'

import { AddressSpace, EventFd, VfioDevice, VfioError } from '../../ts/index.js'
import { Companion, devices, driverOf, EDU_ID, open, rebind, withDevice } from './devices.js'

async function refusal(id: string, options?: Parameters<typeof VfioDevice.open>[1]): Promise<VfioError> {
  try {
    await (await VfioDevice.open(id, options)).close()
  } catch (error) {
    if (error instanceof VfioError) return error
    throw error
  }
  throw new Error(`${id} was opened`)
}

test.serial('reopening at once after every way to close', async (t) => {
  for (let round = 0; round < 3; round++) {
    const first = VfioDevice.openSync(devices.edu)
    t.is(first.region('bar0').read32(0), EDU_ID)
    first[Symbol.dispose]()
    const second = VfioDevice.openSync(devices.edu)
    await second.close()
    const third = await open('edu')
    await third[Symbol.asyncDispose]()
    t.true(first.closed && second.closed && third.closed)
  }
})

test.serial('everything that comes from a closed device refuses to work', async (t) => {
  const device = await open('edu')
  const bar0 = device.region('bar0')
  const { config } = device
  const msi = device.irq('msi')
  await device.close()
  await device.close()
  device[Symbol.dispose]()
  const calls: (() => unknown)[] = [
    () => bar0.read32(0),
    () => {
      bar0.write32(4, 0)
    },
    () => bar0.faulted,
    () => config.vendorId,
    () => msi.enable(1),
    () => device.region('bar1'),
    () => device.fd,
    () => device.addressSpace.pageSizes,
  ]
  for (const call of calls) t.throws(call, { instanceOf: VfioError, code: 'EBADF' }, String(call))
  await t.throwsAsync(device.reset(), { instanceOf: VfioError, code: 'EBADF' })
})

test.serial('closing while mappings and a reset are in flight', async (t) => {
  const device = await open('edu')
  const space = device.addressSpace
  const mapping = Promise.allSettled(Array.from({ length: 8 }, () => space.allocate(1 << 20)))
  await device.close()
  await t.throwsAsync(space.allocate(4096), { instanceOf: VfioError })
  for (const result of await mapping)
    if (result.status === 'rejected') t.true(result.reason instanceof VfioError)
  await (await open('edu')).close()

  const nvme = await open('nvme')
  const reset = nvme.reset().then(
    () => 'done',
    (error: unknown) => (error instanceof VfioError ? 'refused' : error),
  )
  nvme[Symbol.dispose]()
  t.true(['done', 'refused'].includes((await reset) as string))
  await (await open('nvme')).close()
})

test.serial(
  'a group whose last host driver goes opens for all of its devices, and outlives the first of them',
  async (t) => {
    await rebind('bridgedRng', 'vfio-pci')
    try {
      const first = await open('bridgedEdu1')
      const second = await open('bridgedEdu2')
      t.is(first.addressSpace, second.addressSpace)
      const apart = AddressSpace.open()
      t.is((await refusal(devices.bridgedRng, { iommu: apart })).reason, 'other-address-space')
      await apart.close()
      await first.close()
      t.false(second.addressSpace.closed)
      t.is(second.region('bar0').read32(0), EDU_ID)
      t.is((await second.addressSpace.allocate(4096)).size, 4096)
      await second.close()
      t.true(second.addressSpace.closed)
      await (await open('bridgedEdu1')).close()
    } finally {
      await rebind('bridgedRng', 'virtio-pci')
    }
    t.is((await refusal(devices.bridgedEdu2)).reason, 'group-not-viable')
  },
)

test.serial('a device that has no driver, and the same one with its driver back', async (t) => {
  await rebind('edu2', null)
  try {
    const none = await refusal(devices.edu2)
    t.is(none.reason, 'no-driver')
    t.regex(none.remedy ?? '', /driver_override.*drivers_probe/)
  } finally {
    await rebind('edu2', 'vfio-pci')
  }
  t.is(driverOf('edu2'), 'vfio-pci')
  await (await open('edu2')).close()
})

test.serial('another process drives the device through copies of its descriptors', async (t) => {
  await withDevice(
    'edu',
    async (device) => {
      device.region('bar0').write32(4, 5)
      const { fd, addressSpace } = device
      const other = new Companion(
        `const addressSpace = vfio.AddressSpace.fromFd(4, { type: 'type1v2' })
      const device = vfio.VfioDevice.fromFd(3, { name: '${devices.edu}', addressSpace })
      const buffer = await addressSpace.allocate(4096)
      const bar0 = device.region('bar0')
      say([addressSpace.type, device.name, bar0.read32(0), bar0.read32(4), buffer.iova > 0n])
      await device.close()
      await addressSpace.close()
      say('closed')`,
        [fd, addressSpace.fd],
      )
      try {
        t.deepEqual(await other.said(), ['type1v2', devices.edu, EDU_ID, ~5 >>> 0, true])
        t.is(await other.said(), 'closed')
      } finally {
        await other.end()
      }
      t.is(device.region('bar0').read32(4), ~5 >>> 0)
    },
    { iommu: 'type1v2' },
  )
})

test.serial('a container from another process, once its last device has left', async (t) => {
  const space = AddressSpace.open({ iommu: 'type1v2' })
  const device = await open('edu', { iommu: space })
  const alone = new EventFd()
  const other = new Companion(
    `const space = vfio.AddressSpace.fromFd(3, { type: 'type1v2' })
    const alone = vfio.EventFd.fromFd(4)
    const open = () => vfio.VfioDevice.open('${devices.edu2}', { iommu: space })
    const device = await open()
    await space.allocate(4096)
    say([space.type, space.mappingCount])
    while (alone.read() === 0) await new Promise((resolve) => setTimeout(resolve, 5))
    await device.close()
    say([space.type ?? null, space.mappingCount])
    const again = await open()
    const buffer = await space.allocate(4096)
    say([space.type, space.mappingCount, buffer.iova > 0n, again.region('bar0').read32(0)])
    await again.close()
    await space.close()
    say('closed')`,
    [space.fd, alone.fd],
  )
  try {
    t.deepEqual(await other.said(), ['type1v2', 1])
    await device.close()
    alone.signal()
    t.deepEqual(await other.said(), [null, 0])
    t.deepEqual(await other.said(), ['type1v2', 1, true, EDU_ID])
    t.is(await other.said(), 'closed')
  } finally {
    await other.end()
    await device.close()
    await space.close()
    alone.close()
  }
})
