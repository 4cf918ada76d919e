// The hot reset of a bus: the two edus behind the bridge, reset together, and what stands in the way of it.
import test from 'ava'

import { VfioError } from '../../ts/index.js'
import { EDU, EDU_ID, devices, groupOf, open, rebind, rig, withDevice } from './devices.js'

/** With the whole group on vfio: on its host driver the third device keeps it from being viable. */
async function withBus(use: () => Promise<void>): Promise<void> {
  await rebind('bridgedRng', 'vfio-pci')
  try {
    await use()
  } finally {
    await rebind('bridgedRng', 'virtio-pci')
  }
}

// By groups everywhere; by the iommufd that both are bound to where there is one.
for (const iommu of rig.built ? (['type1v2', 'iommufd'] as const) : (['type1v2'] as const)) {
  test.serial(`${iommu}: the two behind the bridge: what a reset takes with it, and the reset`, async (t) => {
    await withBus(async () => {
      const first = await open('bridgedEdu1', { iommu })
      const second = await open('bridgedEdu2', { iommu: first.addressSpace })
      try {
        const info = first.hotReset.info()
        t.deepEqual(
          info.devices.map((each) => each.address).sort(),
          [devices.bridgedEdu1, devices.bridgedEdu2, devices.bridgedRng].sort(),
        )
        if (info.by === 'group') {
          t.is(iommu, 'type1v2')
          const group = Number(groupOf('bridgedEdu1'))
          t.true(info.devices.every((each) => each.group === group))
        } else {
          t.is(iommu, 'iommufd')
          t.true(info.owned)
          const ownership = (name: string): unknown =>
            info.devices.find(({ address }) => address === name)?.ownership
          t.is(ownership(devices.bridgedEdu1), 'bound')
          t.is(ownership(devices.bridgedEdu2), 'bound')
          t.is(ownership(devices.bridgedRng), 'owned')
          const ids = info.devices.map(({ id }) => id).filter((id) => id !== null)
          t.is(new Set(ids).size, 2)
        }
        const both = [first, second]
        for (const { config } of both) config.command.busMaster = true
        await first.hotReset.run([second])
        second.hotReset.runSync([first])
        // All three share one group, or one iommufd, so that one device is enough.
        await second.hotReset.run()
        for (const device of both) {
          t.true(device.config.present)
          // The kernel keeps the configuration space over the reset.
          t.true(device.config.command.busMaster)
          t.true(device.config.command.memorySpace)
          const bar0 = device.region('bar0')
          t.false(bar0.faulted)
          t.is(bar0.read32(EDU.id), EDU_ID)
          bar0.write32(EDU.liveness, 0x1234_5678)
          t.is(bar0.read32(EDU.liveness), ~0x1234_5678 >>> 0)
        }
        await t.throwsAsync(first.hotReset.run('no' as never), { instanceOf: TypeError })
        await t.throwsAsync(first.hotReset.run([{} as never]), {
          instanceOf: TypeError,
          message: /others\[0\]/,
        })
        const { hotReset } = first
        await first.close()
        t.throws(() => hotReset.info(), { instanceOf: VfioError, code: 'EBADF' })
        await t.throwsAsync(hotReset.run(), { instanceOf: VfioError, code: 'EBADF' })
      } finally {
        await second.close()
        await first.close()
      }
    })
  })
}

test.serial('devices on the root bus have none', async (t) => {
  await withDevice('edu', async (device) => {
    const error = t.throws(() => device.hotReset.info(), { instanceOf: VfioError })
    t.is(error.code, 'ENODEV')
    t.is(error.syscall, 'VFIO_DEVICE_GET_PCI_HOT_RESET_INFO')
    t.regex(error.remedy ?? '', /root bus/)
    const refused = await t.throwsAsync(device.hotReset.run(), { instanceOf: VfioError })
    t.is(refused.code, 'ENODEV')
    t.is(refused.syscall, 'VFIO_DEVICE_PCI_HOT_RESET')
  })
})
