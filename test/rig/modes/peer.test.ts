// A device's memory mapped for another by its address, as the type1 IOMMU takes it and iommufd never does.
import test from 'ava'

import {
  AddressSpace,
  type AddressSpaceOptions,
  type Region,
  VfioDevice,
  VfioError,
} from '../../../ts/index.js'
import { Edu, devices, eduDma, holdings, pattern, rig } from '../devices.js'
import { MODES, allowUnsafeInterrupts } from './modes.js'

const PAGE = 4096
// edu addresses 28 bits.
const IOVA = 0x10_0000n

interface Peers {
  space: AddressSpace
  edu: Edu
  /** The BAR of the other device, which is memory, and that device. */
  memory: Region
  other: VfioDevice
}

async function withPeers(options: AddressSpaceOptions, use: (peers: Peers) => Promise<void>): Promise<void> {
  if (rig.iommu === 'virtio') allowUnsafeInterrupts(true)
  const space = AddressSpace.open(options)
  try {
    const edu = await Edu.open('edu', { iommu: space })
    const other = await VfioDevice.open(devices.ivshmem, { iommu: space })
    try {
      other.config.command.memorySpace = true
      edu.device.config.command.busMaster = true
      await use({ space, edu, memory: other.region('bar2'), other })
    } finally {
      await other.close()
      await edu.device.close()
    }
  } finally {
    await space.close()
    if (rig.iommu === 'virtio') allowUnsafeInterrupts(false)
  }
}

/** Containers of VFIO's own. */
const TAKES = Object.entries(MODES).filter(([mode]) => !mode.startsWith('iommufd'))
const REFUSES = Object.entries(MODES).filter(([mode]) => mode.startsWith('iommufd'))

for (const [mode, options] of TAKES) {
  test.serial(`${mode}: a BAR mapped whole, in part, and from the middle, and unmapped`, async (t) => {
    await withPeers(options, async ({ space, memory }) => {
      for (const part of [{}, { size: PAGE }, { offset: PAGE }, { offset: PAGE, size: 3 * PAGE }]) {
        const size = part.size ?? memory.size - (part.offset ?? 0)
        const places = [await space.map(memory, part), space.mapSync(memory, part)]
        t.is(space.mappingCount, 2)
        for (const iova of places) t.is(await space.unmap(iova, size), BigInt(size))
        t.is(space.mappingCount, 0)
      }
      const places = [await space.map(memory), space.mapSync(memory)]
      t.is(new Set(places).size, 2)
      t.deepEqual(
        places.map((iova) => iova % BigInt(memory.size)),
        [0n, 0n],
      )
      t.is(space.unmapAll(), 2n * BigInt(memory.size))
    })
  })

  test.serial(
    `${mode}: one device writes into the BAR of another by its address, and reads from it`,
    async (t) => {
      await withPeers(options, async ({ space, edu, memory }) => {
        t.is(await space.map(memory, { iova: IOVA, offset: PAGE, size: 2 * PAGE }), IOVA)
        const sent = pattern(2048, 9)
        memory.write(PAGE, sent)
        eduDma(edu.bar0, IOVA, sent.length, 'toDevice')
        memory.write(PAGE, new Uint8Array(sent.length))
        eduDma(edu.bar0, IOVA + BigInt(PAGE), sent.length, 'fromDevice')
        const seen = new Uint8Array(sent.length)
        memory.read(2 * PAGE, seen)
        t.deepEqual(seen, sent)
        t.is(space.unmapAll(), BigInt(2 * PAGE))
      })
    },
  )

  test.serial(
    `${mode}: a device that closes takes its memory out of the space, and nothing else`,
    async (t) => {
      await withPeers(options, async ({ space, memory, other }) => {
        await using buffer = await space.allocate(PAGE)
        const iova = await space.map(memory)
        await space.map(memory, { size: PAGE })
        t.is(space.mappingCount, 3)
        await other.close()
        t.is(space.mappingCount, 1)
        t.is(await space.unmap(iova, memory.size), 0n)
        t.true(buffer.iova > 0n)
        const gone = await t.throwsAsync(space.map(memory), { instanceOf: VfioError })
        t.is(gone.code, 'EBADF')
        // Nothing of it holds the device's file.
        const again = await VfioDevice.open(devices.ivshmem, { iommu: space })
        t.is(await space.unmap(await space.map(again.region('bar2')), memory.size), BigInt(memory.size))
        await again.close()
      })
    },
  )

  test.serial(`${mode}: a device that closes while its memory is being mapped`, async (t) => {
    for (let round = 0; round < 5; round++) {
      await withPeers(options, async ({ space, memory, other }) => {
        const mapping = Promise.allSettled(Array.from({ length: 4 }, () => space.map(memory)))
        await other.close()
        for (const result of await mapping) {
          if (result.status === 'rejected') t.is((result.reason as VfioError).code, 'EBADF')
        }
        t.is(space.mappingCount, 0)
        await (await VfioDevice.open(devices.ivshmem, { iommu: space })).close()
      })
    }
  })

  test.serial(`${mode}: a BAR that its device does not decode is refused`, async (t) => {
    await withPeers(options, async ({ space, memory, other }) => {
      other.config.command.memorySpace = false
      for (const error of [
        await t.throwsAsync(space.map(memory), { instanceOf: VfioError }),
        t.throws(() => space.mapSync(memory), { instanceOf: VfioError }),
      ]) {
        t.like(error, { code: 'EFAULT', syscall: 'VFIO_IOMMU_MAP_DMA', reason: 'peer-memory' })
      }
      t.is(memory.read32(0), 0xffff_ffff)
      const faulted = t.throws(() => space.mapSync(memory), { instanceOf: VfioError })
      t.like(faulted, { code: 'EIO', reason: 'peer-memory' })
      other.config.command.memorySpace = true
      memory.remap()
      t.is(space.unmapSync(space.mapSync(memory), memory.size), BigInt(memory.size))
    })
  })
}

