// What mappings come to in the IOMMU: VT-d's own page tables, as the kernel shows them, in every mode.
import { readFileSync } from 'node:fs'
import test from 'ava'

import { GuestMemory, VfioDevice } from '../../../ts/index.js'
import { type DeviceName, devices, sysfs } from '../devices.js'
import { MODES, inMode } from '../modes/modes.js'

const PAGE = 4096n
const ADDRESS = 0x000f_ffff_ffff_f000n

/** From the tables' root to its leaves: the bytes that an entry stands for. */
const LEVELS = [1n << 48n, 1n << 39n, 1n << 30n, 1n << 21n, PAGE]

interface Leaf {
  /** Bytes of the page. */
  size: bigint
  address: bigint
}

/** The entry that translates an IOVA, which is where its page begins; undefined when there is none. */
function leafOf(name: DeviceName, iova: bigint): Leaf | undefined {
  const path = `/sys/kernel/debug/iommu/intel/${devices[name]}/domain_translation_struct`
  for (const line of readFileSync(path, 'utf8').split('\n')) {
    const found = /^(0x[0-9a-f]+) \|\s+(.+)$/.exec(line)
    if (found === null || BigInt(found[1] as string) !== iova / PAGE) continue
    const entries = (found[2] as string).trim().split(/\s+/).map(BigInt)
    return { size: LEVELS[entries.length - 1] as bigint, address: (entries.at(-1) as bigint) & ADDRESS }
  }
  return undefined
}

const SIZES = [
  { hugePages: undefined, page: PAGE },
  { hugePages: '2M', page: 1n << 21n },
  { hugePages: '1G', page: 1n << 30n },
] as const

for (const [mode, options] of Object.entries(MODES)) {
  test.serial(`${mode}: huge pages are large ones in the IOMMU, and gone when unmapped`, async (t) => {
    await inMode(options, async (_device, space) => {
      for (const { hugePages, page } of SIZES) {
        using memory = GuestMemory.create(1, hugePages === undefined ? {} : { hugePages })
        new Uint8Array(memory.window(0, 4096)).fill(1)
        for (const iova of [await space.map(memory), space.mapSync(memory)]) {
          // iommufd's form of type1 can be unmapped anywhere, which is why it has no large pages.
          t.is(leafOf('edu', iova)?.size, mode === 'iommufd compat type1' ? PAGE : page)
          t.is(await space.unmap(iova, memory.size), BigInt(memory.size))
          t.is(leafOf('edu', iova), undefined)
        }
      }
    })
  })
}

test.serial('iommufd: no large pages where they are not wanted', async (t) => {
  await inMode({ iommu: 'iommufd' }, (_device, space) => {
    using memory = GuestMemory.create(1, { hugePages: '2M' })
    space.hugePages = false
    t.is(leafOf('edu', space.mapSync(memory))?.size, PAGE)
    space.unmapAll()
    space.hugePages = true
    t.is(leafOf('edu', space.mapSync(memory))?.size, 1n << 21n)
    return Promise.resolve()
  })
})

for (const mode of ['type1', 'type1v2'] as const) {
  test.serial(`${mode}: a BAR that is mapped is where the bus has it`, async (t) => {
    await inMode({ iommu: mode }, async (_device, space) => {
      await using other = await VfioDevice.open(devices.ivshmem, { iommu: space })
      other.config.command.memorySpace = true
      const memory = other.region('bar2')
      const [start = ''] = sysfs('ivshmem', 'resource').split('\n')[2]?.split(' ') ?? []
      const iova = await space.map(memory, { offset: 8192 })
      t.is(leafOf('edu', iova)?.address, BigInt(start) + 8192n)
      t.is(leafOf('edu', iova + PAGE)?.address, BigInt(start) + 8192n + PAGE)
    })
  })
}
