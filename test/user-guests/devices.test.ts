// Devices of the examples in a guest of Debian's kernel under stock QEMU: its own drivers find them, and work. One guest has them all.
import { gzipSync } from 'node:zlib'
import { join } from 'node:path'
import { UserDeviceServer } from 'node-vfio/vfio-user'
import test from 'ava'

import { Edu } from '../../examples/devices/edu.js'
import { colourAt, type Frame } from '../../examples/devices/gpu/pixels.js'
import { VirtioConsole } from '../../examples/devices/virtio-console.js'
import { VirtioGpu } from '../../examples/devices/virtio-gpu.js'
import { VirtioRng } from '../../examples/devices/virtio-rng.js'
import { temporaryFolder } from '../temporary.js'
import { runGuest } from './machine.js'

const WIDTH = 640
const HEIGHT = 480

/** What the guest paints: a colour for each quarter. */
const QUARTERS = [0xff0000, 0x00ff00, 0x0000ff, 0xffff00] as const

/** The bytes of the guest's frame buffer: blue, green, red, and one that counts for nothing. */
function painting(): Buffer {
  const pixels = Buffer.alloc(WIDTH * HEIGHT * 4)
  for (let y = 0; y < HEIGHT; y++)
    for (let x = 0; x < WIDTH; x++) pixels.writeUInt32LE(colourOf(x, y), (y * WIDTH + x) * 4)
  return pixels
}

function colourOf(x: number, y: number): number {
  return QUARTERS[(y < HEIGHT / 2 ? 0 : 2) + (x < WIDTH / 2 ? 0 : 1)] ?? 0
}

// At the edges and in the middle, but not in the first cell: there the cursor of the guest's console blinks.
const isPainting = (frame: Frame): boolean =>
  [
    [16, 32],
    [WIDTH / 2 - 1, 0],
    [0, HEIGHT / 2 - 1],
    [WIDTH - 1, 0],
    [0, HEIGHT - 1],
    [WIDTH - 1, HEIGHT - 1],
    [WIDTH / 2 - 1, HEIGHT / 2 - 1],
    [WIDTH / 2, HEIGHT / 2],
  ].every(([x = 0, y = 0]) => colourAt(frame, x, y) === colourOf(x, y))

const SCRIPT = `
for device in /sys/bus/pci/devices/*; do
  driver=$(readlink $device/driver)
  echo pci \${device##*/} $(cat $device/vendor) $(cat $device/device) $(cat $device/class) \${driver##*/}
done

edu=/sys/bus/pci/devices/0000:00:05.0
echo 1 >$edu/enable
bar=$(head -n 1 $edu/resource | cut -d ' ' -f 1)
echo edu identification $(devmem $bar 32)
devmem $((bar + 4)) 32 0x12345678
echo edu inverted $(devmem $((bar + 4)) 32)
devmem $((bar + 8)) 32 12
echo edu factorial $(devmem $((bar + 8)) 32)
echo 0 >$edu/enable

echo rng $(cat /sys/class/misc/hw_random/rng_current) $(head -c 8 /dev/hwrng | xxd -p)

exec 3<>/dev/hvc0
stty raw -echo <&3
echo 'who is there?' >&3
read -r answer <&3
echo console answered "$answer"

ls /dev/dri | while read -r name; do echo gpu node $name; done
echo gpu $(cat /sys/class/graphics/fb0/name) $(cat /sys/class/graphics/fb0/virtual_size) $(cat /sys/class/graphics/fb0/stride)
grep -i virtio /proc/interrupts | while read -r line; do echo interrupts $line; done
echo ${gzipSync(painting(), { level: 9 }).toString('base64')} | base64 -d | gunzip >/dev/fb0
echo 'is it painted?' >&3
read -r answer <&3
echo painting seen: "$answer"
`

test('a stock guest drives edu, virtio-rng, virtio-console and virtio-gpu that are TypeScript', async (t) => {
  t.timeout(10 * 60_000)
  const folder = temporaryFolder(t, 'sockets')
  const errors: string[] = []
  const onError = (error: Error): void => void errors.push(error.message)
  let screen: Frame | undefined
  let typed = ''
  // The guest's driver shows what is painted when it has time for that, so the guest waits until it is seen.
  const answerPainted = (): void => {
    if (typed.endsWith('painted?\n') && screen !== undefined && isPainting(screen))
      port.send(Buffer.from('yes\n'))
  }
  const gpu = new VirtioGpu({
    width: WIDTH,
    height: HEIGHT,
    onError,
    onDrawn: ({ frame }) => {
      const shown = frame.call(gpu)
      if (shown !== undefined && (screen === undefined || !isPainting(screen))) {
        screen = shown
        answerPainted()
      }
    },
  })
  const port = new VirtioConsole({
    onError,
    onText: (bytes) => {
      typed += Buffer.from(bytes).toString()
      if (typed.endsWith('there?\n')) port.send(Buffer.from('TypeScript\n'))
      answerPainted()
    },
  })
  const devices = {
    '04.0': gpu.device,
    '05.0': new Edu().device,
    '06.0': new VirtioRng(onError).device,
    '07.0': port.device,
  }
  const sockets = Object.entries(devices).map(([address, device]) => {
    const path = join(folder, address)
    const server = UserDeviceServer.listen(path, device)
    t.teardown(() => server.close())
    return [address, path] as const
  })
  const { status, lines, complaints } = await runGuest(t, {
    devices: Object.fromEntries(sockets),
    modules: ['virtio_pci', 'virtio_gpu', 'virtio_rng', 'virtio_console'],
    script: SCRIPT,
  })
  const told = lines.join('\n')
  t.is(status, 0, `${told}\n${complaints}`)
  t.is(complaints, '')
  t.deepEqual(errors, [])

  t.regex(told, /^pci 0000:00:04.0 0x1af4 0x1050 0x038000 virtio-pci$/m)
  t.regex(told, /^pci 0000:00:05.0 0x1234 0x11e8 0x00ff00 ?$/m)
  t.regex(told, /^pci 0000:00:06.0 0x1af4 0x1044 0x00ff00 virtio-pci$/m)
  t.regex(told, /^pci 0000:00:07.0 0x1af4 0x1043 0x078000 virtio-pci$/m)

  t.regex(told, /^edu identification 0x010000ED$/m)
  t.regex(told, /^edu inverted 0xEDCBA987$/m)
  t.regex(told, /^edu factorial 0x1C8CFC00$/m)

  t.regex(told, /^rng virtio_rng\.0 [0-9a-f]{16}$/m)
  t.notRegex(told, /^rng virtio_rng\.0 0{16}$/m)

  t.is(typed, 'who is there?\nis it painted?\n')
  t.regex(told, /^console answered TypeScript$/m)
  t.regex(told, /^painting seen: yes$/m)

  t.regex(told, /^gpu node card0$/m)
  t.regex(told, /^gpu node renderD128$/m)
  t.regex(
    told,
    new RegExp(`^gpu virtio_gpudrmfb ${String(WIDTH)},${String(HEIGHT)} ${String(WIDTH * 4)}$`, 'm'),
  )
  t.regex(told, /^interrupts .*PCI-MSI.*virtio/m, 'by MSI-X')
  t.true(gpu.drawn > 1)
  t.truthy(screen)
  t.true(screen !== undefined && isPainting(screen), 'what the guest painted is on the screen')
})
