// The devices of the examples under stock QEMU, driven by hand: edu's registers, interrupts and DMA; virtio's start, queues and
// faults; the random numbers, the console and the screen on it.
import test, { type ExecutionContext } from 'ava'
import { type UserDevice, UserDeviceServer } from 'node-vfio/vfio-user'

import { Edu } from '../../examples/devices/edu.js'
import { colourAt } from '../../examples/devices/gpu/pixels.js'
import { VirtioConsole } from '../../examples/devices/virtio-console.js'
import { VirtioGpu } from '../../examples/devices/virtio-gpu.js'
import { VirtioRng } from '../../examples/devices/virtio-rng.js'
import { PciFunction } from './pci.js'
import { Qemu, type QemuOptions, SLOT } from './qemu.js'
import { eventually, socketPath } from './served.js'
import { BUFFERS, STATUS, VirtioDriver } from './virtio.js'

// The examples know the package by its name, as users do: so must who serves them.
async function start(t: ExecutionContext, device: UserDevice, options?: QemuOptions): Promise<Qemu> {
  const path = socketPath(t)
  const server = UserDeviceServer.listen(path, device)
  t.teardown(() => server.close())
  return Qemu.start(t, path, options)
}

const EDU = {
  identification: 0x00,
  liveness: 0x04,
  factorial: 0x08,
  status: 0x20,
  interruptStatus: 0x24,
  raise: 0x60,
  acknowledge: 0x64,
  source: 0x80,
  target: 0x88,
  length: 0x90,
  command: 0x98,
} as const

test('edu: registers', async (t) => {
  const { guest } = await start(t, new Edu().device)
  const pci = new PciFunction(guest, SLOT)
  t.is(await pci.config32(0), 0x11e8_1234)
  t.is(await pci.barSize(0), 1 << 20)
  const bar = await pci.place(0)
  await pci.enable()
  t.is(await guest.read32(bar + EDU.identification), 0x0100_00ed)
  await guest.write32(bar + EDU.liveness, 0x1234_5678)
  t.is(await guest.read32(bar + EDU.liveness), 0xedcb_a987)
  for (const [n, expected] of [
    [0, 1],
    [12, 479_001_600],
    [13, 1_932_053_504],
    [34, 0],
    [0xffff_ffff, 0],
  ] as const) {
    await guest.write32(bar + EDU.factorial, n)
    t.is((await guest.read32(bar + EDU.status)) & 1, 0)
    t.is(await guest.read32(bar + EDU.factorial), expected, `${String(n)}!`)
  }
  t.is(await guest.read8(bar + EDU.identification), 0, 'not that narrow')
  t.is(await guest.read64(bar + EDU.liveness - 4), (1n << 64n) - 1n, 'nor that wide')
  t.is(await guest.read32(bar + 0x40), 0xffff_ffff)
})

test('edu: its line is up until all causes are acknowledged', async (t) => {
  const { guest } = await start(t, new Edu().device)
  const pci = new PciFunction(guest, SLOT)
  const bar = await pci.place(0)
  await pci.enable()
  await guest.interceptInterrupts()
  await guest.write32(bar + EDU.raise, 0x11)
  t.true(await eventually(() => guest.linesUp.length === 1))
  t.is(await guest.read32(bar + EDU.interruptStatus), 0x11)
  await guest.write32(bar + EDU.acknowledge, 0x01)
  t.is(await guest.read32(bar + EDU.interruptStatus), 0x10)
  t.true(await eventually(() => guest.linesUp.length === 1))
  await guest.write32(bar + EDU.acknowledge, 0x10)
  t.is(await guest.read32(bar + EDU.interruptStatus), 0)
  t.true(await eventually(() => guest.linesUp.length === 0))
  await guest.write32(bar + EDU.status, 0x80)
  await guest.write32(bar + EDU.factorial, 3)
  t.true(await eventually(() => guest.linesUp.length === 1))
  t.is(await guest.read32(bar + EDU.interruptStatus), 1)
})

for (const shared of [true, false]) {
  test(`edu: DMA by ${shared ? 'windows' : 'messages'}`, async (t) => {
    const { guest, said } = await start(t, new Edu().device, { shared })
    const pci = new PciFunction(guest, SLOT)
    const bar = await pci.place(0)
    await pci.enable()
    const transfer = async (source: number, target: number, length: number, command: number) => {
      await guest.write64(bar + EDU.source, BigInt(source))
      await guest.write64(bar + EDU.target, BigInt(target))
      await guest.write64(bar + EDU.length, BigInt(length))
      await guest.write64(bar + EDU.command, BigInt(command))
      t.true(await eventually(async () => ((await guest.read64(bar + EDU.command)) & 1n) === 0n))
    }
    const bytes = Uint8Array.from({ length: 4096 }, (_, i) => i ^ (i >> 8))
    await guest.write(BUFFERS, bytes)
    await transfer(BUFFERS, 0x4_0000, 4096, 1)
    await transfer(0x4_0000, BUFFERS + 0x10_0000, 4096, 3)
    t.true(Buffer.from(bytes).equals(await guest.read(BUFFERS + 0x10_0000, 4096)))
    // What leaves the device's memory moves nothing, and ends.
    await transfer(BUFFERS, 0x4_0001, 4096, 1)
    await transfer(0x3_0000, BUFFERS, 16, 7)
    t.deepEqual(Buffer.from(await guest.read(BUFFERS, 16)), Buffer.from(bytes.subarray(0, 16)))
    t.is((await guest.read32(bar + EDU.interruptStatus)) & 0x100, 0x100)
    t.is(said, '')
  })
}

