// The live page as users start it: a process that serves the screen, stock QEMU whose guest paints, and a browser's requests by plain
// HTTP. What the page would show is decoded and compared.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { get, type IncomingMessage } from 'node:http'
import { createInterface } from 'node:readline'
import { buffer, text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { inflateSync } from 'node:zlib'
import test, { type ExecutionContext } from 'ava'

import { Qemu } from './qemu.js'
import { socketPath } from './served.js'
import { BUFFERS, VirtioDriver } from './virtio.js'

const SERVER = fileURLToPath(new URL('../../examples/devices/main.js', import.meta.url))
const GPU = { create: 0x101, scanout: 0x103, flush: 0x104, transfer: 0x105, attach: 0x106 } as const
const [WIDTH, HEIGHT] = [64, 48]

/** Red, green and blue of each pixel of a PNG without filters, row by row. */
function decode(png: Buffer): { width: number; height: number; rgb: Buffer } {
  const width = png.readUInt32BE(16)
  const height = png.readUInt32BE(20)
  const parts: Buffer[] = []
  for (let at = 8; at < png.length;) {
    const length = png.readUInt32BE(at)
    if (png.toString('latin1', at + 4, at + 8) === 'IDAT') parts.push(png.subarray(at + 8, at + 8 + length))
    at += 12 + length
  }
  const rows = inflateSync(Buffer.concat(parts))
  const rgb = Buffer.alloc(width * height * 3)
  for (let row = 0; row < height; row++) {
    if (rows[row * (width * 3 + 1)] !== 0) throw new Error('a row has a filter')
    rows.copy(rgb, row * width * 3, row * (width * 3 + 1) + 1, (row + 1) * (width * 3 + 1))
  }
  return { width, height, rgb }
}

async function ask(url: string): Promise<IncomingMessage> {
  const [response] = (await once(get(url), 'response')) as [IncomingMessage]
  return response
}

interface Served {
  /** Where its page is. */
  readonly url: string
  /** Tells it to end; its exit status. */
  readonly end: () => Promise<number | null>
}

/** Starts the program. */
async function serve(t: ExecutionContext, path: string): Promise<Served> {
  const child = spawn(
    process.execPath,
    [SERVER, 'gpu', '--socket-path', path, '--size', `${WIDTH}x${HEIGHT}`, '--http', '0'],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  )
  t.teardown(() => child.kill('SIGKILL'))
  const end = async (): Promise<number | null> => {
    const closed = once(child, 'close') as Promise<[number | null]>
    child.kill('SIGTERM')
    return (await closed)[0]
  }
  let url: string | undefined
  for await (const line of createInterface({ input: child.stdout })) {
    url ??= /http:\S+/.exec(line)?.[0]
    if (line.startsWith('serving ')) break
  }
  if (url === undefined) throw new Error('it does not say where its page is')
  return { url, end }
}

test('the live page shows what the guest paints, as it paints it', async (t) => {
  const path = socketPath(t)
  const { url, end } = await serve(t, path)
  t.regex(url, /^http:\/\/127\.0\.0\.1:\d+\/$/)
  const { guest } = await Qemu.start(t, path)
  const driver = await VirtioDriver.find(guest)
  await driver.start(2)
  const command = async (type: number, fields: readonly number[]): Promise<void> => {
    const request = new Uint32Array([type, 0, 0, 0, 0, 0, ...fields])
    await guest.write(BUFFERS, new Uint8Array(request.buffer))
    await driver.offer(0, [
      { address: BUFFERS, length: request.byteLength },
      { address: BUFFERS + 0x1000, length: 24, write: true },
    ])
    await driver.back(0)
    t.is(await guest.read32(BUFFERS + 0x1000), 0x1100, type.toString(16))
  }
  t.regex(await text(await ask(url)), /new EventSource\('\/events'\)/)
  t.is((await ask(`${url}screen.png`)).statusCode, 404, 'the screen is off')
  const events = await ask(`${url}events`)
  t.teardown(() => events.destroy())
  let told = 0
  events.on('data', (data: Buffer) => (told += data.toString().split('data: drawn').length - 1))

  const pixels = BUFFERS + 0x1_0000
  await command(GPU.create, [1, 2, WIDTH, HEIGHT])
  await command(GPU.attach, [1, 1, pixels, 0, WIDTH * HEIGHT * 4, 0])
  await command(GPU.scanout, [0, 0, WIDTH, HEIGHT, 0, 1])
  for (const seed of [1, 2]) {
    const before = told
    const colour = (i: number): number => (i * 0x01_03_05 * seed) & 0xff_ffff
    const bytes = new Uint32Array(Array.from({ length: WIDTH * HEIGHT }, (_, i) => colour(i)))
    await guest.write(pixels, new Uint8Array(bytes.buffer))
    await command(GPU.transfer, [0, 0, WIDTH, HEIGHT, 0, 0, 1, 0])
    await command(GPU.flush, [0, 0, WIDTH, HEIGHT, 1, 0])
    for (const limit = Date.now() + 5000; told === before && Date.now() < limit;)
      await new Promise((resolve) => setTimeout(resolve, 20))
    t.true(told > before, 'the page is told')
    const { width, height, rgb } = decode(await buffer(await ask(`${url}screen.png?${seed}`)))
    t.deepEqual([width, height], [WIDTH, HEIGHT])
    for (let i = 0; i < WIDTH * HEIGHT; i++)
      if (rgb.readUIntBE(i * 3, 3) !== colour(i)) t.fail(`picture ${seed}, pixel ${i}`)
  }
  t.is(await end(), 0, 'it ends when it is told to, a browser or not')
})
