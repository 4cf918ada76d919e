// A guest's screen on a card of the host that the host is using: vkms, a GPU in software whose CRTC tells the checksum of what it
// shows. What is expected is shown by the host itself, alone, and its checksum is compared.
import { closeSync, existsSync, openSync, readdirSync, readFileSync, readSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import test, { type ExecutionContext } from 'ava'
import { type DmaBufFile, GuestMemory, VfioError } from 'node-vfio'
import { type CardBuffer, dmaBufOf, DrmCard, type Framebuffer } from 'node-vfio/drm'
import { mergedReport } from 'node-vfio/merged'
import { UserDeviceServer } from 'node-vfio/vfio-user'

import { MediatedGpu, type MediatedGpuOptions } from '../../../examples/devices/mediated-gpu.js'
import { GPU, OK } from '../../gpu-commands.js'
import { temporaryFolder } from '../../temporary.js'
import { type Order, PIXELS_IOVA } from './gpu-guest.js'

const DEBUG = '/sys/kernel/debug/dri'
const BGRX = 2

/** The card's path, by its driver. */
function findCard(): string {
  for (const name of readdirSync('/dev/dri').filter((each) => each.startsWith('card'))) {
    using card = DrmCard.open(`/dev/dri/${name}`)
    if (card.driver === 'vkms') return `/dev/dri/${name}`
  }
  throw new Error('there is no vkms')
}

/** Long enough for a picture that was being put together before to be done, on a machine that is busy. */
const SETTLE_MILLISECONDS = 700
const SAME = 10

/** The checksum of what the CRTC shows, once it stays the same: of pictures that were skipped it tells that of the one before. */
function checksum(): string {
  const folder = readdirSync(DEBUG)
    .map((name) => join(DEBUG, name, 'crtc-0/crc'))
    .find((path) => existsSync(path))
  if (folder === undefined) throw new Error(`no CRTC in ${DEBUG} tells its checksum`)
  writeFileSync(join(folder, 'control'), 'auto')
  const fd = openSync(join(folder, 'data'), 'r')
  try {
    const line = Buffer.alloc(256)
    const seen: string[] = []
    const start = Date.now()
    for (let i = 0; i < 600; i++) {
      const text = line.toString('latin1', 0, readSync(fd, line, 0, line.length, null))
      seen.push(text.trim().split(' ').at(-1) ?? '')
      if (Date.now() - start < SETTLE_MILLISECONDS) seen.length = 0
      const last = seen.slice(-SAME)
      if (last.length === SAME && last.every((each) => each === last[0])) return last[0] ?? ''
    }
    throw new Error(`the checksum does not settle: ${seen.slice(-5).join()}`)
  } finally {
    closeSync(fd)
  }
}

/** It is refused with that errno, by that call. */
function refused(t: ExecutionContext, work: () => unknown, code: string, syscall: string): void {
  const error = t.throws(work, { instanceOf: VfioError })
  t.deepEqual([error.code, error.syscall], [code, syscall])
}

type Painter = (x: number, y: number) => number

const desktop: Painter = (x, y) => 0x20_4060 + ((x >> 5) & 1) * 0x10_0000 + ((y >> 5) & 1) * 0x8000
const guestPainting: Painter = (x, y) =>
  ((x * 7) & 0xff) | (((y * 5) & 0xff) << 8) | ((((x >> 3) ^ y) & 0xff) << 16)

function paint({ buffer, width, height, pitch }: CardBuffer, painter: Painter): void {
  const view = new DataView(buffer)
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) view.setUint32(y * pitch + x * 4, painter(x, y), true)
}

function pixelsOf(width: number, height: number, painter: Painter): Uint8Array {
  const pixels = new Uint32Array(width * height)
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) pixels[y * width + x] = painter(x, y)
  return new Uint8Array(pixels.buffer)
}

/** The host's KMS client: the master of the card, with a desktop on its screen. */
class Host {
  readonly card: DrmCard
  readonly connector
  readonly crtc: number
  readonly mode
  readonly #kept: (CardBuffer | Framebuffer)[] = []

  constructor(path: string) {
    this.card = DrmCard.open(path)
    this.card.setMaster(true)
    const connector = this.card.connectors().find(({ connected }) => connected)
    const mode = connector?.modes[0]
    const crtc = connector?.crtcs[0]
    if (connector === undefined || mode === undefined || crtc === undefined) throw new Error('no screen')
    this.connector = connector
    this.mode = mode
    this.crtc = crtc
  }

  keep<T extends CardBuffer | Framebuffer>(owned: T): T {
    this.#kept.push(owned)
    return owned
  }

