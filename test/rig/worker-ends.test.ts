// What Workers do to each other through what they share: one that ends in the middle of a call, one that closes its claim of a
// device, and two that open devices of one group at the same moment.
import { setTimeout as sleep } from 'node:timers/promises'
import test from 'ava'

import { AddressSpace, VfioDevice, VfioError } from '../../ts/index.js'
import { ended, inWorker, message } from '../unit/support.js'
import { EDU_ID, devices, open, rebind, rig } from './devices.js'

const IOMMUS = rig.built ? (['type1v2', 'iommufd'] as const) : (['type1v2'] as const)
// Each ends it at another moment, and begins with a Worker, which takes seconds here.
const ROUNDS = 4
const SIZE = 32 << 20

async function settled(space: AddressSpace): Promise<number> {
  const end = performance.now() + 5000
  while (space.mappingCount > 0 && performance.now() < end) await sleep(10)
  return space.mappingCount
}

for (const iommu of IOMMUS) {
  for (const [how, code] of [
    ['allocate()', `const all = []; for (;;) all.push(await space.allocate(${String(SIZE)}))`],
    ['allocateSync()', `const all = []; for (;;) all.push(space.allocateSync(${String(SIZE)}))`],
    ['map()', `const memory = vfio.GuestMemory.create(${String(4 * SIZE)}); await space.map(memory)`],
    ['mapSync()', `const memory = vfio.GuestMemory.create(${String(4 * SIZE)}); space.mapSync(memory)`],
  ] as const) {
    test.serial(`${iommu}: a Worker terminated during ${how} leaves nothing in a shared space`, async (t) => {
      const space = AddressSpace.open({ iommu })
      const device = await open('edu', { iommu: space })
      for (let round = 0; round < ROUNDS; round++) {
        const worker = inWorker(
          `const space = vfio.AddressSpace.claim(data); port.postMessage(1); ${code}`,
          space.share(),
        )
        await message(worker)
        await sleep(round)
        await worker.terminate()
        await ended(worker)
        t.is(await settled(space), 0, `round ${String(round)}`)
      }
      // And nothing of the kernel's either: the whole space can be mapped again at one place.
      const iova = space.iovaRanges[0]?.start ?? 0n
      const buffer = await space.allocate(SIZE, { iova })
      t.is(buffer.iova, iova)
      await device.close()
      await space.close()
    })
  }
}

test.serial('a Worker that closes its claim of a device leaves the peer mapping of another', async (t) => {
  const space = AddressSpace.open({ iommu: 'type1v2' })
  const peer = await open('edu2', { iommu: space })
  const device = await open('ivshmem', { iommu: 'type1v2' })
  const bar2 = device.region('bar2')
  const iova = await space.map(bar2)
  t.is(space.mappingCount, 1)
  const worker = inWorker(
    `const device = vfio.VfioDevice.claim(data.device), space = vfio.AddressSpace.claim(data.space)
    const bar2 = device.region('bar2')
    bar2.read32(0)
    const own = await space.map(bar2)
    const both = space.mappingCount
    await device.close()
    port.postMessage([both, own])
    port.close()`,
    { device: device.share(), space: space.share() },
  )
  const [both, own] = (await message(worker)) as [number, bigint]
  await ended(worker)
  t.is(both, 2)
  t.is(space.mappingCount, 2, 'the device is open here')
  await space.unmap(own, bar2.size)
  const again = await space.map(bar2)
  await space.unmap(again, bar2.size)
  await device.close()
  t.is(space.mappingCount, 0, 'with the last that has the device open')
  t.is(await space.unmap(iova, bar2.size), 0n)
  // The mapping kept no file open: the group opens at once.
  await (await open('ivshmem')).close()
  await peer.close()
  await space.close()
})

/** The last device that goes resets its bus, which takes a second and more. */
const MEETINGS = 16

for (const iommu of IOMMUS) {
  test.serial(
    `${iommu}: two Workers that open devices of one group at the same moment both get them`,
    async (t) => {
      t.timeout(600_000)
      await rebind('bridgedRng', 'vfio-pci')
      try {
        const turns = new SharedArrayBuffer(8)
        const code = `const turns = new Int32Array(data.turns)
        const { setTimeout: sleep } = await import('node:timers/promises')
        const failures = []
        for (let round = 0; round < ${String(MEETINGS)}; round++) {
          // Both at once: each waits for the other to get here.
          Atomics.add(turns, 0, 1)
          while (Atomics.load(turns, 0) < 2 * (round + 1)) await sleep(0)
          try {
            const device = round % 2 === 0 ? await vfio.VfioDevice.open(data.bdf, { iommu: data.iommu })
              : vfio.VfioDevice.openSync(data.bdf, { iommu: data.iommu })
            if (device.region('bar0').read32(0) !== ${String(EDU_ID)}) failures.push('other device')
            await device.close()
          } catch (error) { failures.push(round + ': ' + error.message) }
        }
        port.postMessage(failures)`
        const workers = (['bridgedEdu1', 'bridgedEdu2'] as const).map((name) =>
          inWorker(code, { turns, bdf: devices[name], iommu }),
        )
        t.deepEqual(await Promise.all(workers.map(message)), [[], []])
        await Promise.all(workers.map((worker) => worker.terminate()))
      } finally {
        await rebind('bridgedRng', 'virtio-pci')
      }
    },
  )

  test.serial(`${iommu}: devices of one group opened at once in one thread get one space`, async (t) => {
    await rebind('bridgedRng', 'vfio-pci')
    try {
      for (let round = 0; round < 5; round++) {
        const both = await Promise.all([open('bridgedEdu1', { iommu }), open('bridgedEdu2', { iommu })])
        t.is(both[0].addressSpace, both[1].addressSpace)
        await Promise.all(both.map((device) => device.close()))
      }
      // One that another space has been given for is refused by name.
      const first = await open('bridgedEdu1', { iommu })
      const space = AddressSpace.open({ iommu })
      const error = await t.throwsAsync(VfioDevice.open(devices.bridgedEdu2, { iommu: space }), {
        instanceOf: VfioError,
      })
      t.is(error.reason, 'other-address-space')
      await first.close()
      await space.close()
    } finally {
      await rebind('bridgedRng', 'virtio-pci')
    }
  })
}
