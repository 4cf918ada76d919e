// This package's client against the devices of libvfio-user, the library of the protocol's authors, by their own sample programs.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import test, { type ExecutionContext } from 'ava'

import { type ConnectOptions, VfioDevice } from '../../ts/index.js'
import { eventually, socketPath } from '../qtest/served.js'

interface Rig {
  libvfioUserSample(name: 'server' | 'gpio-pci-idio-16'): Promise<string>
}

const RIG = new URL('../../../rig/index.mjs', import.meta.url).href

async function sample(
  t: ExecutionContext,
  name: 'server' | 'gpio-pci-idio-16',
  options?: ConnectOptions,
): Promise<{ device: VfioDevice; path: string; ended: Promise<unknown[]>; said: () => string }> {
  const { libvfioUserSample } = (await import(RIG)) as Rig
  const path = socketPath(t)
  const child = spawn(await libvfioUserSample(name), ['-v', path], { stdio: ['ignore', 'ignore', 'pipe'] })
  let text = ''
  child.stderr.on('data', (data: Buffer) => (text += data.toString()))
  const ended = once(child, 'close')
  t.teardown(() => child.kill('SIGKILL'))
  t.true(await eventually(() => existsSync(path)), text)
  const device = await VfioDevice.connect(path, options)
  t.teardown(() => device.close())
  return { device, path, ended, said: () => text }
}

// The first compiles them.
test.serial('gpio: a device of one register is found, read and written', async (t) => {
  t.timeout(5 * 60_000)
  const { device } = await sample(t, 'gpio-pci-idio-16')
  t.is(device.config.vendorId, 0x494f)
  t.is(device.config.deviceId, 0x0dc8)
  const bar2 = device.region('bar2')
  t.is(bar2.size, 0x100)
  t.deepEqual(bar2.mmapAreas, [])
  // Each pin reads three times the same.
  t.deepEqual(
    Array.from({ length: 7 }, () => bar2.read8(0)),
    [0, 0, 0, 1, 1, 1, 2],
  )
  bar2.write8(0, 5)
  bar2.write32(4, 5)
  t.is(bar2.read8(0), 2)
  t.is(device.irq('intx').count, 1)
  await device.reset()
  t.is(device.config.vendorId, 0x494f)
})

test.serial('server: its mapped areas are memory, and what is between them is messages', async (t) => {
  const { device } = await sample(t, 'server')
  t.is(device.config.vendorId, 0xdead)
  t.is(device.config.deviceId, 0xbeef)
  device.config.command.memorySpace = true
  const bar1 = device.region('bar1')
  t.deepEqual(bar1.mmapAreas, [
    { offset: 0, size: 0x1000 },
    { offset: 0x2000, size: 0x1000 },
  ])
  t.true(bar1.isMapped(0, 8))
  t.false(bar1.isMapped(0x1000, 8))
  bar1.write32(0, 0x1234_5678)
  bar1.write32(0x2ffc, 7)
  t.is(bar1.read32(0), 0x1234_5678)
  t.is(bar1.read32(0x2ffc), 7)
  // By message; the sample reads its first bytes, whatever the place.
  bar1.write32(0x1000, 99)
  t.is(bar1.read32(0x1000), 0x1234_5678)
  const seconds = device.region('bar0').read64(0)
  t.true(BigInt(Math.floor(Date.now() / 1000)) - seconds < 5n)
})

test.serial(
  'server: an access that it refuses is an error of ours, and the connection goes on',
  async (t) => {
    const { device } = await sample(t, 'server', { guard: false })
    const bar0 = device.region('bar0')
    const error = t.throws<NodeJS.ErrnoException & { syscall: string }>(() => {
      bar0.write32(0, 1)
    })
    t.is(error.code, 'EINVAL')
    t.is(error.syscall, 'VFIO_USER_REGION_WRITE')
    t.is(device.config.vendorId, 0xdead)
  },
)

test.serial('server: its interrupt comes, and it writes our memory by message', async (t) => {
  const { device, said } = await sample(t, 'server')
  const buffer = await device.addressSpace.allocate(8192, { iova: 0x10_0000n })
  const bytes = new Uint8Array(buffer.buffer)
  // An eventfd alone: to unmask is a command, and one that crosses a message of this server's is its end.
  const [line] = device.irq('intx').enable(1)
  device.region('bar0').write64(0, BigInt(Math.floor(Date.now() / 1000) + 1))
  t.true(await eventually(() => (line?.read() ?? 0) > 0, 5000))
  t.true(await eventually(() => bytes[4095] === 0x41, 5000))
  t.true(bytes.subarray(0, 4096).every((each) => each === 0x41))
  t.is(bytes[4096], 0)
  // It reads back what it wrote. A command of ours before the last answer would be its end, and that answer it does not log.
  t.true(await eventually(() => /do_dma_io: (MESSAGE )?READ/.test(said()), 5000))
  await new Promise((resolve) => setTimeout(resolve, 500))
  t.is(device.config.vendorId, 0xdead)
  await buffer.close()
})

test.serial('server: it ends as it does by itself when its client goes', async (t) => {
  const { device, ended, said } = await sample(t, 'server')
  await device.close()
  const [status] = await ended
  t.is(status, 0, said())
})
