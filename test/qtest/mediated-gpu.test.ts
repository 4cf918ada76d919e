// The screen whose pictures are on a card, under stock QEMU: what the card is asked for, when the host's programs are told, and that
// what the card refuses costs the guest nothing.
import test, { type ExecutionContext } from 'ava'
import { UserDeviceServer } from 'node-vfio/vfio-user'

import { MediatedGpu, type MediatedGpuOptions } from '../../examples/devices/mediated-gpu.js'
import { type FakeBuffer, FakeCard } from '../fakes/card.js'
import { GPU, OK } from '../gpu-commands.js'
import { Qemu } from './qemu.js'
import { eventually, socketPath } from './served.js'
import { BUFFERS, VirtioDriver } from './virtio.js'

const [WIDTH, HEIGHT] = [4, 3]
const BYTES = Uint8Array.from({ length: WIDTH * HEIGHT * 4 }, (_, i) => i + 1)

const SCREEN = {
  connector: { id: 31, name: 'Virtual-1', connected: true, modes: [], crtcs: [40] },
  crtc: 40,
  mode: { name: '4x3', width: WIDTH, height: HEIGHT, refresh: 60, bytes: new Uint8Array(68) },
}

async function start(t: ExecutionContext, options: Partial<MediatedGpuOptions> = {}) {
  const fake = new FakeCard()
  const errors: string[] = []
  const gpu = new MediatedGpu({ card: fake.card, onError: ({ message }) => errors.push(message), ...options })
  const path = socketPath(t)
  const server = UserDeviceServer.listen(path, gpu.device)
  t.teardown(() => server.close())
  const { guest } = await Qemu.start(t, path)
  const driver = await VirtioDriver.find(guest)
  await driver.start(2)
  const ask = async (type: number, fields: readonly number[], answer = 24): Promise<DataView> => {
    const request = new Uint32Array([type, 0, 0, 0, 0, 0, ...fields])
    await guest.write(BUFFERS, new Uint8Array(request.buffer))
    await driver.offer(0, [
      { address: BUFFERS, length: request.byteLength },
      { address: BUFFERS + 0x1000, length: answer, write: true },
    ])
    await driver.back(0)
    return new DataView(Uint8Array.from(await guest.read(BUFFERS + 0x1000, answer)).buffer)
  }
  const ok = async (type: number, fields: readonly number[]): Promise<void> => {
    t.is((await ask(type, fields)).getUint32(0, true), OK, type.toString(16))
  }
  const paint = async (): Promise<void> => {
    await ok(GPU.create, [1, 2, WIDTH, HEIGHT])
    await ok(GPU.attach, [1, 1, BUFFERS + 0x2000, 0, BYTES.length, 0])
    await ok(GPU.scanout, [0, 0, WIDTH, HEIGHT, 0, 1])
    await guest.write(BUFFERS + 0x2000, BYTES)
    await ok(GPU.transfer, [0, 0, WIDTH, HEIGHT, 0, 0, 1, 0])
    await ok(GPU.flush, [1, 1, 2, 1, 1, 0])
  }
  return { fake, gpu, errors, guest, driver, ask, ok, paint }
}

test('without a screen of its own, the picture is on the card for the host to show', async (t) => {
  let told = 0
  const { fake, gpu, errors, driver, ok, paint } = await start(t, { onScanout: () => told++ })
  t.is(gpu.share(), undefined)
  await paint()
  t.is(told, 1)
  const shared = gpu.share()
  t.like(shared, {
    format: 'xrgb8888',
    width: WIDTH,
    height: HEIGHT,
    pitch: 256,
    part: { x: 0, y: 0, width: WIDTH },
  })
  const { buffer } = (shared?.file as unknown as { shared: FakeBuffer }).shared
  for (let row = 0; row < HEIGHT; row++)
    t.deepEqual(
      new Uint8Array(buffer, row * 256, WIDTH * 4),
      BYTES.slice(row * WIDTH * 4, (row + 1) * WIDTH * 4),
    )
  t.is(gpu.frame()?.rgb.length, WIDTH * HEIGHT * 3)
  t.deepEqual(fake.log, [], 'nothing is shown, and nobody is master')
  await ok(GPU.scanout, [0, 0, 0, 0, 0, 0])
  t.is(told, 2)
  t.is(gpu.share(), undefined)
  await driver.setStatus(0)
  t.true(await eventually(() => fake.buffers.every(({ closed }) => closed)), 'a reset gives the memory back')
  t.is(told, 2, 'its screen was off already')
  t.deepEqual(errors, [])
})

