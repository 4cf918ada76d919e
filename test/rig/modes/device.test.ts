// What a device itself must do alike in every IOMMU mode: configuration space, BARs, interrupts by loop-back of either kind, and
// coming up beside others.
import { readFileSync } from 'node:fs'

import test from 'ava'

import { AddressSpace, type AddressSpaceOptions, VfioDevice } from '../../../ts/index.js'
import {
  type DeviceName,
  EDU_ID,
  EDU_MASK,
  Edu,
  devices,
  eduDma,
  nextCount,
  pattern,
  rig,
  sysfs,
} from '../devices.js'
import { MODES, allowUnsafeInterrupts, inMode } from './modes.js'

const NAMES: DeviceName[] = ['edu', 'edu2', 'testdev', 'e1000e', 'nvme', 'ivshmem']

/** Sizes of BAR 0 to 5, as the kernel has them. */
function barSizes(name: DeviceName): number[] {
  return readFileSync(`/sys/bus/pci/devices/${devices[name]}/resource`, 'utf8')
    .split('\n')
    .slice(0, 6)
    .map((line) => {
      const [start = 0n, end = 0n] = line.split(' ').map(BigInt)
      return end === 0n ? 0 : Number(end - start + 1n)
    })
}

// What is not about memory holds without an IOMMU too.
const ALL: Record<string, AddressSpaceOptions> =
  rig.iommu === 'none' ? { noiommu: { iommu: 'noiommu' } } : MODES

for (const [mode, options] of Object.entries(ALL)) {
  test.serial(`${mode}: configuration space, and bus master off, on and off again`, async (t) => {
    for (const name of ['edu', 'e1000e', 'nvme'] as const) {
      await inMode(
        options,
        ({ config }) => {
          t.is(config.vendorId, Number(sysfs(name, 'vendor')))
          t.is(config.deviceId, Number(sysfs(name, 'device')))
          t.is(config.revision, Number(sysfs(name, 'revision')))
          for (const on of [false, true, false]) {
            config.command.busMaster = on
            t.is(config.command.busMaster, on)
            t.is((config.space.read16(4) & 4) !== 0, on)
          }
          return Promise.resolve()
        },
        devices[name],
      )
    }
  })

  test.serial(`${mode}: BARs of the size that the kernel gave them, mapped where they can be`, async (t) => {
    for (const name of NAMES) {
      await inMode(
        options,
        (device) => {
          for (const [index, size] of barSizes(name).entries()) {
            const bar = device.region(`bar${String(index)}` as 'bar0')
            t.is(bar.size, size, `${name} bar${String(index)}`)
            t.is(bar.mmapAreas.length > 0, bar.flags.mmap)
            if (bar.flags.mmap) t.true(bar.isMapped(bar.mmapAreas[0]?.offset ?? -1, 4))
          }
          return Promise.resolve()
        },
        devices[name],
      )
    }
  })

  for (const [kind, name] of [
    ['msi', 'edu'],
    ['msi', 'e1000e'],
    ['msix', 'e1000e'],
    ['msix', 'nvme'],
  ] as const) {
    test.serial(`${mode}: ${kind} of ${name} by loop-back, on up to 16 vectors`, async (t) => {
      await inMode(
        options,
        async (device) => {
          const vectors = device.irq(kind)
          const count = Math.min(16, vectors.count)
          t.true(count >= (name === 'nvme' ? 2 : 1))
          const signals = vectors.enable(count)
          t.is(signals.length, count)
          for (const [vector, signal] of signals.entries()) {
            vectors.trigger(vector)
            t.is(await nextCount(signal), 1)
          }
          t.true(signals.every((signal) => signal.read() === 0))
          vectors.disable()
          t.false(vectors.enabled)
        },
        devices[name],
      )
    })
  }

  if (rig.iommu === 'none') continue
  test.serial(`${mode}: devices that come up at the same time, in one address space`, async (t) => {
    if (rig.iommu === 'virtio') allowUnsafeInterrupts(true)
    await using space = AddressSpace.open(options)
    const opened = await Promise.all(NAMES.map((name) => VfioDevice.open(devices[name], { iommu: space })))
    try {
      t.true(opened.every((device) => device.addressSpace === space))
      t.deepEqual(
        opened.map(({ config }) => config.deviceId),
        NAMES.map((name) => Number(sysfs(name, 'device'))),
      )
      // Memory that is mapped once is there for all of them.
      await using buffer = await space.allocate(4096, { below: EDU_MASK })
      const bytes = new Uint8Array(buffer.buffer)
      for (const device of opened.slice(0, 2)) {
        const { bar0 } = new Edu(device)
        t.is(bar0.read32(0), EDU_ID)
        device.config.command.busMaster = true
        bytes.set(pattern(2048, 5))
        eduDma(bar0, buffer.iova, 2048, 'toDevice')
        bytes.fill(0)
        eduDma(bar0, buffer.iova, 2048, 'fromDevice')
        t.deepEqual(bytes.slice(0, 2048), pattern(2048, 5))
      }
    } finally {
      await Promise.all(opened.map((device) => device.close()))
      if (rig.iommu === 'virtio') allowUnsafeInterrupts(false)
    }
  })
}
