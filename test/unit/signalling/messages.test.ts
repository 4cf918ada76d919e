// MSI and MSI-X as a guest programs them, over the configuration spaces of real devices.
import test from 'ava'
import fc from 'fast-check'

import { E1000E, EDU, GPU, NVME } from '../pci/dump.js'
import { E1000E_SIZES, EDU_SIZES, GPU_SIZES, NVME_SIZES, guest } from './guest.js'

const ADDRESS = 0xfee0_1000

function words(...values: number[]): Uint8Array {
  return new Uint8Array(Uint32Array.from(values).buffer)
}

test("edu's MSI: nothing until it is enabled, then the message that was written", (t) => {
  const { config, told } = guest(EDU, 256, { sizes: EDU_SIZES })
  const { msi } = config
  if (msi === null) return t.fail()
  config.write(0x44, 4, ADDRESS)
  config.write(0x48, 4, 1)
  config.write(0x4c, 2, 0x4041)
  t.false(msi.enabled)
  config.write(0x42, 2, 0x0001)
  t.true(msi.enabled)
  t.is(msi.count, 1)
  t.deepEqual(msi.message(0), { address: 0x1_0000_0000n + BigInt(ADDRESS), data: 0x4041 })
  t.deepEqual(new Set(told), new Set(['msi all']))
  t.is(config.read(0x42, 2), 0x0081)
  config.clear()
  t.false(msi.enabled)
  t.is(config.read(0x44, 4), 0)
})

test('a maskable MSI: masks hold vectors back, pending bits say what waits, data tells vectors apart', (t) => {
  // The GPU asks for one vector; here for eight.
  const { config, waiting } = guest(GPU.replace('05 d0 89 01', '05 d0 87 01'), 4096, { sizes: GPU_SIZES })
  const { msi } = config
  if (msi === null) return t.fail()
  t.is(config.read(0xae, 2) & 0x0f, 0x06, 'eight vectors')
  config.write(0xb0, 4, ADDRESS)
  config.write(0xb8, 2, 0x4147)
  config.write(0xae, 2, 0x0031)
  t.is(msi.count, 8)
  t.deepEqual(
    [0, 1, 7].map((vector) => msi.message(vector)?.data),
    [0x4140, 0x4141, 0x4147],
  )
  config.write(0xbc, 4, 0xffff_ff84)
  t.is(config.read(0xbc, 4), 0x84, 'as many bits as vectors')
  t.is(msi.message(2), null)
  t.is(msi.message(7), null)
  t.not(msi.message(1), null)
  waiting.add(2).add(1)
  t.is(config.read(0xc0, 4), 0x04, 'only what is held back can wait')
  t.is(config.read(0xc0, 1), 0x04)
  config.write(0xae, 2, 0x0071)
  t.is(msi.count, 8, 'no more than the device asked for')
})

test('property: MSI never has more vectors than the device, nor a message of another shape', (t) => {
  const write = fc.record({
    offset: fc.integer({ min: 0xac, max: 0xc8 }),
    width: fc.constantFrom(1, 2, 4),
    value: fc.integer({ min: 0, max: 0xffff_ffff }),
  })
  fc.assert(
    fc.property(fc.array(write, { maxLength: 30 }), (writes) => {
      const { config, told } = guest(GPU, 4096, { sizes: GPU_SIZES })
      told.length = 0
      for (const { offset, width, value } of writes) config.write(offset, width, value % 2 ** (8 * width))
      const { msi } = config
      if (msi === null) return false
      t.true(msi.count >= 1 && msi.count <= 32)
      const message = msi.message(0)
      if (message !== null) {
        t.is(message.address % 4n, 0n)
        t.true(message.data >= 0 && message.data <= 0xffff)
      }
      t.is(config.read(0xac, 1), 5)
      return true
    }),
  )
})

test('the MSI-X table begins masked, and gives messages by entry, mask bit and function mask', (t) => {
  const { config, told } = guest(NVME, 4096, { sizes: NVME_SIZES })
  const { msix } = config
  if (msix === null) return t.fail()
  t.is(msix.count, 65)
  const entry = new Uint8Array(16)
  msix.read(64 * 16, entry)
  t.deepEqual(entry, words(0, 0, 0, 1))
  told.length = 0
  msix.write(3 * 16, words(ADDRESS, 2, 0x55, 0))
  t.deepEqual(told, ['msix 3'])
  t.deepEqual(msix.message(3), { address: 0x2_0000_0000n + BigInt(ADDRESS), data: 0x55 })
  t.is(msix.message(4), null)
  config.write(0x42, 2, 0xc000)
  t.true(msix.enabled)
  t.is(msix.message(3), null, 'the function mask')
  config.write(0x43, 1, 0x80)
  t.not(msix.message(3), null)
  t.is(config.read(0x42, 2), 0x8040, 'the size of the table cannot be written')
  config.clear()
  t.false(msix.enabled)
  t.is(msix.message(3), null)
})

test('pending bits: of masked vectors only, and only while MSI-X is on', (t) => {
  const { config, waiting } = guest(E1000E, 4096, { sizes: E1000E_SIZES })
  const { msix } = config
  if (msix === null) return t.fail()
  waiting.add(1).add(4).add(9)
  const bits = new Uint8Array(8)
  msix.readPending(0, bits)
  t.deepEqual([...bits], [0, 0, 0, 0, 0, 0, 0, 0])
  config.write(0xa2, 2, 0x8000)
  msix.readPending(0, bits)
  t.deepEqual([...bits], [0x12, 0, 0, 0, 0, 0, 0, 0], 'there is no vector 9')
  msix.write(16, words(ADDRESS, 0, 1, 0))
  msix.readPending(0, bits)
  t.is(bits[0], 0x10)
})

test('property: the table is memory, and every write names the vectors that it touched', (t) => {
  const write = fc
    .record({
      width: fc.constantFrom(1, 2, 4, 8),
      at: fc.nat(5 * 16 - 1),
      value: fc.uint8Array({ minLength: 8, maxLength: 8 }),
    })
    .map(({ width, at, value }) => ({ at: at - (at % width), bytes: value.subarray(0, width) }))
  fc.assert(
    fc.property(fc.array(write, { maxLength: 40 }), (writes) => {
      const { config, told } = guest(E1000E, 4096, { sizes: E1000E_SIZES })
      const { msix } = config
      if (msix === null) return false
      const model = new Uint8Array(5 * 16)
      for (let vector = 0; vector < 5; vector++) model[vector * 16 + 12] = 1
      told.length = 0
      for (const { at, bytes } of writes) {
        msix.write(at, bytes)
        model.set(bytes, at)
        t.is(told.at(-1), `msix ${String(at >> 4)}`)
      }
      t.is(told.length, writes.length)
      const seen = new Uint8Array(5 * 16)
      msix.read(0, seen)
      t.deepEqual(seen, model)
      for (let vector = 0; vector < 5; vector++)
        t.is(msix.message(vector) === null, ((model[vector * 16 + 12] as number) & 1) === 1)
      return true
    }),
  )
})
