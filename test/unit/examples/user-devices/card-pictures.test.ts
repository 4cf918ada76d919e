// Images on a card: rows that are further apart than they are long, what has no room, and that nothing of them stays.
import test from 'ava'

import { CardPicture, CardPictures, shownFormat } from '../../../../examples/devices/gpu/card-pictures.js'
import { isFormat } from '../../../../examples/devices/gpu/pixels.js'
import { Refusal, RESPONSE } from '../../../../examples/devices/gpu/protocol.js'
import { Resources } from '../../../../examples/devices/gpu/resources.js'
import { FakeCard } from '../../../fakes/card.js'
import { FakePages } from './pages.js'

const FORMAT_BGRX = 2

test('rows land where the card has them, whole rows and parts of rows', (t) => {
  const pages = new FakePages(0x10000)
  t.teardown(() => pages.close())
  for (let i = 0; i < 8 * 4 * 4; i++) pages.bytes[0x4000 + i] = i
  const fake = new FakeCard()
  const resources = new Resources(new CardPictures(fake.card))
  resources.create(1, 8, 4, FORMAT_BGRX)
  const image = resources.get(1)
  t.is(image.picture.pitch, 256)
  image.attach([{ iova: 0x4000n, length: 0x100 }])
  image.transfer(pages, { x: 0, y: 0, width: 8, height: 4 }, 0n)
  const { pixels } = image.picture
  for (let row = 0; row < 4; row++) {
    t.deepEqual(
      [...pixels.subarray(row * 256, row * 256 + 32)],
      Array.from({ length: 32 }, (_, i) => row * 32 + i),
    )
    t.true(
      pixels.subarray(row * 256 + 32, (row + 1) * 256).every((byte) => byte === 0),
      'between the rows nothing is written',
    )
  }
  pixels.fill(0)
  image.transfer(pages, { x: 2, y: 1, width: 3, height: 1 }, 32n + 8n)
  t.deepEqual(
    [...pixels.subarray(256 + 8, 256 + 20)],
    Array.from({ length: 12 }, (_, i) => 40 + i),
  )
  t.is(pixels[256 + 7], 0)
  t.is(pixels[256 + 20], 0)
})

test('what was dropped or cleared is given back to the card, its framebuffer before it', (t) => {
  const fake = new FakeCard()
  const resources = new Resources(new CardPictures(fake.card))
  for (const id of [1, 2, 3]) resources.create(id, 8, 8, FORMAT_BGRX)
  const { picture } = resources.get(1)
  if (!(picture instanceof CardPicture)) throw new TypeError('the picture is not on the card')
  const framebuffer = picture.framebuffer(FORMAT_BGRX)
  t.is(picture.framebuffer(FORMAT_BGRX), framebuffer, 'made once')
  resources.drop(1)
  t.true(framebuffer.closed)
  t.deepEqual(
    fake.buffers.map(({ closed }) => closed),
    [true, false, false],
  )
  resources.clear()
  t.true(fake.buffers.every(({ closed }) => closed))
})

test('a card without room is a refusal to the driver, and leaves its number free', (t) => {
  const fake = new FakeCard()
  const resources = new Resources(new CardPictures(fake.card))
  fake.refusal = new Error('no video memory')
  const error = t.throws(() => resources.create(1, 8, 8, FORMAT_BGRX), { instanceOf: Refusal })
  t.is(error.response, RESPONSE.outOfMemory)
  t.is(error.message, 'no video memory')
  fake.refusal = undefined
  t.notThrows(() => resources.create(1, 8, 8, FORMAT_BGRX))
})

test('a driver has as many images as are allowed, and no more', (t) => {
  const resources = new Resources()
  for (let id = 1; id <= 4096; id++) resources.create(id, 1, 1, FORMAT_BGRX)
  t.is(
    t.throws(() => resources.create(4097, 1, 1, FORMAT_BGRX), { instanceOf: Refusal }).response,
    RESPONSE.outOfMemory,
  )
  resources.drop(7)
  t.notThrows(() => resources.create(4097, 1, 1, FORMAT_BGRX))
})

test('every format that a driver may use can be shown, without alpha', (t) => {
  for (let format = 0; format < 200; format++) {
    if (isFormat(format)) t.regex(shownFormat(format), /x/, String(format))
    else t.throws(() => shownFormat(format), { instanceOf: RangeError })
  }
})
