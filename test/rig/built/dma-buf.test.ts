// Parts of a BAR as a dma-buf (Linux 6.19), and DMA from one device's BAR into another's.
import { readFileSync } from 'node:fs'
import test from 'ava'

import { Edu, eduDma, holdings, open, pattern, withDevice } from '../devices.js'

test.serial('a whole BAR, and ranges of one', async (t) => {
  // What a process makes once: the guard's page, the background poller.
  await withDevice('ivshmem', (device) => device.region('bar2').read32(0))
  const before = holdings().descriptors
  await withDevice('ivshmem', (device) => {
    const whole = device.features.dmaBuf('bar2')
    t.is(whole.size, device.region('bar2').size)
    t.regex(readFileSync(`/proc/self/fdinfo/${String(whole.fd)}`, 'utf8'), /^exp_name:\s+vfio/m)
    const parts = device.features.dmaBuf(device.region('bar2'), [
      { offset: 0, size: 4096 },
      { offset: 65_536, size: 8192 },
    ])
    t.is(parts.size, 12_288)
    parts.close()
    whole.close()
  })
  t.deepEqual(holdings().descriptors, before)
})

test.serial('a dma-buf outlives its device, and keeps nothing of it open', async (t) => {
  const file = await withDevice('ivshmem', (device) => device.features.dmaBuf('bar2'))
  try {
    t.is(file.size, 1 << 20)
    await withDevice('ivshmem', (device) => {
      t.true(device.config.present)
    })
  } finally {
    file.close()
  }
})

test.serial('a BAR that is no memory, or smaller than a page, is refused', async (t) => {
  await withDevice('e1000e', (device) => {
    t.false(device.region('bar2').flags.mmap, 'ports')
    t.throws(() => device.features.dmaBuf('bar2'), { instanceOf: RangeError })
  })
  await withDevice('ivshmem', (device) => {
    t.true(device.region('bar0').size < 4096)
    t.throws(() => device.features.dmaBuf('bar0'), { instanceOf: RangeError, message: /whole pages/ })
    t.throws(() => device.features.dmaBuf(5, [{ offset: 0, size: 4096 }]), { instanceOf: RangeError })
  })
})

test.serial('one device writes into the BAR of another, and reads from it', async (t) => {
  const ivshmem = await open('ivshmem')
  const edu = await Edu.open('edu', { iommu: 'iommufd' })
  try {
    const memory = ivshmem.region('bar2')
    ivshmem.config.command.memorySpace = true
    edu.device.config.command.busMaster = true
    using file = ivshmem.features.dmaBuf(memory)
    const space = edu.device.addressSpace
    // edu addresses 28 bits.
    const iova = 0x10_0000n
    t.is(await space.mapFile(file, { iova, size: file.size }), iova)
    const sent = pattern(2048, 7)
    memory.write(4096, sent)
    eduDma(edu.bar0, iova + 4096n, sent.length, 'toDevice')
    memory.write(4096, new Uint8Array(sent.length))
    eduDma(edu.bar0, iova + 0x8_0000n, sent.length, 'fromDevice')
    const seen = new Uint8Array(sent.length)
    memory.read(0x8_0000, seen)
    t.deepEqual(seen, sent)
    t.is(await space.unmap(iova, memory.size), BigInt(memory.size))
  } finally {
    await edu.device.close()
    await ivshmem.close()
  }
})
