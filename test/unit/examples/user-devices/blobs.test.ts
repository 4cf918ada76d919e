// Blobs: the guest's own memory as an image, shown as it is where that can be had, and copied where not. Every number is checked.
import test from 'ava'

import { Blob, type BlobLayout } from '../../../../examples/devices/gpu/blobs.js'
import { CardPictures } from '../../../../examples/devices/gpu/card-pictures.js'
import { processMemory, type GuestPlace, type Picture } from '../../../../examples/devices/gpu/pictures.js'
import { Refusal, RESPONSE } from '../../../../examples/devices/gpu/protocol.js'
import { Resources } from '../../../../examples/devices/gpu/resources.js'
import { FakeCard } from '../../../fakes/card.js'
import { FakePages } from './pages.js'

const FORMAT_BGRX = 2
/** Rows of 8 pixels in 48 bytes, behind 16 others. */
const LAYOUT: BlobLayout = { width: 8, height: 4, format: FORMAT_BGRX, pitch: 48, offset: 16 }
const BYTES = 16 + 48 * 3 + 32
const PIECES = [
  { iova: 0x4000n, length: 100 },
  { iova: 0x9000n, length: 200 },
]

function pagesWithBlob(): FakePages {
  const pages = new FakePages(0x10000)
  for (let i = 0; i < 100; i++) pages.bytes[0x4000 + i] = i
  for (let i = 100; i < 300; i++) pages.bytes[0x9000 + i - 100] = i & 0xff
  return pages
}

test('where memory cannot be lent, what is shown is a copy, brought up to date area by area', (t) => {
  const pages = pagesWithBlob()
  t.teardown(() => pages.close())
  const blob = new Blob(PIECES, BYTES)
  const image = blob.image(LAYOUT, pages, processMemory)
  t.true(
    image.picture.pixels.every((byte) => byte === 0),
    'nothing is copied yet',
  )
  blob.refresh(pages, { x: 1, y: 1, width: 2, height: 2 })
  const at = (x: number, y: number): number | undefined => image.picture.pixels[y * 32 + x * 4]
  t.deepEqual([at(0, 1), at(1, 1), at(2, 1), at(3, 1)], [0, 16 + 48 + 4, 16 + 48 + 8, 0])
  t.deepEqual([at(1, 2), at(1, 0), at(1, 3)], [16 + 96 + 4, 0, 0])
  blob.refresh(pages, { x: 0, y: 0, width: 8, height: 4 })
  for (let y = 0; y < 4; y++)
    for (let x = 0; x < 8; x++) t.is(at(x, y), (16 + 48 * y + 4 * x) & 0xff, `${x}, ${y}`)
})

test('memory that is lent is not copied, and the same layout is the same image', (t) => {
  const pages = pagesWithBlob()
  t.teardown(() => pages.close())
  const places: GuestPlace[] = []
  const closed: number[] = []
  const memory = {
    ...processMemory,
    borrow: (_: unknown, place: GuestPlace): Picture => {
      const number = places.push(place)
      return { pixels: new Uint8Array(1000), pitch: place.pitch, close: () => void closed.push(number) }
    },
  }
  const blob = new Blob(PIECES, BYTES)
  const image = blob.image(LAYOUT, pages, memory)
  t.is(blob.image({ ...LAYOUT }, pages, memory), image)
  t.is(places.length, 1)
  t.like(places[0], { width: 8, height: 4, pitch: 48, offset: 16 })
  blob.refresh(pages, { x: 0, y: 0, width: 8, height: 4 })
  t.true(
    image.picture.pixels.every((byte) => byte === 0),
    'the picture is the memory',
  )
  t.not(blob.image({ ...LAYOUT, height: 3 }, pages, memory), image)
  t.deepEqual(closed, [1], 'another layout takes its place')
  blob.close()
  blob.close()
  t.deepEqual(closed, [1, 2])
})

test('a card without udmabuf copies', (t) => {
  const fake = new FakeCard()
  const pages = pagesWithBlob()
  t.teardown(() => pages.close())
  const pictures = new CardPictures(fake.card)
  const place = { ...LAYOUT, pieces: PIECES }
  t.is(pictures.borrow(pages, { ...place, offset: 0 }), undefined, 'pages that cannot be shared')
  const refusing = Object.assign(pages, {
    dmaBuf: () => {
      throw new Error('no udmabuf')
    },
  })
  t.is(pictures.borrow(refusing, { ...place, offset: 0 }), undefined)
  t.is(pictures.borrow(refusing, place), undefined, 'a picture that does not begin the memory')
  t.is(fake.buffers.length, 0)
})

test('what a driver claims about blobs is checked', (t) => {
  const pages = pagesWithBlob()
  t.teardown(() => pages.close())
  const refused = (work: () => unknown, response: number): void => {
    t.is(t.throws(work, { instanceOf: Refusal }).response, response)
  }
  const wrong = RESPONSE.invalidParameter
  refused(() => new Blob(PIECES, 301), wrong)
  refused(() => new Blob(PIECES, 0), wrong)
  t.notThrows(() => new Blob(PIECES, 300))
  const blob = new Blob(PIECES, BYTES)
  const shown = (change: Partial<BlobLayout>) => () =>
    blob.image({ ...LAYOUT, ...change }, pages, processMemory)
  t.notThrows(shown({}))
  refused(shown({ offset: 17 }), wrong)
  refused(shown({ height: 5 }), wrong)
  refused(shown({ pitch: 28 }), wrong)
  refused(shown({ pitch: 33 }), wrong)
  refused(shown({ pitch: 0xffff_fffc, offset: 0xffff_fffc }), wrong)
  refused(shown({ width: 0 }), wrong)
  refused(shown({ width: 16_385, pitch: 16_385 * 4 }), wrong)
  refused(shown({ format: 99 }), wrong)

  const resources = new Resources()
  refused(() => resources.createBlob(0, PIECES, BYTES), RESPONSE.invalidResource)
  resources.createBlob(1, PIECES, BYTES)
  refused(() => resources.createBlob(1, PIECES, BYTES), RESPONSE.invalidResource)
  refused(() => resources.create(1, 8, 8, FORMAT_BGRX), RESPONSE.invalidResource)
  refused(() => resources.get(1), RESPONSE.invalidResource)
  refused(() => resources.imageOf(2, LAYOUT, pages), RESPONSE.invalidResource)
  refused(
    () => resources.createBlob(2, [{ iova: 0n, length: 0x2000_0000 }], 0x1000_0001),
    RESPONSE.outOfMemory,
  )
  t.truthy(resources.imageOf(1, LAYOUT, pages))
  resources.drop(1)
  refused(() => resources.imageOf(1, LAYOUT, pages), RESPONSE.invalidResource)
  refused(() => resources.drop(1), RESPONSE.invalidResource)
  t.notThrows(() => resources.createBlob(1, PIECES, BYTES))
  resources.clear()
  t.notThrows(() => resources.create(1, 8, 8, FORMAT_BGRX))
})
