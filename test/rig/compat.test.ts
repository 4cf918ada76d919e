// VFIO's container protocol on iommufd: the same devices, memory and interrupts in its two compatibility modes. On a kernel
// without iommufd, the refusal.
import { readlinkSync } from 'node:fs'

import test from 'ava'

import { AddressSpace, GuestMemory, VfioError } from '../../ts/index.js'
import {
  EDU_MASK,
  Edu,
  eduDma,
  holdings,
  nextCount,
  pattern,
  rig,
  throughEdu,
  withDevice,
} from './devices.js'

/** An edu in a space of its own, in a compatibility mode. */
async function withEdu(
  type: 'type1v2' | 'type1',
  use: (edu: Edu, space: AddressSpace) => Promise<void>,
): Promise<void> {
  await using space = AddressSpace.open({ iommu: type, container: 'iommufd' })
  await withDevice(
    'edu',
    async (device) => {
      device.config.command.busMaster = true
      await use(new Edu(device), space)
    },
    { iommu: space },
  )
}

if (rig.built) {
  for (const type of ['type1v2', 'type1'] as const) {
    test.serial(`${type}: DMA both ways, and stopped where nothing is mapped`, async (t) => {
      await withEdu(type, async ({ bar0, device }, space) => {
        t.is(device.addressSpace, space)
        t.is(space.type, type)
        t.is(readlinkSync(`/proc/self/fd/${String(space.fd)}`), '/dev/iommu')
        await using buffer = await space.allocate(4096, { below: EDU_MASK })
        t.deepEqual(throughEdu(bar0, buffer, pattern(4096, 1)), pattern(4096, 1))
        eduDma(bar0, 0x800_0000n, 128, 'fromDevice')
        await using fixed = await space.allocate(8192, { iova: 0x10_0000n })
        t.is(fixed.iova, 0x10_0000n)
        t.deepEqual(throughEdu(bar0, fixed, pattern(2048, 2)), pattern(2048, 2))
      })
    })

    test.serial(`${type}: map, overlaps, reserved addresses, unmap and unmap all`, async (t) => {
      await withEdu(type, async (_edu, space) => {
        t.true(space.iovaRanges.length >= 2, 'the MSI window at 0xfee00000 is left out')
        using memory = GuestMemory.create(4 * 4096)
        t.is(await space.map(memory, { iova: 0x20_0000n }), 0x20_0000n)
        const twice = await t.throwsAsync(space.map(memory, { iova: 0x20_1000n }), { instanceOf: VfioError })
        t.is(twice.code, 'EEXIST')
        await t.throwsAsync(space.map(memory, { iova: 0xfee0_0000n }), { instanceOf: RangeError })
        t.is(space.mapSync(memory, { iova: 0x40_0000n }), 0x40_0000n)
        t.is(space.mappingCount, 2)
        t.is(await space.unmap(0x20_0000n, 4 * 4096), 4n * 4096n)
        t.is(space.unmapAll(), 4n * 4096n)
        t.is(space.mappingCount, 0)
      })
    })

    test.serial(`${type}: an interrupt`, async (t) => {
      await withEdu(type, async (edu) => {
        const [signal] = edu.device.irq('msi').enable(1)
        edu.raise()
        t.is(await nextCount(signal as NonNullable<typeof signal>), 1)
        edu.acknowledge()
      })
    })

    test.serial(`${type}: two devices in one space, and nothing is left of it`, async (t) => {
      const round = (): Promise<void> =>
        withEdu(type, async ({ bar0 }, space) => {
          const other = await Edu.open('edu2', { iommu: space })
          try {
            other.device.config.command.busMaster = true
            await using buffer = await space.allocate(4096, { below: EDU_MASK })
            const sent = pattern(2048, 3)
            t.deepEqual(throughEdu(bar0, buffer, sent), sent)
            t.deepEqual(throughEdu(other.bar0, buffer, sent), sent)
          } finally {
            await other.device.close()
          }
        })
      await round()
      const before = holdings()
      await round()
      t.deepEqual(holdings(), before)
    })
  }

  test.serial('type1v2 refuses to cut a mapping, and has no dirty tracking', async (t) => {
    await withEdu('type1v2', async (_edu, space) => {
      using memory = GuestMemory.create(4 * 4096)
      await space.map(memory, { iova: 0x20_0000n })
      const error = await t.throwsAsync(space.unmap(0x20_1000n, 4096), { instanceOf: VfioError })
      t.is(error.syscall, 'VFIO_IOMMU_UNMAP_DMA')
      const untracked = t.throws(
        () => {
          space.dirtyTracking.start()
        },
        { instanceOf: VfioError },
      )
      t.is(untracked.code, 'ENOTTY')
      t.is(space.mappingCount, 1)
      t.is(await space.unmap(0x20_0000n, 4 * 4096), 4n * 4096n)
    })
  })

  test.serial('type1 cuts a mapping in two, and what is left stays mapped', async (t) => {
    await withEdu('type1', async ({ bar0 }, space) => {
      using memory = GuestMemory.create(4 * 4096)
      const bytes = new Uint8Array(memory.buffer)
      bytes.set(pattern(4 * 4096, 4))
      await space.map(memory, { iova: 0x20_0000n })
      t.is(await space.unmap(0x20_1000n, 4096), 4096n)
      t.is(space.mappingCount, 2)
      eduDma(bar0, 0x20_0000n, 2048, 'toDevice')
      eduDma(bar0, 0x20_2000n, 2048, 'fromDevice')
      t.deepEqual(bytes.slice(8192, 8192 + 2048), pattern(2048, 4))
      // The hole is free for another mapping.
      using other = GuestMemory.create(4096)
      t.is(await space.map(other, { iova: 0x20_1000n }), 0x20_1000n)
      t.is(space.mappingCount, 3)
      t.is(space.unmapAll(), 4n * 4096n)
    })
  })
} else {
  test('without iommufd it is refused, and said what is missing', (t) => {
    const error = t.throws(() => AddressSpace.open({ container: 'iommufd' }), { instanceOf: VfioError })
    t.is(error.reason, 'no-iommufd')
    t.is(error.code, 'ENOENT')
    t.regex(error.remedy ?? '', /6\.2/)
  })
}
