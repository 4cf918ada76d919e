// What tests of the live page share: the program that serves it, as its users start it, and a guest of stock QEMU's that paints.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { ExecutionContext } from 'ava'

import { Qemu } from './qemu.js'
import { socketPath } from './served.js'
import { BUFFERS, VirtioDriver } from './virtio.js'

const SERVER = fileURLToPath(new URL('../../examples/devices/main.js', import.meta.url))
const GPU = { create: 0x101, scanout: 0x103, flush: 0x104, transfer: 0x105, attach: 0x106 } as const
const OK = 0x1100
const PIXELS = BUFFERS + 0x1_0000
export const WIDTH = 64
export const HEIGHT = 48

/** The colour of a pixel, red, green and blue from its highest byte on, in the picture of that number. */
export function colourOf(picture: number, pixel: number): number {
  return (pixel * 0x01_03_05 * picture) & 0xff_ffff
}

export interface LiveScreen {
  /** Where the page is. */
  readonly url: string
  /** Has the guest turn the screen on. */
  readonly turnOn: () => Promise<void>
  /** Has the guest paint a picture. */
  readonly paint: (picture: number) => Promise<void>
  /** Tells the program to end; its exit status. */
  readonly end: () => Promise<number | null>
}

async function serve(t: ExecutionContext, path: string): Promise<Pick<LiveScreen, 'url' | 'end'>> {
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

/** Starts both. */
export async function liveScreen(t: ExecutionContext): Promise<LiveScreen> {
  const path = socketPath(t)
  const served = await serve(t, path)
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
    t.is(await guest.read32(BUFFERS + 0x1000), OK, type.toString(16))
  }
  return {
    ...served,
    turnOn: async () => {
      await command(GPU.create, [1, 2, WIDTH, HEIGHT])
      await command(GPU.attach, [1, 1, PIXELS, 0, WIDTH * HEIGHT * 4, 0])
      await command(GPU.scanout, [0, 0, WIDTH, HEIGHT, 0, 1])
    },
    paint: async (picture) => {
      const pixels = Uint32Array.from({ length: WIDTH * HEIGHT }, (_, i) => colourOf(picture, i))
      await guest.write(PIXELS, new Uint8Array(pixels.buffer))
      await command(GPU.transfer, [0, 0, WIDTH, HEIGHT, 0, 0, 1, 0])
      await command(GPU.flush, [0, 0, WIDTH, HEIGHT, 1, 0])
    },
  }
}
