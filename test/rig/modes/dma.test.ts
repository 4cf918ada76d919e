// What every IOMMU mode of the machine at hand must do alike: opening, mapping up to the top of the address space, unmapping
// all, and transfers.
import { readFileSync } from 'node:fs'

import test from 'ava'

import { GuestMemory, VfioDevice, VfioError } from '../../../ts/index.js'
import { identifyController } from '../nvme.js'
import {
  EDU_ID,
  EDU_MASK,
  Edu,
  devices,
  eduDma,
  nextCount,
  pattern,
  rig,
  settledCount,
  throughEdu,
} from '../devices.js'
import { MODES, allowUnsafeInterrupts, inMode } from './modes.js'

/** VT-d keeps DMA coherent where it can disregard what a device marks as not to be snooped: bit 7 of its ECAP. */
function coherent(mode: string): boolean | null {
  if (mode === 'iommufd') return null
  if (rig.iommu === 'virtio') return false
  const ecap = readFileSync('/sys/class/iommu/dmar0/intel-iommu/ecap', 'utf8').trim()
  return (BigInt(`0x${ecap}`) & (1n << 7n)) !== 0n
}

for (const [mode, options] of Object.entries(MODES)) {
  test.serial(`${mode}: the device, its registers, and transfers both ways`, async (t) => {
    await inMode(options, async (device, space) => {
      t.is(space.type, options.iommu === 'auto' ? undefined : options.iommu)
      t.is(space.cacheCoherent, coherent(mode))
      t.is(device.info.bus, 'pci')
      t.true(device.info.numRegions >= 9)
      const edu = new Edu(device)
      t.is(edu.bar0.read32(0), EDU_ID)
      device.config.command.busMaster = true
      await using buffer = await space.allocate(4096, { below: EDU_MASK })
      t.deepEqual(throughEdu(edu.bar0, buffer, pattern(4096, 1)), pattern(4096, 1))
    })
  })

  test.serial(`${mode}: what a controller of another make writes to memory by itself`, async (t) => {
    await inMode(
      options,
      async (device) => {
        const said = Buffer.from(await identifyController(device))
        t.regex(said.toString('latin1', 24, 64), /^QEMU NVMe Ctrl +$/)
      },
      devices.nvme,
    )
  })

  test.serial(`${mode}: maps and unmaps, one, all, and nothing`, async (t) => {
    await inMode(options, async (_device, space) => {
      using memory = GuestMemory.create(4 * 4096)
      const places = [await space.map(memory), space.mapSync(memory), await space.map(memory)]
      t.is(new Set(places).size, 3)
      t.is(space.mappingCount, 3)
      t.is(await space.unmap(places[0] as bigint, 4 * 4096), 4n * 4096n)
      const twice = await t.throwsAsync(space.map(memory, { iova: places[1] as bigint }), {
        instanceOf: VfioError,
      })
      t.is(twice.code, 'EEXIST')
      t.is(space.unmapAll(), 8n * 4096n)
      t.is(space.mappingCount, 0)
      t.is(space.unmapAll(), 0n)
    })
  })

  test.serial(`${mode}: dirty pages, where they are tracked`, async (t) => {
    if (mode !== 'type1v2') {
      await inMode(options, (_device, space) => {
        const refused = t.throws(
          () => {
            space.dirtyTracking.start()
          },
          { instanceOf: VfioError },
        )
        t.is(refused.code, mode === 'type1' ? 'EACCES' : mode === 'iommufd' ? 'EOPNOTSUPP' : 'ENOTTY')
        return Promise.resolve()
      })
      return
    }
    await inMode({ ...options, dirtyTracking: true }, async (_device, space) => {
      const { dirtyTracking } = space
      const page = Number(space.pageSizes[0])
      using memory = GuestMemory.create(4 * page)
      const iova = await space.map(memory)
      t.is(
        t.throws(() => dirtyTracking.unmap(iova, 4 * page, page), { instanceOf: VfioError }).code,
        'EINVAL',
        'not started',
      )
      dirtyTracking.start()
      dirtyTracking.start()
      // A device that pins all of its memory counts all of it as dirty, however often it is read.
      t.is(dirtyTracking.bitmap(iova, 4 * page, page).count, 4)
      t.is(dirtyTracking.unmap(iova, 4 * page, page).count, 4)
      t.is(space.mappingCount, 0)
      t.is(await space.unmap(iova, 4 * page), 0n)
      dirtyTracking.stop()
    })
  })

  test.serial(`${mode}: huge pages`, async (t) => {
    await inMode(options, async (_device, space) => {
      await using huge = await space.allocate(1, { hugePages: '2M' })
      t.is(huge.size, 2 << 20)
      t.is(huge.iova % (2n << 20n), 0n)
    })
  })

  test.serial(`${mode}: the top of the address space, and beyond it`, async (t) => {
    await inMode(options, async (_device, space) => {
      using memory = GuestMemory.create(2 * 4096)
      const last = space.iovaRanges.at(-1)?.last ?? 0n
      const top = last - 4095n
      t.is(await space.map(memory, { iova: top, size: 4096 }), top)
      t.is(await space.unmap(top, 4096), 4096n)
      await t.throwsAsync(space.map(memory, { iova: top }), { instanceOf: RangeError })
      await t.throwsAsync(space.map(memory, { iova: 0xffff_ffff_ffff_f000n }), { instanceOf: RangeError })
      await t.throwsAsync(space.unmap(top, 0), { instanceOf: RangeError })
    })
  })

  test.serial(`${mode}: a mapping at the top is among all of them`, async (t) => {
    await inMode(options, async (_device, space) => {
      using memory = GuestMemory.create(4096)
      const top = (space.iovaRanges.at(-1)?.last ?? 0n) - 4095n
      await space.map(memory, { iova: top })
      t.is(space.unmapAll(), 4096n)
      t.is(space.mappingCount, 0)
      t.is(await space.unmap(top, 4096), 0n)
      // And the address is free again.
      t.is(space.mapSync(memory, { iova: top }), top)
      t.is(space.unmapSync(top, 4096n), 4096n)
    })
  })

  test.serial(`${mode}: a space that its last device has left, and the next one`, async (t) => {
    const lasting = mode.startsWith('iommufd')
    await inMode(options, async (device, space) => {
      const buffer = await space.allocate(4096, { iova: 0x10_0000n })
      await device.close()
      t.is(space.mappingCount, lasting ? 1 : 0)
      const next = await VfioDevice.open(devices.edu2, { iommu: space })
      try {
        const { bar0 } = new Edu(next)
        next.config.command.busMaster = true
        const own = lasting ? buffer : await space.allocate(4096, { iova: buffer.iova })
        t.deepEqual(throughEdu(bar0, own, pattern(2048, 1)), pattern(2048, 1))
        if (lasting) return
        // The old buffer has nothing of the new one.
        await buffer.close()
        next.config.command.busMaster = true
        t.is(space.mappingCount, 1)
        t.deepEqual(throughEdu(bar0, own, pattern(2048, 2)), pattern(2048, 2))
      } finally {
        await next.close()
      }
    })
  })

  test.serial(`${mode}: what reaches past the last address there can be`, async (t) => {
    await inMode(options, async (_device, space) => {
      using memory = GuestMemory.create(2 * 4096)
      const last = 0xffff_ffff_ffff_f000n
      const beyond = { instanceOf: RangeError }
      await t.throwsAsync(space.map(memory, { iova: last }), beyond)
      t.throws(() => space.mapSync(memory, { iova: last }), beyond)
      await t.throwsAsync(space.unmap(last, 2 * 4096), beyond)
      t.throws(() => space.unmapSync(last, 2n * 4096n), beyond)
      t.throws(() => space.mapSync(memory, { iova: 1n << 64n }), {
        ...beyond,
        message: /iova must be from 0n to/,
      })
      t.throws(() => space.mapSync(memory, { iova: 4096 as never }), { instanceOf: TypeError })
      t.throws(() => space.mapSync(memory, { iova: 0x10_0800n }), { ...beyond, message: /multiple of 4096/ })
      t.throws(() => space.unmapSync(0x10_0800n, 4096), { ...beyond, message: /multiples of 4096/ })
      // What the kernel takes for everything is no size to us.
      await space.map(memory, { iova: 0x10_0000n })
      t.throws(() => space.unmapSync(0n, 0xffff_ffff_ffff_ffffn), beyond)
      t.is(space.mappingCount, 1)
    })
  })

  test.serial(`${mode}: transfers and messages by turns, and from and to what nothing maps`, async (t) => {
    await inMode(options, async (device, space) => {
      const edu = new Edu(device)
      const UNMAPPED = 0xf00_0000n
      device.config.command.busMaster = true
      await using buffer = await space.allocate(4096, { below: 0x800_0000n })
      const [signal] = device.irq('msi').enable(1)
      const message = signal as NonNullable<typeof signal>
      // A transfer takes edu 100 ms, whatever its length.
      for (let round = 0; round < 4; round++) {
        t.deepEqual(throughEdu(edu.bar0, buffer, pattern(4096, round)), pattern(4096, round))
        const before = new Uint8Array(buffer.buffer).slice()
        eduDma(edu.bar0, UNMAPPED, 2048, 'toDevice')
        eduDma(edu.bar0, UNMAPPED, 2048, 'fromDevice')
        t.deepEqual(new Uint8Array(buffer.buffer), before)
        edu.raise(1)
        t.is(await nextCount(message), 1)
        t.is(edu.acknowledge(), 1)
      }
      for (let i = 0; i < 20; i++) eduDma(edu.bar0, buffer.iova, 2048, i % 2 ? 'fromDevice' : 'toDevice')
      t.is(await settledCount(message), 0, 'a transfer that asks for no message sends none')
    })
  })
}

