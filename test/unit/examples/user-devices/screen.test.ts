// What stands behind a screen: images and their copies out of a guest's memory, frames, PNG files, the live page.
import { get } from 'node:http'
import { once } from 'node:events'
import { type IncomingMessage } from 'node:http'
import { buffer, text } from 'node:stream/consumers'
import { crc32, inflateSync } from 'node:zlib'
import test from 'ava'

import { ScreenPage } from '../../../../examples/devices/gpu/page.js'
import { colourAt, type Frame, frameOf } from '../../../../examples/devices/gpu/pixels.js'
import { pngOf } from '../../../../examples/devices/gpu/png.js'
import { Refusal, Request } from '../../../../examples/devices/gpu/protocol.js'
import { checkPieces, Resources } from '../../../../examples/devices/gpu/resources.js'
import { FakePages } from './pages.js'

const FORMAT_BGRX = 2

/** The chunks of a PNG file, each with its checksum right. */
function chunks(png: Buffer): Map<string, Buffer> {
  const found = new Map<string, Buffer>()
  for (let at = 8; at < png.length;) {
    const length = png.readUInt32BE(at)
    const body = png.subarray(at + 4, at + 8 + length)
    if (png.readUInt32BE(at + 8 + length) !== crc32(body)) throw new Error('a checksum is wrong')
    found.set(body.subarray(0, 4).toString(), body.subarray(4))
    at += 12 + length
  }
  return found
}

test('a PNG has its size, its colours, and checksums that are right', (t) => {
  const rgb = Uint8Array.from({ length: 3 * 2 * 3 }, (_, i) => i * 10)
  const png = pngOf({ width: 3, height: 2, rgb })
  t.is(png.subarray(0, 8).toString('hex'), '89504e470d0a1a0a')
  const parts = chunks(png)
  t.deepEqual([...parts.keys()], ['IHDR', 'IDAT', 'IEND'])
  t.is(parts.get('IHDR')?.toString('hex'), '0000000300000002' + '0802000000')
  const rows = inflateSync(parts.get('IDAT') ?? '')
  t.deepEqual([...rows], [0, ...rgb.subarray(0, 9), 0, ...rgb.subarray(9)])
})

test('each format has its colours where it says', (t) => {
  const pixel = Uint8Array.of(1, 2, 3, 4)
  const colours: Record<number, number> = {
    1: 0x030201,
    2: 0x030201,
    3: 0x020304,
    4: 0x020304,
    67: 0x010203,
    68: 0x040302,
    121: 0x040302,
    134: 0x010203,
  }
  const whole = { x: 0, y: 0, width: 1, height: 1 }
  for (const [format, colour] of Object.entries(colours))
    t.is(colourAt(frameOf(pixel, Number(format), 4, whole), 0, 0), colour, `format ${format}`)
  t.throws(() => frameOf(pixel, 5, 4, whole), { instanceOf: RangeError })
})

test('a frame is the part of an image that the screen shows', (t) => {
  const pixels = new Uint8Array(4 * 4 * 4)
  for (let i = 0; i < 16; i++) pixels[i * 4] = i
  const frame = frameOf(pixels, FORMAT_BGRX, 16, { x: 1, y: 2, width: 2, height: 2 })
  t.deepEqual([frame.width, frame.height], [2, 2])
  t.deepEqual(
    [0, 1].flatMap((y) => [0, 1].map((x) => colourAt(frame, x, y))),
    [9, 10, 13, 14],
  )
})

test('rectangles are copied out of memory in pieces, whole rows and parts of rows', (t) => {
  const pages = new FakePages(0x10000)
  t.teardown(() => pages.close())
  for (let i = 0; i < 0x100; i++) pages.bytes[0x4000 + i] = i
  for (let i = 0x100; i < 0x200; i++) pages.bytes[0x9000 + i - 0x100] = i & 0xff
  const resources = new Resources()
  resources.create(1, 8, 8, FORMAT_BGRX)
  const image = resources.get(1)
  image.attach([
    { iova: 0x4000n, length: 0x80 },
    { iova: 0x4080n, length: 0x80 },
    { iova: 0x9000n, length: 0x100 },
  ])
  image.transfer(pages, { x: 0, y: 0, width: 8, height: 8 }, 0n)
  t.deepEqual(
    [...image.picture.pixels.subarray(0, 0x100)],
    Array.from({ length: 0x100 }, (_, i) => i),
  )
  image.picture.pixels.fill(0)
  image.transfer(pages, { x: 2, y: 1, width: 3, height: 2 }, 32n + 8n)
  t.deepEqual(
    [...image.picture.pixels.subarray(40, 52)],
    Array.from({ length: 12 }, (_, i) => 40 + i),
  )
  t.deepEqual(
    [...image.picture.pixels.subarray(72, 84)],
    Array.from({ length: 12 }, (_, i) => 72 + i),
  )
  t.is(image.picture.pixels[39], 0)
  t.is(image.picture.pixels[52], 0)
})