test('virtio: a driver that wants what is not offered, or no virtio 1, is not let in', async (t) => {
  const { guest } = await start(t, new VirtioRng().device)
  const driver = await VirtioDriver.find(guest)
  t.is((await driver.features()) & (1n << 32n), 1n << 32n)
  for (const features of [0n, (1n << 32n) | (1n << 40n)]) {
    await driver.setStatus(0)
    await driver.setStatus(STATUS.acknowledge | STATUS.driver)
    await driver.accept(features)
    await driver.setStatus(STATUS.acknowledge | STATUS.driver | STATUS.featuresOk)
    t.is((await driver.status) & STATUS.featuresOk, 0)
  }
})

test('virtio: registers are reached through configuration space too', async (t) => {
  const { guest } = await start(t, new VirtioRng().device)
  const { pci } = await VirtioDriver.find(guest)
  let window = 0
  for (const at of await pci.capabilities(0x09)) if ((await pci.config8(at + 3)) === 5) window = at
  t.not(window, 0)
  await pci.setConfig8(window + 4, 0)
  await pci.setConfig32(window + 8, 18)
  await pci.setConfig32(window + 12, 2)
  t.is((await pci.config32(window + 16)) & 0xffff, 1, 'how many queues it has')
  await pci.setConfig32(window + 8, 20)
  await pci.setConfig32(window + 12, 1)
  await pci.setConfig32(window + 16, STATUS.acknowledge)
  t.is((await pci.config32(window + 16)) & 0xff, STATUS.acknowledge)
  await pci.setConfig32(window + 8, 0x7fff_0000)
  t.is((await pci.config32(window + 16)) & 0xff, 0xff, 'no register there')
})

test('virtio-rng: fills buffers, in pieces too, and interrupts by MSI-X', async (t) => {
  const { guest, said } = await start(t, new VirtioRng().device)
  const driver = await VirtioDriver.find(guest)
  await driver.start(1)
  await driver.offer(0, [
    { address: BUFFERS, length: 40, write: true },
    { address: BUFFERS + 0x100, length: 24, write: true },
  ])
  t.is(await driver.back(0), 64)
  t.true(await driver.interrupted(0))
  const [first, second] = [await guest.read(BUFFERS, 40), await guest.read(BUFFERS + 0x100, 24)]
  t.true(new Set(first).size > 10)
  t.true(new Set(second).size > 5)
  t.is(await guest.read8(BUFFERS + 40), 0)
  t.is(said, '')
})

test('virtio: without MSI-X the pin interrupts, and reading why takes it down', async (t) => {
  const { guest } = await start(t, new VirtioRng().device)
  const driver = await VirtioDriver.find(guest)
  await guest.interceptInterrupts()
  await driver.start(1, { msix: false })
  await driver.offer(0, [{ address: BUFFERS, length: 8, write: true }])
  await driver.back(0)
  t.true(await eventually(() => guest.linesUp.length === 1))
  t.is(await driver.isr(), 1)
  t.true(await eventually(async () => (await driver.isr(), guest.linesUp.length === 0)))
})

test('virtio: a driver at fault stops the device until it resets it', async (t) => {
  const errors: string[] = []
  const { guest } = await start(t, new VirtioRng((error) => errors.push(error.message)).device)
  const driver = await VirtioDriver.find(guest)
  await driver.start(1)
  await driver.offer(0, [
    { address: BUFFERS, length: 8, write: true },
    { address: BUFFERS, length: 8 },
  ])
  t.is((await driver.status) & STATUS.needsReset, STATUS.needsReset)
  t.is(errors.length, 1)
  await driver.start(1)
  await driver.offer(0, [{ address: 0x7000_0000, length: 8, write: true }])
  t.is((await driver.status) & STATUS.needsReset, STATUS.needsReset, 'no memory there')
  await driver.start(1)
  t.is((await driver.status) & STATUS.needsReset, 0)
  await driver.offer(0, [{ address: BUFFERS, length: 8, write: true }])
  t.is(await driver.back(0), 8)
})

