// The SIGBUS guard while memory decoding goes off and on, thousands of times, under another thread's reads.
import test from 'ava'

import type { Region } from '../../ts/index.js'
import { inWorker, message } from '../unit/support.js'
import { EDU, EDU_ID, withDevice } from './devices.js'

const TOGGLES = 2181
const ALL_ONES = 0xffff_ffff

/** Reads until it is told to stop; each value is the register's or all ones. */
const READER = `const device = vfio.VfioDevice.claim(data.device)
  const stop = new Int32Array(data.stop)
  const bar0 = device.region('bar0')
  let right = 0, ones = 0, wrong = 0
  port.postMessage('ready')
  while (Atomics.load(stop, 0) === 0) {
    const value = bar0.read32(${String(EDU.id)})
    if (value === ${String(EDU_ID)}) right++
    else if (value === ${String(ALL_ONES)}) ones++
    else wrong++
    if (!bar0.faulted) continue
    try { bar0.remap() } catch (error) { if (!(error instanceof vfio.VfioError)) throw error }
  }
  await device.close()
  port.postMessage({ right, ones, wrong })`

/**
 * Brings the region back, in more than one try if need be: the other thread may fault meanwhile, and put its stand-in over what
 * remap() has just brought. Then the region says that it faulted. All ones of a region that says nothing are wrong.
 */
function comesBack(bar0: Region): boolean {
  const end = performance.now() + 10_000
  do {
    bar0.remap()
    if (bar0.read32(EDU.id) === EDU_ID) return true
    if (!bar0.faulted) return bar0.read32(EDU.id) === EDU_ID
  } while (performance.now() < end)
  return false
}

test.serial('memory decoding toggled 2,181 times while another thread reads: no value but two', async (t) => {
  await withDevice('edu', async (device) => {
    const bar0 = device.region('bar0')
    t.is(bar0.read32(EDU.id), EDU_ID)
    const stop = new SharedArrayBuffer(4)
    const worker = inWorker(READER, { device: device.share(), stop })
    t.is(await message(worker), 'ready')
    try {
      const { command } = device.config
      let faults = 0
      for (let i = 0; i < TOGGLES; i++) {
        command.memorySpace = false
        if (bar0.read32(EDU.id) === ALL_ONES) faults++
        command.memorySpace = true
        if (!comesBack(bar0)) t.fail(`after ${String(i)} toggles it does not come back`)
      }
      t.is(faults, TOGGLES)
      Atomics.store(new Int32Array(stop), 0, 1)
      const { right, ones, wrong } = (await message(worker)) as Record<'right' | 'ones' | 'wrong', number>
      t.is(wrong, 0)
      t.true(right > 0 && ones > 0, `${String(right)} reads of the register, ${String(ones)} of all ones`)
    } finally {
      await worker.terminate()
    }
  })
})
