// The form of a server that blocks a Worker: the same answers, and a Worker that still has its turns and can be ended.
import test, { type ExecutionContext } from 'ava'
import { once } from 'node:events'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Worker } from 'node:worker_threads'

import { EventFd } from '../../../../ts/event/eventfd.js'
import { UserDevice, UserDeviceServer } from '../../../../ts/vfio-user/index.js'
import { encodeGetIoFds } from '../../../../ts/vfio-user/protocol/io-fds.js'
import { temporaryFolder } from '../../../temporary.js'
import { inWorker } from '../../support.js'
import { IDENTITY, Peer, own, until } from './peer.js'

const MODULE = new URL('../../../../ts/vfio-user/index.js', import.meta.url).href

/** A Worker that serves a device; `more` are its options, as code. */
async function serving(
  t: ExecutionContext,
  more: string,
): Promise<{ path: string; worker: Worker; said: unknown[] }> {
  const path = join(temporaryFolder(t, 'user'), 'socket')
  const worker = inWorker(
    `const { UserDevice, UserDeviceServer } = await import(${JSON.stringify(MODULE)});
     const say = (value) => port.postMessage(value);
     const values = new Map();
     const device = new UserDevice({ name: 'test device', pci: ${JSON.stringify(IDENTITY)},
       onRead: (region, offset) => values.get(offset) ?? 0,
       onWrite: (region, offset, width, value) => void values.set(offset, value),
       regions: { bar0: { size: 0x1000 } }, ...(${more}) });
     const server = UserDeviceServer.listen(${JSON.stringify(path)}, device, { mode: 'thread', spinMicros: 20, onError: (error) => say(error.message) });
     port.on('message', (text) => text === 'close' ? server.close() : say('echo ' + text));
     say('ready');
     await server.run();
     say('over');
     port.close();`,
  )
  const said: unknown[] = []
  worker.on('message', (value) => said.push(value))
  t.teardown(() => worker.terminate())
  await until(() => said.includes('ready'))
  return { path, worker, said }
}

async function client(t: ExecutionContext, path: string): Promise<Peer> {
  const peer = Peer.connect(t, path)
  await peer.negotiate()
  await peer.master()
  return peer
}

test('a Worker serves clients one after the other, and ends with close()', async (t) => {
  const { path, worker, said } = await serving(t, '{}')
  for (let i = 1; i < 4; i++) {
    const peer = await client(t, path)
    await peer.write32(0, 4 * i, i)
    t.is(await peer.read32(0, 4), 1)
    peer.post32(0, 0, i)
    t.is(await peer.read32(0, 0), i)
    peer.close()
  }
  worker.postMessage('close')
  await until(() => said.includes('over'))
  t.deepEqual(said, ['ready', 'over'])
})

test('a Worker that serves has its other turns', async (t) => {
  const { path, worker, said } = await serving(t, '{ onConnect: () => setTimeout(say, 5, "timer") }')
  const peer = await client(t, path)
  worker.postMessage('hello')
  await until(() => said.length === 3)
  t.deepEqual(said.slice(1).sort(), ['echo hello', 'timer'])
  t.is(await peer.read32(0, 0), 0)
  let over = false
  const busy = (async () => {
    while (!over) await peer.read32(0, 0)
  })()
  worker.postMessage('busy')
  await until(() => said.length === 4)
  over = true
  await busy
  t.is(said[3], 'echo busy')
})

test('promises of handlers are served in a Worker too', async (t) => {
  const { path, said } = await serving(
    t,
    `{ onRead: async (region, offset) => { await new Promise((each) => setTimeout(each, 10)); return offset },
       onWrite: async () => { await device.dma.write(0n, new Uint8Array(4)); say('written') } }`,
  )
  const peer = await client(t, path)
  t.is(await peer.read32(0, 8), 8)
  await peer.map(null, 0n, 0x1000n)
  let writes = 0
  peer.onCommand = ({ view }) => {
    writes++
    const { outData } = peer.connection
    outData.setUint16(0, view.getUint16(0, true), true)
    outData.setUint16(2, 12, true)
    outData.setUint32(4, 32, true)
    outData.setUint32(8, 1, true)
    peer.connection.send(32)
  }
  await peer.write32(0, 0, 1)
  await until(() => said.includes('written'))
  t.is(writes, 1)
  t.is(await peer.read32(0, 4), 4)
})

test("a guest's end of interrupt, and doorbells' eventfds, reach a Worker", async (t) => {
  const { path, said } = await serving(
    t,
    `{ irqs: { intx: true }, onWrite: () => device.raise('intx'),
       regions: { bar0: { size: 0x1000, doorbells: [{ offset: 0x10, onRing: (count) => say('ring ' + count) }] } } }`,
  )
  const peer = await client(t, path)
  const eventfd = own(t, new EventFd())
  const resample = own(t, new EventFd())
  await peer.irqs(0, 0, [eventfd])
  await peer.irqs(0, 0, [resample], 16)
  await peer.write32(0, 0, 1)
  t.is(eventfd.read(), 1)
  resample.signal()
  let again = 0
  await until(() => (again += eventfd.read()) > 0)
  t.is(again, 1)
  await peer.irqs(0, 0, [], 16, 1)
  const reply = await peer.call((view, id) => encodeGetIoFds(view, 0, id, { argsz: 4096, index: 0 }))
  const bell = own(t, EventFd.fromFd(reply.fds.shift()!))
  bell.signal(2)
  await until(() => said.includes('ring 2'))
  t.true(said.includes('ring 2'))
  await peer.write32(0, 0x10, 1)
  t.true(said.includes('ring 1') || (await until(() => said.includes('ring 1')), said.includes('ring 1')))
})

test('a Worker that waits for a message, or for a client, can be terminated', async (t) => {
  for (const connects of [true, false]) {
    const { path, worker } = await serving(t, '{}')
    const peer = connects ? await client(t, path) : null
    await sleep(20)
    const exit = once(worker, 'exit')
    const started = Date.now()
    await worker.terminate()
    await exit
    t.true(Date.now() - started < 1000)
    if (peer !== null) await peer.ended
  }
})

test('a client that breaks the protocol is hung up on by a Worker, and the next one served', async (t) => {
  const { path, said } = await serving(t, '{}')
  const wrong = await client(t, path)
  wrong.connection.outData.setUint32(4, 1, true)
  wrong.connection.send(16)
  await wrong.ended
  const next = await client(t, path)
  t.is(await next.read32(0, 0), 0)
  t.regex(String(said[1]), /shorter than a header/)
})

test('run() is for a server of a thread, once at a time', async (t) => {
  const path = join(temporaryFolder(t, 'user'), 'socket')
  const device = new UserDevice({ name: 'test device', pci: IDENTITY })
  const looped = UserDeviceServer.listen(path, device)
  await t.throwsAsync(looped.run(), { code: 'EINVAL' })
  looped.close()
  const server = UserDeviceServer.listen(path, device, { mode: 'thread' })
  const running = server.run()
  await t.throwsAsync(server.run(), { code: 'EBUSY' })
  server.close()
  await running
  await t.throwsAsync(server.run(), { code: 'EBADF' })
})