test('virtio-console: text both ways, what comes early waits', async (t) => {
  let typed = ''
  const port = new VirtioConsole({
    onText: (bytes) => (typed += Buffer.from(bytes).toString()),
    columns: 132,
  })
  t.true(port.send(Buffer.from('before there was a guest')))
  const { guest } = await start(t, port.device)
  const driver = await VirtioDriver.find(guest)
  t.is(await driver.config16(0), 132)
  await driver.start(2)
  await guest.write(BUFFERS, Buffer.from('hello'))
  await driver.offer(1, [{ address: BUFFERS, length: 5 }])
  await driver.back(1)
  t.is(typed, 'hello')
  await driver.offer(0, [{ address: BUFFERS + 0x100, length: 6, write: true }])
  t.is(await driver.back(0), 6)
  await driver.offer(0, [{ address: BUFFERS + 0x200, length: 100, write: true }])
  t.is(await driver.back(0), 18)
  const text = [await guest.read(BUFFERS + 0x100, 6), await guest.read(BUFFERS + 0x200, 18)]
  t.is(Buffer.concat(text).toString(), 'before there was a guest')
  await driver.offer(0, [{ address: BUFFERS, length: 10, write: true }])
  t.true(port.send(Buffer.from('later')))
  t.is(await driver.back(0), 5)
  t.false(port.send(new Uint8Array(2 << 20)), 'nobody reads that')
})

const GPU = {
  display: 0x100,
  create: 0x101,
  scanout: 0x103,
  flush: 0x104,
  transfer: 0x105,
  attach: 0x106,
} as const

test('virtio-gpu: a picture of the guest is on the screen', async (t) => {
  const refused: string[] = []
  const gpu = new VirtioGpu({ width: 800, height: 600, onError: (error) => refused.push(error.message) })
  const { guest, said } = await start(t, gpu.device)
  const driver = await VirtioDriver.find(guest)
  await driver.start(2)
  t.is(await driver.config32(8), 1)
  const command = async (type: number, fields: readonly number[], answer = 24): Promise<DataView> => {
    const request = new Uint32Array([type, 1, 0x1234, 0, 0, 0, ...fields])
    await guest.write(BUFFERS, new Uint8Array(request.buffer))
    await driver.offer(0, [
      { address: BUFFERS, length: request.byteLength },
      { address: BUFFERS + 0x1000, length: answer, write: true },
    ])
    t.is(await driver.back(0), answer)
    return new DataView(Uint8Array.from(await guest.read(BUFFERS + 0x1000, answer)).buffer)
  }
  const ok = async (type: number, fields: readonly number[]): Promise<void> => {
    const answer = await command(type, fields)
    t.is(answer.getUint32(0, true), 0x1100, `command ${type.toString(16)}`)
    t.is(answer.getUint32(8, true), 0x1234, 'its fence')
  }
  const display = await command(GPU.display, [], 24 + 16 * 24)
  t.is(display.getUint32(0, true), 0x1101)
  t.deepEqual(
    [24 + 8, 24 + 12, 24 + 16].map((at) => display.getUint32(at, true)),
    [800, 600, 1],
  )
  t.is(gpu.frame(), undefined)

  const [width, height] = [4, 3]
  await ok(GPU.create, [1, 2, width, height])
  await ok(GPU.attach, [1, 2, BUFFERS + 0x2000, 0, 20, 0, BUFFERS + 0x3000, 0, 28, 0])
  await ok(GPU.scanout, [0, 0, width, height, 0, 1])
  const pixels = new Uint32Array(Array.from({ length: width * height }, (_, i) => 0x11_0000 * i + 0x22))
  const bytes = new Uint8Array(pixels.buffer)
  await guest.write(BUFFERS + 0x2000, bytes.subarray(0, 20))
  await guest.write(BUFFERS + 0x3000, bytes.subarray(20))
  await ok(GPU.transfer, [0, 0, width, height, 0, 0, 1, 0])
  await ok(GPU.flush, [0, 0, width, height, 1, 0])
  t.is(gpu.drawn, 1)
  const frame = gpu.frame()
  t.deepEqual([frame?.width, frame?.height], [width, height])
  if (frame !== undefined)
    for (let i = 0; i < width * height; i++)
      t.is(colourAt(frame, i % width, Math.floor(i / width)), pixels[i] ?? -1)

  t.deepEqual(refused, [])
  const wrong = await command(GPU.transfer, [2, 0, width, height, 0, 0, 1, 0])
  t.is(wrong.getUint32(0, true), 0x1205)
  t.is(wrong.getUint32(8, true), 0x1234, 'a refusal has its fence too')
  t.is((await command(0x10f, [])).getUint32(0, true), 0x1200)
  t.is(refused.length, 2)
  await driver.setStatus(0)
  t.true(await eventually(() => gpu.frame() === undefined), 'a reset turns the screen off')
  t.is(said, '')
})
