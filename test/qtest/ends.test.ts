// What comes and goes: the server under a running QEMU, QEMU under a running server, a second client, a device that is plugged in.
// And migration, which stock QEMU does not refuse and in which it moves nothing of the device.
import { join } from 'node:path'
import test from 'ava'

import { temporaryFolder } from '../temporary.js'
import { PciFunction } from './pci.js'
import { deviceAt, Qemu, SLOT } from './qemu.js'
import { deviceOf, eventually, running, serve } from './served.js'

const plain = { regions: { bar0: { size: 0x1000, plain: true } } } as const

test('QEMU outlives the server: its guest reads all ones', async (t) => {
  const { guest, bar0, server, qemu } = await running(t, plain)
  await guest.write32(bar0, 5)
  t.is(await guest.read32(bar0), 5)
  server.close()
  t.is(await guest.read32(bar0), 0xffff_ffff)
  await guest.write32(bar0, 6)
  t.true(qemu.running)
})

test('the device outlives QEMU: the next one finds it as it was, without memory and interrupts of the first', async (t) => {
  let gone = 0
  const device = deviceOf({
    regions: { bar0: { size: 0x1000 } },
    irqs: { msix: 2 },
    onRead: () => 7,
    onDisconnect: () => gone++,
  })
  const { path } = serve(t, device)
  const first = await Qemu.start(t, path)
  t.true(device.connected)
  t.true(device.dma.ranges.length > 0)
  const window = device.dma.ranges.length
  t.true(window > 0)
  process.kill(first.pid, 'SIGKILL')
  t.true(await eventually(() => gone === 1))
  t.false(device.connected)
  t.deepEqual(device.dma.ranges, [])
  t.is(device.interruptMode, null)
  const second = await Qemu.start(t, path)
  const pci = new PciFunction(second.guest, SLOT)
  const bar0 = await pci.place(0)
  await pci.enable()
  t.is(await second.guest.read32(bar0), 7)
  t.is(second.said, '')
})

test('a window of a client that is gone is detached', async (t) => {
  const { device, qemu, guest } = await running(t, plain)
  await guest.write32(0x10_0000, 1)
  const window = device.dma.window(0x10_0000n, 4096)
  t.is(window.byteLength, 4096)
  process.kill(qemu.pid, 'SIGKILL')
  t.true(await eventually(() => !device.connected))
  t.is(window.byteLength, 0)
  t.throws(() => device.dma.copyIn(0x10_0000n, new Uint8Array(4)), { code: 'ENOTCONN' })
})

test('a device is plugged into a running machine, unplugged, and plugged in again', async (t) => {
  const device = deviceOf({ regions: { bar0: { size: 0x1000 } }, onRead: () => 3 })
  const { path } = serve(t, device)
  const root = ['-device', 'pcie-root-port,id=root-port,chassis=1,slot=1,addr=05.0']
  const qemu = await Qemu.start(t, path, { withoutDevice: true, args: root })
  t.false(device.connected)
  for (let round = 0; round < 2; round++) {
    await qemu.monitor.ask('device_add', { ...deviceAt(path), addr: '00.0', bus: 'root-port' })
    t.true(device.connected)
    await qemu.monitor.ask('device_del', { id: 'user' })
    // Without a guest that lets go of it, a reset does.
    await qemu.monitor.reset()
    t.true(await eventually(() => !device.connected), `round ${String(round)}`)
  }
})

test('migration of stock QEMU carries nothing of the device, and asks for nothing', async (t) => {
  let asked = 0
  const { qemu, device } = await running(t, {
    ...plain,
    migration: { save: () => (asked++, new Uint8Array(4)), load: () => asked++, stop: () => asked++ },
  })
  const file = join(temporaryFolder(t, 'migration'), 'state')
  await qemu.monitor.ask('migrate', { uri: `file:${file}` })
  const done = async (): Promise<boolean> => {
    const { status } = (await qemu.monitor.ask('query-migrate')) as { status: string }
    return status === 'completed' || status === 'failed'
  }
  t.true(await eventually(done, 10_000))
  t.is(((await qemu.monitor.ask('query-migrate')) as { status: string }).status, 'completed')
  t.is(asked, 0)
  t.true(device.connected)
})
