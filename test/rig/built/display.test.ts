// The kernel's sample displays: mdpy shows its plane in a region, mbochs in a dma-buf, with a monitor that can be changed.
import { readFileSync } from 'node:fs'
import test from 'ava'

import {
  type DeviceGfx,
  DmaBufFile,
  EventFd,
  type Region,
  type VfioDevice,
  VfioError,
} from '../../../ts/index.js'
import { holdings, pattern } from '../devices.js'
import { withMdevs } from '../mdev.js'

const MDPY = { parent: 'mdpy', type: 'mdpy-vga' }
const MBOCHS = { parent: 'mbochs', type: 'mbochs-small' }
const XRGB8888 = 0x3432_5258

function gfxOf(device: VfioDevice | undefined): DeviceGfx {
  if (device?.gfx === undefined) throw new Error('no display')
  return device.gfx
}

/** Registers of the Bochs display, 16 bits each from 0x500 of BAR 2. */
const VBE = { width: 1, height: 2, depth: 3, enable: 4, virtualWidth: 6, x: 8, y: 9 } as const
const ENABLED = 0x41

function setMode(
  device: VfioDevice,
  { width, height, y = 0 }: { width: number; height: number; y?: number },
): void {
  const registers = device.region('bar2')
  const set = (register: number, value: number): void => {
    registers.write16(0x500 + 2 * register, value)
  }
  set(VBE.enable, 0)
  set(VBE.width, width)
  set(VBE.height, height)
  set(VBE.depth, 32)
  set(VBE.virtualWidth, width)
  set(VBE.x, 0)
  set(VBE.y, y)
  set(VBE.enable, ENABLED)
}

test.serial('mdpy: a frame, read from the region that its plane names', async (t) => {
  await withMdevs(MDPY, ([device]) => {
    const gfx = gfxOf(device)
    t.deepEqual(gfx.kinds, { region: true, dmabuf: false })
    const plane = gfx.plane()
    if (plane?.kind !== 'region') throw new Error('no region plane')
    t.like(plane, {
      type: 'primary',
      format: XRGB8888,
      formatName: 'XR24',
      modifier: 0n,
      width: 640,
      height: 480,
      stride: 2560,
      regionIndex: 16,
    })
    t.is(device?.info.numRegions, 9, 'the region lies beyond the count')
    const pixels = pattern(plane.stride * plane.height, 3)
    ;(device?.region('bar0') as Region).write(0, pixels)
    const frame = gfx.frame(plane)
    t.is(Buffer.compare(frame, pixels), 0)
    const own = new Uint8Array(plane.stride * plane.height + 8)
    t.is(gfx.frame(plane, own), own)
    t.is(Buffer.compare(own.subarray(0, pixels.length), pixels), 0)
    t.throws(() => gfx.frame(plane, new Uint8Array(10)), { instanceOf: RangeError })
    t.is(gfx.edid, undefined)
    t.throws(() => gfx.dmabuf(1), { instanceOf: VfioError, code: 'ENOTTY' })
    t.throws(() => gfx.plane('wall' as never), { instanceOf: TypeError })
  })
})

test.serial('mdpy and mbochs have no interrupts', async (t) => {
  for (const kind of [MDPY, MBOCHS]) {
    await withMdevs(kind, ([device]) => {
      t.deepEqual(device?.irqs(), [])
      const intx = (device as VfioDevice).irq('intx')
      t.is(intx.count, 0)
      t.throws(() => intx.enable(1), { instanceOf: RangeError })
    })
  }
})