if (rig.built && rig.iommu !== 'none') {
  test.serial(
    'iommufd: dirty tracking on an IOMMU that has none is refused, and nothing is left',
    async (t) => {
      const refused = await t.throwsAsync(
        inMode({ iommu: 'iommufd', dirtyTracking: true }, () => Promise.resolve()),
        { instanceOf: VfioError },
      )
      t.is(refused.code, 'EOPNOTSUPP')
      t.is(refused.syscall, 'IOMMU_HWPT_ALLOC')
      t.regex(refused.remedy ?? '', /cannot track/)
      await inMode({ iommu: 'iommufd' }, (device) => {
        t.false(device.hwInfo().capabilities.dirtyTracking)
        return Promise.resolve()
      })
    },
  )
}

if (rig.iommu === 'virtio') {
  test.serial('interrupts that are not isolated are refused until that is accepted', async (t) => {
    allowUnsafeInterrupts(false)
    for (const iommu of ['type1v2', 'iommufd'] as const) {
      const refused = await t.throwsAsync(VfioDevice.open(devices.edu, { iommu }), { instanceOf: VfioError })
      t.is(refused.code, 'EPERM')
      t.is(refused.reason, 'unsafe-interrupts')
      t.regex(refused.remedy ?? '', /allow_unsafe_interrupts/)
    }
  })
}

