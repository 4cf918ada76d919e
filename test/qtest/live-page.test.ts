// The live page as users start it: a process that serves the screen, stock QEMU whose guest paints, and a browser's requests by plain
// HTTP. What the page would show is decoded and compared.
import { once } from 'node:events'
import { get, type IncomingMessage } from 'node:http'
import { buffer, text } from 'node:stream/consumers'
import { inflateSync } from 'node:zlib'
import test from 'ava'

import { colourOf, HEIGHT, liveScreen, WIDTH } from './live-screen.js'

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

test('the live page shows what the guest paints, as it paints it', async (t) => {
  const { url, turnOn, paint, end } = await liveScreen(t)
  t.regex(url, /^http:\/\/127\.0\.0\.1:\d+\/$/)
  t.regex(await text(await ask(url)), /new EventSource\('\/events'\)/)
  t.is((await ask(`${url}screen.png`)).statusCode, 404, 'the screen is off')
  const events = await ask(`${url}events`)
  t.teardown(() => events.destroy())
  let told = 0
  events.on('data', (data: Buffer) => (told += data.toString().split('data: drawn').length - 1))

  await turnOn()
  for (const picture of [1, 2]) {
    const before = told
    await paint(picture)
    for (const limit = Date.now() + 5000; told === before && Date.now() < limit;)
      await new Promise((resolve) => setTimeout(resolve, 20))
    t.true(told > before, 'the page is told')
    const { width, height, rgb } = decode(await buffer(await ask(`${url}screen.png?${picture}`)))
    t.deepEqual([width, height], [WIDTH, HEIGHT])
    for (let i = 0; i < WIDTH * HEIGHT; i++)
      if (rgb.readUIntBE(i * 3, 3) !== colourOf(picture, i)) t.fail(`picture ${picture}, pixel ${i}`)
  }
  t.is(await end(), 0, 'it ends when it is told to, a browser or not')
})
