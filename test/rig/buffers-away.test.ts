// The memory of a DmaBuffer is the device's, whatever JavaScript does with the ArrayBuffer: gives it to another, copies it, keeps
// it longer than the buffer.
import test from 'ava'

import { EDU_MASK, eduDma, pattern, withDevice } from './devices.js'

test.serial('a DmaBuffer whose ArrayBuffer was cloned or transferred is the device’s still', async (t) => {
  await withDevice('edu', async (device) => {
    const buffer = await device.addressSpace.allocate(8192, { below: EDU_MASK })
    device.config.command.busMaster = true
    const bar0 = device.region('bar0')
    const sent = pattern(512, 7)
    new Uint8Array(buffer.buffer).set(sent)
    const copy = structuredClone(buffer.buffer)
    t.deepEqual(new Uint8Array(copy, 0, 512), sent)
    new Uint8Array(copy).fill(0)
    eduDma(bar0, buffer.iova, 512, 'toDevice')
    // Transferred, it is detached here or refused; either way the pages stay mapped for the device.
    let moved: ArrayBuffer | undefined
    try {
      moved = structuredClone(buffer.buffer, { transfer: [buffer.buffer] })
    } catch (error) {
      t.true(error instanceof DOMException && error.name === 'DataCloneError')
    }
    eduDma(bar0, buffer.iova + 4096n, 512, 'fromDevice')
    const seen = moved ?? buffer.buffer
    t.deepEqual(new Uint8Array(seen, 4096, 512), sent)
    await buffer.close()
    t.notThrows(() => moved === undefined || new Uint8Array(moved)[0])
    t.is(device.addressSpace.mappingCount, 0)
  })
})