if (rig.iommu === 'none') {
  test.serial('without an IOMMU a device opens only where that is asked for, with a warning', async (t) => {
    const refused = await t.throwsAsync(VfioDevice.open(devices.edu), { instanceOf: VfioError })
    t.is(refused.reason, 'no-iommu')
    t.regex(refused.remedy ?? '', /noiommu/)
    const warnings: string[] = []
    const note = (warning: Error): void => {
      warnings.push(warning.name)
    }
    process.on('warning', note)
    const device = await VfioDevice.open(devices.edu, { iommu: 'noiommu' })
    try {
      const space = device.addressSpace
      t.is(space.type, 'noiommu')
      t.like(device.opened, { through: 'group', why: 'asked' })
      t.is(device.region('bar0').read32(0), EDU_ID)
      const page = await space.allocate(4096)
      t.true(page.iova > 0n)
      t.is(page.iova % 4096n, 0n)
      // Pages that nothing can prove to be elsewhere: two are at two places.
      const second = space.allocateSync(4096)
      t.not(second.iova, page.iova)
      const chosen = await t.throwsAsync(space.allocate(4096, { iova: 0x10_0000n }), {
        instanceOf: VfioError,
      })
      t.is(chosen.code, 'EOPNOTSUPP')
      const huge = await space.allocate(1, { hugePages: '2M' })
      t.is(huge.iova % (2n << 20n), 0n)
      const edu = new Edu(device)
      // Messages are DMA of the device's too.
      device.config.command.busMaster = true
      const [signal] = device.irq('msi').enable(1)
      edu.raise()
      t.is(await nextCount(signal as NonNullable<typeof signal>), 1)
      edu.acknowledge()
      const again = VfioDevice.claim(device.share())
      t.is(again.addressSpace.type, 'noiommu')
      const elsewhere = await again.addressSpace.allocate(4096)
      t.false([page.iova, second.iova].includes(elsewhere.iova))
      await again.close()
    } finally {
      await device.close()
      process.off('warning', note)
    }
    t.true(warnings.includes('VfioNoIommuWarning'))
    const nvme = await VfioDevice.open(devices.nvme, { iommu: 'noiommu' })
    try {
      t.regex(Buffer.from(await identifyController(nvme)).toString('latin1', 24, 64), /^QEMU NVMe Ctrl +$/)
    } finally {
      await nvme.close()
    }
    t.is(readFileSync('/sys/module/vfio/parameters/enable_unsafe_noiommu_mode', 'utf8').trim(), 'Y')
  })
}
