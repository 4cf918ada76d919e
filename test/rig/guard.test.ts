// The SIGBUS guard on a real BAR: a device that stops answering reads as all ones, and the process lives.
import { readFileSync } from 'node:fs'
import { once } from 'node:events'
import { Worker } from 'node:worker_threads'

import test from 'ava'

import { VfioError } from '../../ts/index.js'
import { EDU, until, withDevice } from './devices.js'

const SIGBUS = 7

function sigbusCaught(): boolean {
  const mask = /^SigCgt:\s*([0-9a-f]+)/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0'
  return ((BigInt(`0x${mask}`) >> BigInt(SIGBUS - 1)) & 1n) === 1n
}

test.serial(
  'memory decoding turned off while mapped: all ones, also after a write, until remap',
  async (t) => {
    await withDevice('edu', (device) => {
      const bar0 = device.region('bar0')
      t.is(bar0.read32(EDU.id), 0x010000ed)
      t.false(bar0.faulted)
      t.true(sigbusCaught())
      device.config.command.memorySpace = false
      t.is(bar0.read32(EDU.id), 0xffff_ffff)
      t.true(bar0.faulted)
      bar0.write32(EDU.liveness, 0x1111_2222)
      t.is(bar0.read32(EDU.liveness), 0xffff_ffff)
      t.is(bar0.read64(EDU.dmaSource), 0xffff_ffff_ffff_ffffn)
      const bytes = new Uint8Array(8)
      bar0.read(EDU.liveness & ~7, bytes)
      t.deepEqual(
        [...bytes],
        Array.from({ length: 8 }, () => 0xff),
      )
      const refused = t.throws(
        () => {
          bar0.remap()
        },
        { instanceOf: VfioError },
      )
      t.is(refused.reason, 'memory-decoding-off')
      device.config.command.memorySpace = true
      // Still a stand-in: only remap() brings the device back.
      t.is(bar0.read32(EDU.id), 0xffff_ffff)
      bar0.remap()
      t.false(bar0.faulted)
      t.is(bar0.read32(EDU.id), 0x010000ed)
      bar0.write32(EDU.liveness, 0x1111_2222)
      t.is(bar0.read32(EDU.liveness), ~0x1111_2222 >>> 0)
    })
    t.false(sigbusCaught(), 'the handler goes with the last mapping')
  },
)

test.serial('from two threads at once', async (t) => {
  await withDevice('edu', async (device) => {
    const bar0 = device.region('bar0')
    const code = `
      const { workerData, parentPort } = require('node:worker_threads');
      (async () => {
        const { VfioDevice } = await import(workerData.url);
        const device = VfioDevice.claim(workerData.token);
        const bar0 = device.region('bar0');
        const flag = new Int32Array(workerData.flag);
        parentPort.postMessage('ready');
        let ones = 0, other = 0;
        for (let seen = 0; (seen = Atomics.load(flag, 0)) !== -1;) {
          bar0.write32(${String(EDU.liveness)}, 0x5a5a5a5a);
          const value = bar0.read32(${String(EDU.liveness)});
          if (value === 0xffffffff) ones++;
          else if (value !== (~0x5a5a5a5a >>> 0)) other++;
          if (seen > 0 && value !== 0xffffffff && Atomics.load(flag, 0) === seen) other++;
        }
        await device.close();
        parentPort.postMessage({ ones, other });
      })();`
    // Before the first round too the register holds what is looked for.
    bar0.write32(EDU.liveness, 0x5a5a_5a5a)
    const flag = new Int32Array(new SharedArrayBuffer(4))
    const worker = new Worker(code, {
      eval: true,
      execArgv: [],
      workerData: {
        url: new URL('../../ts/index.js', import.meta.url).href,
        token: device.share(),
        flag: flag.buffer,
      },
    })
    t.teardown(() => worker.terminate())
    const exit = once(worker, 'exit')
    await once(worker, 'message')
    // The flag is the number of a round while decoding is off: a Worker that slept from one such time into the next can tell.
    for (let round = 1; round <= 20; round++) {
      device.config.command.memorySpace = false
      Atomics.store(flag, 0, round)
      for (let i = 0; i < 200; i++) {
        bar0.write32(EDU.liveness, 0x5a5a_5a5a)
        t.is(bar0.read32(EDU.liveness), 0xffff_ffff)
      }
      Atomics.store(flag, 0, 0)
      device.config.command.memorySpace = true
      // A fault that the other thread took while decoding was off may only now reach its handler, and put the stand-in
      // back once more.
      await until(() => {
        if (bar0.faulted) bar0.remap()
        return bar0.read32(EDU.id) === 0x010000ed
      }, 'the device to answer')
    }
    Atomics.store(flag, 0, -1)
    const [result] = (await once(worker, 'message')) as [{ ones: number; other: number }]
    t.is(result.other, 0)
    t.true(result.ones > 0)
    await exit
    t.is(bar0.read32(EDU.id), 0x010000ed)
  })
})
