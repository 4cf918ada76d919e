// Serves one of these devices on a socket, for any client of vfio-user: `node main.js gpu --socket-path /tmp/gpu --http 8080`. Knows the
// command line and nothing of what the devices do.
import { closeSync, openSync, renameSync, writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { DrmCard } from 'node-vfio/drm'
import { type UserDevice, UserDeviceServer } from 'node-vfio/vfio-user'

import { Edu } from './edu.js'
import { ScreenPage } from './gpu/page.js'
import { pngOf } from './gpu/png.js'
import { type GuestScreen, MediatedGpu } from './mediated-gpu.js'
import { Mtty } from './mtty.js'
import { VirtioDisk } from './virtio-blk.js'
import { VirtioConsole } from './virtio-console.js'
import { type GpuOptions, VirtioGpu } from './virtio-gpu.js'
import { VirtioRng } from './virtio-rng.js'

const HELP = `usage: main.js KIND --socket-path PATH [options]

Serves a PCI device on a socket, until SIGTERM or Ctrl-C. KIND is one of
  edu       a twin of QEMU's edu device
  mtty      a serial port whose wire is looped back; it migrates
  rng       virtio-rng
  console   virtio-console, on this terminal
  disk      virtio-blk, of a file
  gpu       virtio-gpu in 2D

  --socket-path PATH  where to listen
  --fd N              a socket to serve that is connected already, or listens
  --file FILE         what is on the disk (disk)
  --size WxH          the guest's screen (gpu; default 1024x768)
  --png FILE          keep its picture there (gpu)
  --http PORT         show it on http://127.0.0.1:PORT/ (gpu; 0 takes a free port)
  --card PATH         have it on a card of the host, such as /dev/dri/card0 (gpu)
  --connector NAME    show it there while nobody else shows anything on the card, such as HDMI-A-1 (with --card)

With QEMU: qemu-system-x86_64 -object memory-backend-memfd,id=mem,size=1G,share=on -machine q35,memory-backend=mem -m 1G
  -device '{"driver":"vfio-user-pci","socket":{"type":"unix","path":"PATH"}}' ...`

/** Pictures to the file at most this often; the last one as it ends. */
const PNG_MILLISECONDS = 1000

/** What is served, and what ends with it. */
interface Served {
  device: UserDevice
  close?: () => void
}

interface Values {
  file?: string | undefined
  size?: string | undefined
  png?: string | undefined
  http?: string | undefined
  card?: string | undefined
  connector?: string | undefined
}

const complain = (error: Error): void => console.error(error.message)

/** Keeps the newest picture in a file; who reads it never sees half of one. */
function keepPicture(gpu: VirtioGpu, file: string): { drawn: () => void; close: () => void } {
  const write = (): void => {
    const frame = gpu.frame()
    if (frame === undefined) return
    writeFileSync(`${file}.new`, pngOf(frame))
    renameSync(`${file}.new`, file)
  }
  let timer: NodeJS.Timeout | undefined
  const drawn = (): void => {
    timer ??= setTimeout(() => {
      timer = undefined
      write()
    }, PNG_MILLISECONDS)
  }
  return {
    drawn,
    close: () => {
      clearTimeout(timer)
      write()
    },
  }
}

function sizeOf(size: string | undefined): { width?: number; height?: number } {
  if (size === undefined) return {}
  const [width, height] = (/^(\d{2,5})x(\d{2,5})$/.exec(size)?.slice(1) ?? []).map(Number)
  if (width === undefined || height === undefined) throw new RangeError(`--size is WxH, not '${size}'`)
  return { width, height }
}

/** A connector of the card by its name, with its best mode. */
function screenOn(card: DrmCard, name: string): GuestScreen {
  const connectors = card.connectors()
  const connector = connectors.find((each) => each.name === name)
  const [mode, crtc] = [connector?.modes[0], connector?.crtcs[0]]
  if (connector === undefined || mode === undefined || crtc === undefined)
    throw new RangeError(
      `--connector is one of ${connectors.map((each) => each.name).join(', ')} with a screen on it, not '${name}'`,
    )
  return { connector, crtc, mode, takeMaster: true }
}

/** The device, and what ends with it. */
function gpuOf({ card: path, connector }: Values, options: GpuOptions): { gpu: VirtioGpu; end: () => void } {
  if (path === undefined) {
    if (connector !== undefined) throw new RangeError('--connector is for a --card')
    return { gpu: new VirtioGpu(options), end: () => undefined }
  }
  const card = DrmCard.open(path)
  const screen = connector === undefined ? {} : { screen: screenOn(card, connector) }
  return { gpu: new MediatedGpu({ ...options, card, ...screen }), end: () => card.close() }
}

async function screen(values: Values): Promise<Served> {
  const { size, png, http } = values
  const listeners: (() => void)[] = []
  const { gpu, end } = gpuOf(values, {
    ...sizeOf(size),
    onDrawn: () => listeners.forEach((listener) => listener()),
    onError: complain,
  })
  const ends: (() => void)[] = []
  if (png !== undefined) {
    const picture = keepPicture(gpu, png)
    listeners.push(picture.drawn)
    ends.push(picture.close)
  }
  if (http !== undefined) {
    const page = await ScreenPage.listen(Number(http), () => gpu.frame())
    listeners.push(() => page.drawn())
    ends.push(() => page.close())
    console.log(`the screen is on ${page.url}`)
  }
  ends.push(end)
  return { device: gpu.device, close: () => ends.forEach((end) => end()) }
}

function terminal(): Served {
  const port = new VirtioConsole({ onText: (bytes) => process.stdout.write(bytes), onError: complain })
  process.stdin.on('data', (bytes: Buffer) => port.send(bytes))
  return { device: port.device, close: () => process.stdin.destroy() }
}

function disk({ file }: Values): Served {
  if (file === undefined) throw new RangeError('disk needs a --file')
  const fd = openSync(file, 'r+')
  return { device: new VirtioDisk({ fd, onError: complain }).device, close: () => closeSync(fd) }
}

const KINDS: Record<string, (values: Values) => Served | Promise<Served>> = {
  edu: () => ({ device: new Edu().device }),
  mtty: () => ({ device: new Mtty().device }),
  rng: () => ({ device: new VirtioRng(complain).device }),
  console: terminal,
  disk,
  gpu: screen,
}

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      'socket-path': { type: 'string' },
      fd: { type: 'string' },
      file: { type: 'string' },
      size: { type: 'string' },
      png: { type: 'string' },
      http: { type: 'string' },
      card: { type: 'string' },
      connector: { type: 'string' },
      help: { type: 'boolean' },
    },
  })
  const make = KINDS[positionals[0] ?? '']
  const path = values['socket-path']
  if (values.help === true || make === undefined || (path === undefined) === (values.fd === undefined)) {
    console.log(HELP)
    process.exitCode = values.help === true ? 0 : 2
    return
  }
  const { device, close } = await make(values)
  const server =
    path === undefined
      ? UserDeviceServer.fromFd(Number(values.fd), device)
      : UserDeviceServer.listen(path, device)
  const end = (): void => {
    close?.()
    server.close()
  }
  process.once('SIGTERM', end).once('SIGINT', end)
  if (path !== undefined) console.log(`serving ${device.name} on ${path}`)
}

await main()
