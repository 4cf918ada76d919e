// JavaScript that runs inside a native call: an inspector's request comes where a blocking call asks whether it may go on,
// and closes what the call works on. The call must neither touch what was freed nor go on for ever.
import test from 'ava'

import { inChild } from '../support.js'

/** Runs `call` on the main thread of a child, and `within` inside it, and tells what came of the call. */
async function outcome(setUp: string, call: string, within: string): Promise<string> {
  const { status, signal, stdout, stderr } = await inChild(`
    const { Worker } = await import('node:worker_threads')
    ${setUp}
    let ran = false
    globalThis.within = () => { ${within}; ran = true }
    const inspector = new Worker(\`
      const { Session } = require('node:inspector')
      const { parentPort } = require('node:worker_threads')
      parentPort.postMessage('ready')
      setTimeout(() => {
        const session = new Session()
        session.connectToMainThread()
        session.post('Runtime.evaluate', { expression: 'within()' })
      }, 300)
      setInterval(() => undefined, 1000)\`, { eval: true, execArgv: [] })
    await new Promise((resolve) => inspector.once('message', resolve))
    let answer
    try { answer = String(${call}) } catch (error) { answer = error.name + ' ' + error.code }
    console.log(answer, ran)
    process.exit()`)
  return status === 0 ? stdout.trim() : `${String(status)} ${String(signal)} ${stdout}${stderr}`
}

test('a waiter that is closed inside its own wait() ends it', async (t) => {
  const setUp = 'const eventfd = new vfio.EventFd(), waiter = new vfio.SignalWaiter([eventfd])'
  t.is(await outcome(setUp, 'waiter.wait(20_000)', 'waiter.close()'), 'VfioError EBADF true')
  t.is(await outcome(setUp, 'waiter.wait()', 'waiter.close()'), 'VfioError EBADF true')
})

test('a waiter that is used inside its own wait() is busy, and the wait goes on', async (t) => {
  const setUp = 'const eventfd = new vfio.EventFd(), waiter = new vfio.SignalWaiter([eventfd])'
  const within = `try { waiter.wait(0) } catch (error) { if (error.code !== 'EBUSY') throw error; eventfd.signal() }`
  t.is(await outcome(setUp, 'waiter.wait(20_000)', within), '1 true')
})

test('a region that is closed inside its own poll32() ends it, mapped or not', async (t) => {
  for (const guard of ['true', 'false']) {
    const setUp = `const memory = vfio.GuestMemory.create(4096)
      const region = support.memoryRegion(memory, { guard: ${guard} })`
    const call = 'region.poll32(0, { equals: 1, timeoutMicros: 20_000_000 })'
    t.is(await outcome(setUp, call, 'region.closeWithDevice()'), 'VfioError EBADF true')
    t.is(await outcome(setUp, call, 'region.closeWithDevice(); memory.close()'), 'VfioError EBADF true')
  }
})

test('a release waits for the calls that run for its handle', async (t) => {
  const { status, stdout, stderr } = await inChild(`
    const fs = await import('node:fs')
    let open = 0
    for (let round = 0; round < 50; round++) {
      const memory = vfio.GuestMemory.create(1 << 16)
      const { fd, native } = memory
      void addon().handleDestroy(native)
      addon().handleRelease(native, true)
      try { fs.fstatSync(fd); open++ } catch (error) { if (error.code !== 'EBADF') throw error }
    }
    console.log(open)`)
  t.is(status, 0, stderr)
  t.is(stdout, '0\n')
})

test('a getter in a list closes what the call is about, and is asked once', async (t) => {
  const { status, stdout, stderr } = await inChild(`
    const memory = vfio.GuestMemory.create(8192)
    const native = memory.native
    const areas = [0, 4096]
    let asked = 0
    Object.defineProperty(areas, 0, { get: () => { asked++; areas.push(0, 4096); memory.close(); return 0 } })
    try { addon().regionOpen(native, 0, 8192, true, true, areas) } catch (error) { console.log(error.code, asked) }
    const endless = []
    Object.defineProperty(endless, 1e9, { value: 0 })
    try { addon().regionOpen(native, 0, 8192, true, true, endless) } catch (error) { console.log(error.name) }`)
  t.is(status, 0, stderr)
  t.is(stdout, 'EBADF 1\nRangeError\n')
})
