// The guard of mapped memory beside others who take SIGBUS: Node's own handler for a program's listener, and another copy of
// the addon. Each in a process of its own, because what goes wrong there ends it, or never ends.
import { copyFileSync, mkdtempSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import test from 'ava'

import { SANITIZED, inChild } from '../support.js'

/** A region over a file that is cut short by `stop()`, which faults as a BAR does that is not decoded. */
const REGION = `const fs = await import('node:fs')
  const folder = fs.mkdtempSync((await import('node:os')).tmpdir() + '/node-vfio-sigbus-')
  const file = fs.openSync(folder + '/bar', 'w+')
  fs.rmSync(folder, { recursive: true })
  fs.ftruncateSync(file, 8192)
  const stop = () => fs.ftruncateSync(file, 0)
  const memory = vfio.GuestMemory.fromFd(file)
  `

test('a listener for SIGBUS leaves the guard on top, and hears what was sent', async (t) => {
  const { status, stdout, stderr } = await inChild(`${REGION}
    const region = support.memoryRegion(memory)
    region.read32(0)
    process.on('SIGBUS', () => {
      console.log('heard')
      process.exit()
    })
    stop()
    console.log(region.read32(0) === 0xffffffff, region.faulted, addon().guardIntact())
    process.kill(process.pid, 'SIGBUS')
    setTimeout(() => process.exit(1), 10_000)`)
  t.is(status, 0, stderr)
  t.is(stdout, 'true true true\nheard\n')
  t.is(stderr, '')
})

test('a listener for SIGBUS that is taken away again leaves the guard', async (t) => {
  const { status, signal, stdout, stderr } = await inChild(`${REGION}
    const region = support.memoryRegion(memory)
    region.read32(0)
    const listener = () => undefined
    process.on('SIGBUS', listener)
    process.off('SIGBUS', listener)
    stop()
    console.log(region.read32(0) === 0xffffffff, addon().guardIntact())
    process.kill(process.pid, 'SIGBUS')
    setTimeout(() => process.exit(), 2000)`)
  t.is(stdout, 'true true\n', stderr)
  t.is(status, null)
  t.is(signal, 'SIGBUS', 'nobody listens: the default again')
})

test('a listener for SIGBUS in the main thread leaves the guard of a Worker’s region', async (t) => {
  const { status, stdout, stderr } = await inChild(`
    addon()
    const worker = support.inWorker(${JSON.stringify(`${REGION}
      const region = support.memoryRegion(memory)
      region.read32(0)
      port.once('message', () => { stop(); port.postMessage(region.read32(0)) })
      port.postMessage('ready')`)})
    await support.message(worker)
    process.once('SIGBUS', () => undefined)
    worker.postMessage('go')
    console.log(await support.message(worker))
    process.exit()`)
  t.is(status, 0, stderr)
  t.is(stdout, '4294967295\n')
})

test('two copies of the addon call no circle of handlers, in whichever order they map', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'node-vfio-copy-'))
  t.teardown(() => {
    rmSync(folder, { recursive: true })
  })
  const root = createRequire(import.meta.url).resolve('#package.json')
  const built =
    process.env.NODE_VFIO_ADDON ?? fileURLToPath(new URL('build/Release/node_vfio.node', `file://${root}`))
  const copy = join(folder, 'node_vfio.node')
  copyFileSync(built, copy)
  const program = `${REGION}
    const other = (await import('node:module')).createRequire('/')(${JSON.stringify(copy)})
    other.setErrorFactory((errno, syscall) => new Error(syscall + ' ' + errno))
    const here = () => support.memoryRegion(memory)
    const there = () => other.regionOpen(other.memoryCreate(4096, 0, null), 0, 4096, true, true, [0, 4096])
    let ours = here()
    let theirs = there()
    // Both have been on top of the other by now, and neither can leave the other's memory of it.
    for (let round = 0; round < 20; round++) {
      ours.closeWithDevice()
      ours = here()
      other.registersClose(theirs)
      theirs = there()
    }
    stop()
    console.log(ours.read32(0) === 0xffffffff)
    process.kill(process.pid, 'SIGBUS')
    setTimeout(() => process.exit(), 5000)`
  // A sanitizer's own handler would be the one before both.
  const { ASAN_OPTIONS = '' } = process.env
  const env = SANITIZED ? { ASAN_OPTIONS: `${ASAN_OPTIONS}:handle_sigbus=0` } : {}
  const { stdout, stderr, signal } = await inChild(program, { env })
  t.is(stdout, 'true\n', stderr)
  t.is(signal, 'SIGBUS', 'the default, which was there before both')
})