for (const [mode, options] of REFUSES) {
  test.serial(`${mode}: a BAR by its address is refused, whole, in part and from the middle`, async (t) => {
    await withPeers(options, async ({ space, memory }) => {
      for (const part of [{}, { size: PAGE }, { offset: PAGE, size: PAGE }]) {
        const size = part.size ?? memory.size
        const wanted = { ...part, iova: IOVA }
        for (const error of [
          await t.throwsAsync(space.map(memory, wanted), { instanceOf: VfioError }),
          t.throws(() => space.mapSync(memory, wanted), { instanceOf: VfioError }),
        ]) {
          t.like(error, { code: 'EFAULT', reason: 'peer-memory' })
          t.regex(error.remedy ?? '', /mapFile/)
        }
        t.is(await space.unmap(IOVA, size), 0n)
      }
      t.is(space.mappingCount, 0)
    })
  })
}

for (const [mode, options] of Object.entries(MODES)) {
  test.serial(`${mode}: what is not mapped of a region cannot be mapped for others`, async (t) => {
    const before = holdings().descriptors
    await withPeers(options, ({ space, memory, edu }) => {
      for (const bad of [{ offset: 1 }, { size: 100 }, { offset: memory.size }, { size: 2 * memory.size }]) {
        t.throws(() => space.mapSync(memory, bad), { instanceOf: RangeError })
      }
      const config = edu.device.region('config')
      t.throws(() => space.mapSync(config, { size: PAGE }), { instanceOf: RangeError })
      return Promise.resolve()
    })
    t.deepEqual(holdings().descriptors, before)
  })
}

if (rig.iommu === 'none') {
  test.serial('noiommu: a BAR is where it is', async (t) => {
    await using device = await VfioDevice.open(devices.ivshmem, { iommu: 'noiommu' })
    const error = t.throws(() => device.addressSpace.mapSync(device.region('bar2')), {
      instanceOf: VfioError,
    })
    t.like(error, { code: 'EOPNOTSUPP', reason: 'no-iommu' })
    t.regex(error.remedy ?? '', /bus address/)
  })
}