test('with a screen of its own, the guest is on it while it shows something, and the card has a master no longer', async (t) => {
  const { fake, errors, ask, driver, ok, paint } = await start(t, { screen: { ...SCREEN, takeMaster: true } })
  const display = await ask(GPU.display, [], 24 + 16 * 24)
  t.deepEqual(
    [32, 36].map((at) => display.getUint32(at, true)),
    [WIDTH, HEIGHT],
    "the mode's size",
  )
  await paint()
  const on = `crtc 40 shows ${WIDTH}x${HEIGHT} xrgb8888 from 0,0 on 31`
  t.deepEqual(fake.log, ['master', on, 'painted 2x1 at 1,1'])
  fake.log.length = 0
  // Another part of it: still master.
  await ok(GPU.scanout, [1, 1, 2, 2, 0, 1])
  t.deepEqual(fake.log, [`crtc 40 shows ${WIDTH}x${HEIGHT} xrgb8888 from 1,1 on 31`])
  fake.log.length = 0
  await ok(GPU.unref, [1, 0])
  t.deepEqual(fake.log, ['crtc 40 off', 'no master'])
  t.true(fake.buffers[0]?.closed)
  fake.log.length = 0
  await driver.setStatus(0)
  t.deepEqual(fake.log, [])
  t.deepEqual(errors, [])
})

test('on a lease no master is taken', async (t) => {
  const { fake, driver, paint } = await start(t, { screen: SCREEN })
  await paint()
  await driver.setStatus(0)
  t.true(await eventually(() => fake.log.at(-1) === 'crtc 40 off'))
  t.false(fake.log.some((line) => line.includes('master')))
})

test('what the card refuses is told of, and the guest goes on', async (t) => {
  const { fake, gpu, errors, ask, paint } = await start(t, { screen: { ...SCREEN, takeMaster: true } })
  fake.refusal = new Error('no room')
  t.is((await ask(GPU.create, [1, 2, WIDTH, HEIGHT])).getUint32(0, true), 0x1201)
  t.deepEqual(errors.splice(0), ['no room'])
  fake.refusal = undefined
  const show = fake.show.bind(fake)
  fake.show = (crtc, showing) => {
    if (showing !== null) throw new Error('not yours')
    show(crtc, showing)
  }
  await paint()
  t.deepEqual(errors, ['not yours'])
  t.deepEqual(fake.log, ['master', 'no master'])
  t.is(gpu.drawn, 1)
  t.truthy(gpu.share())
})

test('a blob is copied where its memory cannot be lent, and shown from what the driver says', async (t) => {
  const { fake, gpu, errors, guest, driver, ask, ok } = await start(t)
  t.is((await driver.features()) & (1n << 3n), 1n << 3n, 'blobs are offered')
  const pitch = 32
  const blob = new Uint8Array(pitch * HEIGHT)
  for (let y = 0; y < HEIGHT; y++) blob.set(BYTES.subarray(y * WIDTH * 4, (y + 1) * WIDTH * 4), y * pitch)
  await guest.write(BUFFERS + 0x2000, blob)
  await ok(GPU.createBlob, [1, 1, 2, 1, 0, 0, blob.length, 0, BUFFERS + 0x2000, 0, blob.length, 0])
  const scanout = (x: number) => [x, 0, WIDTH, HEIGHT, 0, 1, WIDTH, HEIGHT, 2, 0, pitch, 0, 0, 0, 0, 0, 0, 0]
  await ok(GPU.scanoutBlob, scanout(0))
  const shared = () => (gpu.share()?.file as unknown as { shared: FakeBuffer }).shared.buffer
  t.deepEqual(new Uint8Array(shared(), 256, WIDTH * 4), BYTES.slice(WIDTH * 4, 2 * WIDTH * 4))
  await guest.write(BUFFERS + 0x2000, Uint8Array.of(0xaa))
  t.is(new Uint8Array(shared())[0], 1)
  await ok(GPU.flush, [0, 0, 1, 1, 1, 0])
  t.is(new Uint8Array(shared())[0], 0xaa)
  t.is(gpu.drawn, 1)
  // What is refused leaves what is shown.
  t.is((await ask(GPU.scanoutBlob, scanout(1))).getUint32(0, true), 0x1205)
  t.is(
    (await ask(GPU.createBlob, [2, 2, 2, 1, 0, 0, 4096, 0, BUFFERS, 0, 4096, 0])).getUint32(0, true),
    0x1205,
  )
  t.is((await ask(GPU.scanout, [0, 0, 1, 1, 0, 1])).getUint32(0, true), 0x1203)
  t.is(errors.length, 3)
  t.truthy(gpu.share())
  await ok(GPU.unref, [1, 0])
  t.is(gpu.share(), undefined)
  t.true(fake.buffers.every(({ closed }) => closed))
})