test.serial('mbochs: its plane, and the dma-buf behind it', async (t) => {
  await withMdevs(MBOCHS, ([device]) => {
    const gfx = gfxOf(device)
    t.deepEqual(gfx.kinds, { region: false, dmabuf: true })
    t.is(gfx.plane(), null, 'nothing is shown before the mode is set')
    setMode(device as VfioDevice, { width: 128, height: 64 })
    // The kernel's first answer after this is ENOMEM.
    const plane = gfx.plane()
    if (plane?.kind !== 'dmabuf') throw new Error('no dma-buf plane')
    t.like(plane, { type: 'primary', format: XRGB8888, width: 128, height: 64, stride: 512, size: 32_768 })
    t.is(gfx.plane('cursor'), null)
    t.deepEqual(gfx.plane(), plane, 'the same mode is the same buffer')
    const file = gfx.dmabuf(plane.dmabufId)
    try {
      t.true(file instanceof DmaBufFile)
      t.is(file.size, plane.size)
      t.regex(readFileSync(`/proc/self/fdinfo/${String(file.fd)}`, 'utf8'), /^exp_name:\s+mbochs/m)
      t.throws(() => gfx.frame(plane as never), { instanceOf: TypeError })
    } finally {
      file.close()
    }
    setMode(device as VfioDevice, { width: 64, height: 64, y: 64 })
    const other = gfx.plane()
    t.true(other?.kind === 'dmabuf' && other.dmabufId !== plane.dmabufId)
    const unknown = t.throws(() => gfx.dmabuf(4_000_000), { instanceOf: VfioError })
    t.is(unknown.code, 'ENOENT')
    t.regex(unknown.remedy ?? '', /dmabufId/)
  })
})

test.serial('mbochs: the pixels of the plane are those of BAR 0', async (t) => {
  await withMdevs(MBOCHS, ([device]) => {
    const gfx = gfxOf(device)
    setMode(device as VfioDevice, { width: 128, height: 64 })
    const plane = gfx.plane()
    if (plane?.kind !== 'dmabuf') throw new Error('no dma-buf plane')
    const file = gfx.dmabuf(plane.dmabufId)
    try {
      const bar0 = (device as VfioDevice).region('bar0')
      t.true(bar0.isMapped(0, plane.size), 'by a mapping, which shares the buffer’s pages')
      const pixels = pattern(file.size, 9)
      bar0.write(0, pixels)
      const seen = new Uint8Array(file.size)
      bar0.read(0, seen)
      t.is(Buffer.compare(seen, pixels), 0)
    } finally {
      file.close()
    }
  })
})

test.serial('mbochs: another monitor', async (t) => {
  await withMdevs(MBOCHS, ([device]) => {
    const edid = gfxOf(device).edid
    if (edid === undefined) throw new Error('no EDID')
    t.is(gfxOf(device).edid, edid)
    t.false(edid.linkUp)
    t.true(edid.maxSize >= 256)
    t.is(edid.read().byteLength, 0)
    const monitor = pattern(256, 5)
    edid.write(monitor)
    t.true(edid.linkUp)
    t.is(Buffer.compare(edid.read(), monitor), 0)
    edid.write(monitor.subarray(0, 128))
    t.is(edid.read().byteLength, 128)
    edid.linkUp = false
    t.false(edid.linkUp)
    t.throws(
      () => {
        edid.write(new Uint8Array(100))
      },
      { instanceOf: RangeError },
    )
    t.throws(
      () => {
        edid.write(new Uint8Array(edid.maxSize + 128))
      },
      { instanceOf: RangeError },
    )
  })
})

test.serial('dma-bufs are owned, and adopted only when they are dma-bufs', async (t) => {
  const before = holdings().descriptors
  await withMdevs(MBOCHS, ([device]) => {
    setMode(device as VfioDevice, { width: 128, height: 64 })
    const gfx = gfxOf(device)
    const plane = gfx.plane()
    if (plane?.kind !== 'dmabuf') throw new Error('no dma-buf plane')
    const file = gfx.dmabuf(plane.dmabufId)
    const claimed = DmaBufFile.claim(file.share())
    t.is(claimed.fd, file.fd)
    file.close()
    file.close()
    t.is(claimed.size, plane.size)
    t.throws(() => file.size, { instanceOf: VfioError, code: 'EBADF' })
    claimed.close()
    using eventfd = new EventFd()
    t.throws(() => DmaBufFile.fromFd(eventfd.fd), { instanceOf: VfioError, code: 'EINVAL' })
    t.throws(() => DmaBufFile.fromFd(999_999), { instanceOf: VfioError, code: 'EBADF' })
  })
  t.deepEqual(holdings().descriptors, before)
})