  /** Shows a picture of its own on the whole screen. */
  show(painter: Painter): void {
    const buffer = this.keep(this.card.createBuffer(this.mode.width, this.mode.height))
    paint(buffer, painter)
    const framebuffer = this.keep(buffer.framebuffer())
    this.card.show(this.crtc, { framebuffer, connectors: [this.connector.id], mode: this.mode })
  }

  get overlay(): number {
    const overlay = this.card.overlays().find(({ crtcs }) => crtcs.includes(this.crtc))
    if (overlay === undefined) throw new Error('no overlay: vkms.enable_overlay is off')
    return overlay.id
  }

  /** What it shows when it shows it by itself. */
  expected(painter: Painter): string {
    this.show(painter)
    return checksum()
  }

  close(): void {
    for (const each of this.#kept.reverse()) each.close()
    this.card.close()
  }
}

async function startGuest(t: ExecutionContext, options: MediatedGpuOptions) {
  const errors: string[] = []
  const gpu = new MediatedGpu({ onError: ({ message }) => errors.push(message), ...options })
  const path = join(temporaryFolder(t, 'socket'), 'gpu')
  const server = UserDeviceServer.listen(path, gpu.device)
  t.teardown(() => server.close())
  const worker = new Worker(new URL('./gpu-guest.js', import.meta.url), { workerData: path })
  // Whoever fails leaves nobody waiting.
  t.teardown(() => worker.terminate())
  const next = (): Promise<unknown> =>
    new Promise((resolve, reject) => {
      worker.once('message', (answer) => {
        worker.off('error', reject)
        resolve(answer)
      })
      worker.once('error', reject)
    })
  t.is(await next(), 'ready')
  const send = async (order: Order): Promise<unknown> => {
    worker.postMessage(order)
    const answer = await next()
    return answer
  }
  const ok = async (command: number, fields: readonly number[]): Promise<void> => {
    t.is(await send({ command, fields }), OK, command.toString(16))
  }
  return {
    gpu,
    errors,
    ok,
    pixels: (pixels: Uint8Array) => send({ pixels }),
    /** Makes an image, paints all of it and shows it. */
    async show(id: number, width: number, height: number, painter: Painter) {
      const pixels = pixelsOf(width, height, painter)
      await send({ pixels })
      await ok(GPU.create, [id, BGRX, width, height])
      await ok(GPU.attach, [id, 1, PIXELS_IOVA, 0, pixels.length, 0])
      await ok(GPU.scanout, [0, 0, width, height, 0, id])
      await ok(GPU.transfer, [0, 0, width, height, 0, 0, id, 0])
      await ok(GPU.flush, [0, 0, width, height, id, 0])
    },
    end: () =>
      new Promise<void>((resolve) => {
        worker.once('exit', () => resolve())
        worker.postMessage(null)
      }),
  }
}

const PATH = findCard()

test.serial(
  'the host shows its desktop, and over it what a guest paints: the card has both on one screen',
  async (t) => {
    const host = new Host(PATH)
    t.teardown(() => host.close())
    const [width, height] = [320, 200]
    const at = { x: 100, y: 60 }
    const composed: Painter = (x, y) =>
      x >= at.x && y >= at.y && x < at.x + width && y < at.y + height
        ? guestPainting(x - at.x, y - at.y)
        : desktop(x, y)
    const both = host.expected(composed)
    const alone = host.expected(desktop)
    t.not(both, alone)

    using card = DrmCard.open(PATH)
    t.is(card.driver, 'vkms')
    t.true(card.hasBuffers)
    const guest = await startGuest(t, { card, width, height })
    await guest.show(1, width, height, guestPainting)
    t.is(checksum(), alone, 'nothing is shown that the host does not show')

    const shared = guest.gpu.share()
    if (shared === undefined) throw new Error('nothing is shared')
    using file = shared.file
    const imported = host.keep(host.card.importBuffer(file, shared))
    const framebuffer = host.keep(imported.framebuffer(shared.format))
    host.card.showOver(host.overlay, host.crtc, framebuffer, at)
    t.is(checksum(), both)

    // It is the guest's memory on the card that is shown, not a copy: what it paints next is there without another word.
    await guest.pixels(pixelsOf(width, height, () => 0xff_ffff))
    await guest.ok(GPU.transfer, [0, 0, width, height, 0, 0, 1, 0])
    const white = checksum()
    t.not(white, both)
    await guest.pixels(pixelsOf(width, height, guestPainting))
    await guest.ok(GPU.transfer, [0, 0, width, height, 0, 0, 1, 0])
    t.is(checksum(), both)

    host.card.showOver(host.overlay, host.crtc, null)
    t.is(checksum(), alone)
    await guest.end()
    t.deepEqual(guest.errors, [])
  },
)

test.serial(
  'a guest with the screen for itself is on it while it shows something, and the host has it back after',
  async (t) => {
    const host = new Host(PATH)
    t.teardown(() => host.close())
    const { connector, crtc, mode } = host
    const expected = host.expected(guestPainting)
    const own = host.expected(desktop)
    using card = DrmCard.open(PATH)
    const guest = await startGuest(t, { card, screen: { connector, crtc, mode, takeMaster: true } })
    await guest.show(1, mode.width, mode.height, guestPainting)
    t.is(guest.errors.length, 1, 'the host is master of its card')
    t.regex(guest.errors.splice(0).join(), /DRM_IOCTL_SET_MASTER on .*EBUSY/)
    t.is(checksum(), own)

    host.card.setMaster(false)
    await guest.ok(GPU.scanout, [0, 0, mode.width, mode.height, 0, 1])
    await guest.ok(GPU.flush, [0, 0, mode.width, mode.height, 1, 0])
    t.is(checksum(), expected)
    t.throws(() => host.card.setMaster(true), { code: 'EBUSY' })

    await guest.ok(GPU.unref, [1, 0])
    host.card.setMaster(true)
    t.is(host.expected(desktop), own)
    await guest.end()
    t.deepEqual(guest.errors, [])
  },
)

test.serial(
  "a guest's own memory is its screen: what it writes there is shown, and nothing is copied",
  async (t) => {
    const host = new Host(PATH)
    t.teardown(() => host.close())
    const [width, height] = [320, 200]
    const at = { x: 40, y: 30 }
    const inside = (x: number, y: number): boolean =>
      x >= at.x && y >= at.y && x < at.x + width && y < at.y + height
    const both = host.expected((x, y) => (inside(x, y) ? guestPainting(x - at.x, y - at.y) : desktop(x, y)))
    const white = host.expected((x, y) => (inside(x, y) ? 0xff_ffff : desktop(x, y)))
    host.show(desktop)

    using card = DrmCard.open(PATH)
    const guest = await startGuest(t, { card, width, height })
    const bytes = Math.ceil((width * height * 4) / 4096) * 4096
    await guest.ok(GPU.createBlob, [1, 1, 2, 1, 0, 0, bytes, 0, PIXELS_IOVA, 0, bytes, 0])
    const layout = [width, height, BGRX, 0, width * 4, 0, 0, 0, 0, 0, 0, 0]
    await guest.ok(GPU.scanoutBlob, [0, 0, width, height, 0, 1, ...layout])
    const shared = guest.gpu.share()
    if (shared === undefined) throw new Error('nothing is shared')
    using file = shared.file
    t.is(shared.pitch, width * 4, "the guest's rows, not the card's")
    const imported = host.keep(host.card.importBuffer(file, shared))
    const framebuffer = host.keep(imported.framebuffer(shared.format))
    host.card.showOver(host.overlay, host.crtc, framebuffer, at)
    await guest.pixels(pixelsOf(width, height, () => 0xff_ffff))
    t.is(checksum(), white)
    await guest.pixels(pixelsOf(width, height, guestPainting))
    t.is(checksum(), both)
    t.is(guest.gpu.frame()?.rgb[3 * (width + 1)], (guestPainting(1, 1) >> 16) & 0xff)
    await guest.ok(GPU.flush, [0, 0, width, height, 1, 0])
    host.card.showOver(host.overlay, host.crtc, null)
    await guest.end()
    t.deepEqual(guest.errors, [])
  },
)

test.serial('memory of a guest is shown without a copy, by udmabuf', (t) => {
  const host = new Host(PATH)
  t.teardown(() => host.close())
  const { width, height } = host.mode
  const expected = host.expected(guestPainting)
  host.show(desktop)
  const bytes = width * height * 4
  using memory = GuestMemory.create(2 * bytes)
  // In two parts, the second before the first.
  const half = (bytes / 2 / memory.pageSize) * memory.pageSize
  using file = dmaBufOf([
    { memory, offset: bytes, size: half },
    { memory, offset: 0, size: bytes - half },
  ])
  t.is(file.size, bytes)
  const pixels = pixelsOf(width, height, guestPainting)
  new Uint8Array(memory.buffer).set(pixels.subarray(0, half), bytes)
  new Uint8Array(memory.buffer).set(pixels.subarray(half), 0)
  const buffer = host.keep(host.card.importBuffer(file, { width, height, pitch: width * 4 }))
  const again = host.card.importBuffer(file, { width, height, pitch: width * 4 })
  again.close()
  const framebuffer = host.keep(buffer.framebuffer())
  host.card.show(host.crtc, { framebuffer, connectors: [host.connector.id], mode: host.mode })
  t.is(checksum(), expected)
  t.throws(() => buffer.buffer, { instanceOf: VfioError })
})

test.serial('what is wrong is refused, by its name, and leaves nothing', (t) => {
  const before = readdirSync('/proc/self/fd').length
  using card = DrmCard.open(PATH)
  refused(t, () => DrmCard.open('/dev/dri/card9'), 'ENOENT', 'open')
  refused(t, () => DrmCard.open('/dev/null'), 'ENOTTY', 'DRM_IOCTL_DROP_MASTER')
  const nothing = openSync('/dev/null', 'r')
  refused(t, () => DrmCard.fromFd(nothing), 'ENOTTY', 'DRM_IOCTL_VERSION')
  t.throws(() => DrmCard.fromFd(9999), { code: 'EBADF' })
  closeSync(nothing)
  t.throws(() => card.createBuffer(0, 5), { instanceOf: RangeError })
  t.throws(() => card.createBuffer(65_536, 5), { instanceOf: RangeError })
  const [connector] = card.connectors()
  const [mode] = connector?.modes ?? []
  const [crtc = 0] = connector?.crtcs ?? []
  if (mode === undefined) throw new Error('no mode')
  const buffer = card.createBuffer(mode.width, mode.height)
  t.true(new Uint8Array(buffer.buffer).every((byte) => byte === 0))
  const framebuffer = buffer.framebuffer()
  const showing = { framebuffer, connectors: [connector?.id ?? 0], mode }
  refused(t, () => card.show(crtc, showing), 'EACCES', 'DRM_IOCTL_MODE_SETCRTC')
  t.throws(() => card.showOver(card.overlays()[0]?.id ?? 0, crtc, framebuffer), { code: 'EACCES' })
  t.throws(() => framebuffer.painted({ x: 1, y: 0, width: mode.width, height: 1 }), {
    instanceOf: RangeError,
  })
  using memory = GuestMemory.create(8192)
  t.throws(() => dmaBufOf([]), { instanceOf: RangeError })
  t.throws(() => dmaBufOf([{ memory, offset: 0, size: 8193 }]), { instanceOf: RangeError })
  refused(t, () => dmaBufOf([{ memory, offset: 0, size: 100 }]), 'EINVAL', 'UDMABUF_CREATE_LIST')
  t.throws(() => dmaBufOf([{ memory, offset: 0, size: 4096 }], { devRoot: '/nowhere' }), { code: 'ENOENT' })
  t.throws(() => card.importBuffer(memory as unknown as DmaBufFile, { width: 1, height: 1, pitch: 4 }), {
    instanceOf: TypeError,
  })
  using small = dmaBufOf([{ memory, offset: 0, size: 4096 }])
  using imported = card.importBuffer(small, { width: 64, height: 64, pitch: 256 })
  refused(t, () => imported.framebuffer(), 'EINVAL', 'DRM_IOCTL_MODE_ADDFB2')
  t.throws(() => card.importBuffer(small, { width: 64, height: 1, pitch: 255 }), { instanceOf: RangeError })
  const view = buffer.buffer
  framebuffer.close()
  buffer.close()
  t.is(view.byteLength, 0)
  t.throws(() => buffer.framebuffer(), { code: 'EBADF' })
  imported.close()
  small.close()
  memory.close()
  card.close()
  t.throws(() => card.driver, { code: 'EBADF' })
  t.is(readdirSync('/proc/self/fd').length, before)
})

test.serial(
  'what is shared comes back to the same memory, and lives as long as either of its objects',
  (t) => {
    using card = DrmCard.open(PATH)
    const made = card.createBuffer(64, 64)
    new Uint32Array(made.buffer)[5] = 0x1234_5678
    using file = made.dmaBuf()
    t.true(file.size >= 64 * 64 * 4)
    const back = card.importBuffer(file, { width: 64, height: 64, pitch: made.pitch })
    made.close()
    // It is the same buffer to the card, which must not have closed it.
    const framebuffer = back.framebuffer()
    t.is(new Uint32Array(back.buffer)[5], 0x1234_5678)
    framebuffer.close()
    back.close()
    using other = DrmCard.open(PATH)
    using far = other.importBuffer(file, { width: 64, height: 64, pitch: 256 })
    far.framebuffer().close()
    t.pass()
  },
)

test.serial('the report has the card, and how guests can have it', (t) => {
  const device = mergedReport().devices.find(({ name }) => name === 'vkms')
  t.like(device, { bus: 'other', framework: 'none' })
  t.regex(device?.hostNodes.connectors.join() ?? '', /Virtual-1/)
  t.like(device?.userSpace[0], { way: 'mediated-2d', answer: 'yes' })
  t.regex(device?.userSpace[0]?.why ?? '', /without a copy/)
  t.is(readFileSync('/sys/module/vkms/parameters/enable_overlay', 'utf8').trim(), 'Y')
})