test('what a driver claims about images is checked', (t) => {
  const pages = new FakePages(0x10000)
  t.teardown(() => pages.close())
  const resources = new Resources()
  const refused = (work: () => unknown): void => void t.throws(work, { instanceOf: Refusal })
  refused(() => resources.create(0, 8, 8, FORMAT_BGRX))
  refused(() => resources.create(1, 0, 8, FORMAT_BGRX))
  refused(() => resources.create(1, 20_000, 8, FORMAT_BGRX))
  refused(() => resources.create(1, 8, 8, 99))
  resources.create(1, 8, 8, FORMAT_BGRX)
  refused(() => resources.create(1, 8, 8, FORMAT_BGRX))
  refused(() => resources.create(2, 16_384, 16_384, FORMAT_BGRX))
  refused(() => resources.get(2))
  const image = resources.get(1)
  refused(() => image.transfer(pages, { x: 0, y: 0, width: 8, height: 8 }, 0n))
  image.attach([{ iova: 0n, length: 255 }])
  refused(() => image.attach([{ iova: 0n, length: 255 }]))
  refused(() => image.transfer(pages, { x: 0, y: 0, width: 8, height: 8 }, 0n))
  refused(() => image.transfer(pages, { x: 0, y: 0, width: 1, height: 1 }, 0xffff_ffff_ffff_ffffn))
  refused(() => image.transfer(pages, { x: 1, y: 0, width: 8, height: 1 }, 0n))
  refused(() => image.check({ x: 0xffff_ffff, y: 0, width: 2, height: 1 }))
  t.notThrows(() => image.transfer(pages, { x: 8, y: 8, width: 0, height: 0 }, 0n))
  refused(() => checkPieces(0))
  refused(() => checkPieces(1_000_000))
  refused(() => new Request(new Uint8Array(20)))
  refused(() => new Request(new Uint8Array(24)).u32(0))
  resources.drop(1)
  resources.create(1, 8192, 8192, FORMAT_BGRX)
  t.pass('what was dropped counts no longer')
})

async function ask(url: string, headers: Record<string, string> = {}): Promise<IncomingMessage> {
  const request = get(url, { headers })
  const [response] = (await once(request, 'response')) as [IncomingMessage]
  return response
}

test('the live page shows the picture, tells when it changes, and only to this machine', async (t) => {
  const guest: { frame?: Frame } = {}
  const page = await ScreenPage.listen(0, () => guest.frame)
  t.teardown(() => page.close())
  const html = await text(await ask(page.url))
  t.regex(html, /<img id="screen"/)
  t.is((await ask(`${page.url}screen.png`)).statusCode, 404, 'the screen is off')
  guest.frame = { width: 1, height: 1, rgb: Uint8Array.of(1, 2, 3) }
  const picture = await ask(`${page.url}screen.png?1`)
  t.is(picture.headers['content-type'], 'image/png')
  t.deepEqual(await buffer(picture), pngOf(guest.frame))
  t.is((await ask(page.url, { host: 'evil.example' })).statusCode, 403)
  t.is((await ask(`${page.url}other`)).statusCode, 404)
  const events = await ask(`${page.url}events`)
  const [first] = (await once(events, 'data')) as [Buffer]
  t.is(first.toString(), 'data: drawn\n\n')
  page.drawn()
  page.drawn()
  const [second] = (await once(events, 'data')) as [Buffer]
  t.is(second.toString(), 'data: drawn\n\n', 'two changes at once are told as one')
  events.destroy()
})
