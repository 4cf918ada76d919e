// A device's DMA to the memory of stock QEMU's guest: by windows where it is in a file, by messages where it is not.
import test, { type ExecutionContext } from 'ava'

import { VfioError } from '../../ts/errors.js'
import { type UserDevice } from '../../ts/vfio-user/index.js'
import { ON } from './pci.js'
import { MEMORY_BYTES } from './qemu.js'
import { type Served, eventually, running } from './served.js'

const ANYWHERE = 0x10_0000
/** Above the socket's buffer, below which QEMU answers whole. */
const LONG = 1 << 20

function pattern(length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => (i * 7 + (i >> 8)) & 0xff)
}

function mappedAt({ dma }: UserDevice, address: number): boolean {
  const at = BigInt(address)
  return dma.ranges.some(({ iova, size, mapped }) => mapped && iova <= at && at < iova + size)
}

const minimal = { regions: { bar0: { size: 0x1000, plain: true } } } as const

async function refusal(t: ExecutionContext, call: () => unknown): Promise<VfioError> {
  const error = await t.throwsAsync(async () => await call(), { instanceOf: VfioError })
  return error
}

async function copies({ device, guest }: Served, t: ExecutionContext, length: number): Promise<void> {
  const bytes = pattern(length)
  await guest.write(ANYWHERE, bytes)
  t.true(Buffer.from(bytes).equals(await device.dma.read(BigInt(ANYWHERE), length)))
  await device.dma.write(BigInt(ANYWHERE + length), bytes)
  t.true(Buffer.from(bytes).equals(await guest.read(ANYWHERE + length, length)))
}

test('memory in a file is read and written in place', async (t) => {
  const all = await running(t, minimal)
  await copies(all, t, 10_000)
  const { device, guest } = all
  t.true(mappedAt(device, ANYWHERE))
  const window = device.dma.window(BigInt(ANYWHERE), 4096)
  new DataView(window).setUint32(8, 0x1234_5678, true)
  t.is(await guest.read32(ANYWHERE + 8), 0x1234_5678)
  await guest.write32(ANYWHERE + 12, 0x8765_4321)
  t.is(new DataView(window).getUint32(12, true), 0x8765_4321)
  const bytes = new Uint8Array(8)
  device.dma.copyIn(BigInt(ANYWHERE + 8), bytes)
  t.is(Buffer.from(bytes).toString('hex'), '7856341221436587')
})

test('memory without a file is read and written by messages, a MiB and more at a time', async (t) => {
  const all = await running(t, minimal, { shared: false })
  const { device, qemu } = all
  t.false(mappedAt(device, ANYWHERE))
  await copies(all, t, 5)
  await copies(all, t, LONG + 4097)
  await refusal(t, () => device.dma.window(BigInt(ANYWHERE), 4096))
  t.is(qemu.said, '')
})

test('memory without a file, from a handler: the access is answered first', async (t) => {
  const got: Uint8Array[] = []
  const all = await running(
    t,
    {
      regions: { bar0: { size: 0x1000 } },
      onRead: () => {
        void all.device.dma.read(BigInt(ANYWHERE), 16).then((bytes) => got.push(bytes))
        return 5
      },
    },
    { shared: false },
  )
  await all.guest.write(ANYWHERE, pattern(16))
  t.is(await all.guest.read32(all.bar0), 5)
  t.true(await eventually(() => got.length === 1))
  t.deepEqual([...(got[0] ?? [])], [...pattern(16)])
  t.is(all.qemu.said, '')
})

test('the ROM of the machine can be read, though it is in no file that is shown', async (t) => {
  const { device, guest } = await running(t, minimal)
  const top = 0xffff_fff0
  const rom = await device.dma.read(BigInt(top), 16)
  t.deepEqual([...rom], [...(await guest.read(top, 16))])
  t.true(device.dma.ranges.some(({ iova, mapped }) => iova <= BigInt(top) && !mapped))
})

test('what the machine does to its low memory leaves the windows right', async (t) => {
  const { device, guest, pci } = await running(t, minimal)
  const window = device.dma.window(0n, 4096)
  await guest.write32(0x500, 1)
  t.is(new DataView(window).getUint32(0x500, true), 1)
  // Shadow memory for the ROM (PAM of the host bridge at 0:0): QEMU takes its maps back and makes others.
  await guest.out32(0xcf8, 0x8000_0090)
  await guest.out32(0xcfc, 0x3333_3333)
  t.is(await pci.config32(0), 0x5678_1234)
  await guest.write32(0x504, 2)
  t.is(new DataView(device.dma.window(0n, 4096)).getUint32(0x504, true), 2)
  await guest.write32(0xd_0000, 0x1122_3344)
  t.is(Buffer.from(await device.dma.read(0xd_0000n, 4)).readUInt32LE(), 0x1122_3344)
})

for (const shared of [true, false]) {
  const how = shared ? 'windows' : 'messages'
  test(`by ${how}: DMA to nowhere is refused, and the next one works`, async (t) => {
    const { device, guest, qemu } = await running(t, minimal, { shared })
    const nowhere = BigInt(MEMORY_BYTES) + 0x1000n
    t.is((await refusal(t, () => device.dma.read(nowhere, 8))).code, 'EFAULT')
    t.is((await refusal(t, () => device.dma.write(nowhere, new Uint8Array(8)))).code, 'EFAULT')
    t.is((await refusal(t, () => device.dma.read(BigInt(MEMORY_BYTES) - 4n, 8))).code, 'EFAULT')
    await guest.write32(ANYWHERE, 9)
    t.is(Buffer.from(await device.dma.read(BigInt(ANYWHERE), 4)).readUInt32LE(), 9)
    t.is(qemu.said, '')
  })

  test(`by ${how}: without bus mastering there is no DMA`, async (t) => {
    const { device, pci } = await running(t, minimal, { shared })
    await pci.disable(ON.busMaster)
    t.is((await refusal(t, () => device.dma.read(BigInt(ANYWHERE), 8))).code, 'EACCES')
    await pci.enable()
    t.is((await device.dma.read(BigInt(ANYWHERE), 8)).length, 8)
  })
}
