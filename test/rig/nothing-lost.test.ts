// No interrupt is lost by the package: a pass-through that starts beside a device at work, and vectors that come and go beside
// others. By count.
import { setTimeout as sleep } from 'node:timers/promises'
import test from 'ava'

import { AddressSpace, EventFd, PciPassthrough, VfioDevice } from '../../ts/index.js'
import { EDU_MASK, Edu, devices, eduDma, nextCount, pattern, settledCount, withDevice } from './devices.js'
import { Guest } from './guest.js'

const ROUNDS = 20
/** ivshmem: writing a vector there rings it. */
const DOORBELL = 0x0c
/** Longer than it takes a doorbell to become an interrupt, on a busy machine. */
const LATE_MS = 500

test.serial('a pass-through that starts and closes beside a device at work in the same space', async (t) => {
  await using space = AddressSpace.open({ iommu: 'type1v2' })
  const guest = new Guest()
  const working = await VfioDevice.open(devices.edu, { iommu: space })
  const given = await VfioDevice.open(devices.edu2, { iommu: space })
  try {
    const edu = new Edu(working)
    working.config.command.busMaster = true
    const buffer = await space.allocate(4096, { iova: EDU_MASK - 4096n })
    const bytes = new Uint8Array(buffer.buffer)
    const [signal] = working.irq('msi').enable(1) as [EventFd]
    for (let round = 0; round < ROUNDS; round++) {
      const passthrough = new PciPassthrough(guest.vm, given)
      const starting = passthrough.start()
      const sent = pattern(512, round)
      bytes.set(sent)
      eduDma(edu.bar0, buffer.iova, 512, 'toDevice')
      edu.raise()
      t.is(await nextCount(signal, 2000), 1, `while ${String(round)} starts`)
      edu.acknowledge()
      await starting
      bytes.fill(0)
      passthrough.close()
      eduDma(edu.bar0, buffer.iova, 512, 'fromDevice')
      edu.raise()
      t.is(await nextCount(signal, 2000), 1, `after ${String(round)} closed`)
      edu.acknowledge()
      t.deepEqual(bytes.slice(0, 512), sent)
    }
    t.is(await settledCount(signal), 0)
    t.is(space.mappingCount, 1, 'the guest has left the space')
  } finally {
    await given.close()
    await working.close()
    await guest.close()
  }
})

test.serial('a vector that changes its eventfd, or is let go, while the others ring', async (t) => {
  await withDevice('ivshmem', async (device) => {
    device.config.command.busMaster = true
    const bar0 = device.region('bar0')
    const msix = device.irq('msix')
    const [, second, third] = msix.enable(3) as [EventFd, EventFd, EventFd]
    const counts = [0, 0]
    using other = new EventFd()
    using another = new EventFd()
    for (let round = 0; round < ROUNDS; round++) {
      bar0.write32(DOORBELL, 1)
      msix.set(0, [other, another, null][round % 3] ?? null)
      bar0.write32(DOORBELL, 2)
      counts[0]! += await nextCount(second, 2000)
      counts[1]! += await nextCount(third, 2000)
    }
    t.deepEqual(counts, [ROUNDS, ROUNDS])
    t.deepEqual([await settledCount(second), third.read()], [0, 0])
  })
})

test.serial(
  'a set of vectors that grows: alone where the kernel lets it, else by off and on, with what that loses',
  async (t) => {
    await withDevice('ivshmem', async (device) => {
      device.config.command.busMaster = true
      const bar0 = device.region('bar0')
      const msix = device.irq('msix')
      const eventfds = [0, 1, 2, 3].map(() => new EventFd())
      const [first, second, , last] = eventfds as [EventFd, EventFd, EventFd, EventFd]
      msix.enable([first, second])
      if (msix.info.flags.noresize) {
        t.throws(
          () => {
            msix.set(3, last)
          },
          { message: /cannot grow/ },
        )
        bar0.write32(DOORBELL, 0)
        t.is(await nextCount(first, 2000), 1, 'the refusal touches nobody')
        msix.disable()
        bar0.write32(DOORBELL, 0)
        // The device's own thread may be late, and then nothing is lost.
        await sleep(LATE_MS)
        msix.enable(eventfds)
        t.is(await settledCount(first), 0, 'nobody takes what comes in between')
      } else {
        for (let round = 0; round < ROUNDS; round++) {
          bar0.write32(DOORBELL, 0)
          msix.set(3, round % 2 === 0 ? last : null)
          bar0.write32(DOORBELL, 1)
          t.is(await nextCount(first, 2000), 1)
          t.is(await nextCount(second, 2000), 1)
        }
        msix.set(3, last)
      }
      bar0.write32(DOORBELL, 3)
      t.is(await nextCount(last, 2000), 1)
      msix.disable()
      for (const eventfd of eventfds) eventfd.close()
    })
  },
)
