// Bytes from Workers to the main thread: in order, all of them, and no more than fit.
import { Worker } from 'node:worker_threads'

import test from 'ava'

import { SignalPoller } from '../../../ts/index.js'
import { OutputReceiver, OutputSender } from '../../../ts/vmm/index.js'

test('every byte arrives, in order, however the two threads fall', async (t) => {
  const receiver = new OutputReceiver()
  const poller = new SignalPoller()
  const count = 200_000
  let [received, wrong] = [0, 0]
  const code = `
    const { workerData } = require('node:worker_threads');
    import(workerData.url).then(({ OutputSender }) => {
      const sender = new OutputSender(workerData.token);
      for (let i = 0; i < ${count}; i++) sender.send(i & 0xff);
      sender.close();
    });`
  const all = new Promise<void>((resolve) => {
    poller.add(receiver.bell, () => {
      for (const byte of receiver.take()) if (byte !== (received++ & 0xff)) wrong++
      if (received >= count) resolve()
    })
  })
  const url = new URL('../../../ts/vmm/index.js', import.meta.url).href
  const worker = new Worker(code, { eval: true, execArgv: [], workerData: { url, token: receiver.token() } })
  worker.on('error', (error) => {
    t.fail(String(error))
  })
  await all
  await worker.terminate()
  t.deepEqual([received, wrong], [count, 0])
  poller.close()
  receiver.close()
})

test('who takes nothing holds a sender up for a while, once, and costs no more than the ring', (t) => {
  const receiver = new OutputReceiver()
  const sender = new OutputSender(receiver.token())
  for (let i = 0; i < 70_000; i++) sender.send(i & 0xff)
  t.is(receiver.take().length, 65_536)
  sender.send(1)
  t.deepEqual([...receiver.take()], [1])
  sender.close()
  receiver.close()
})
