// `npm run demo -- --user-device`: a guest of Debian's kernel in stock QEMU, whose screen is a device written in TypeScript. Owns the
// two processes; what the device does is in examples/devices.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { USER_DEVICES_PROGRAM } from './lib/prepare.mjs'
import { ROOT } from './lib/process.mjs'
import { say } from './lib/say.mjs'
import { findVfioUserQemu, stockGuest } from '../rig/index.mjs'

const PICTURE = join('build-demo', 'screen.png')
const SIZE = '1024x768'
const SOCKET_MILLISECONDS = 10_000

// What its shell does once the drivers are there. The console of the screen is tty1.
const SCRIPT = `
exec >/dev/tty1 2>&1
echo 0 >/sys/class/graphics/fbcon/cursor_blink
clear
echo
echo '  This is the console of a stock Debian guest in stock QEMU.'
echo '  Its graphics card is a PCI device that is written in TypeScript.'
echo
uname -a
echo
card=/sys/class/drm/card0/device
echo "PCI $(basename $(readlink -f $card)): $(cat $card/vendor) $(cat $card/device), driver $(basename $(readlink $card/driver))"
ls -l /dev/dri
echo
grep -i virtio /proc/interrupts
echo
dmesg | grep -i -e drm -e virtio | tail -n 12
sleep 2
`

/**
 * Boots the guest, and leaves its screen in a file. Resolves to the exit status.
 * @param {AbortSignal} signal
 */
export const userDeviceDemo = async (signal) => {
  const qemu = await findVfioUserQemu()
  const folder = mkdtempSync(join(tmpdir(), 'node-vfio-demo-'))
  const socket = join(folder, 'gpu')
  const picture = join(ROOT, PICTURE)
  rmSync(picture, { force: true })
  const children = []
  const start = (program, args, options) => {
    const child = spawn(program, args, { signal, killSignal: 'SIGTERM', ...options })
    // Ended by the signal: the other ends too, and the caller knows.
    child.on('error', () => {})
    children.push(child)
    return child
  }
  try {
    say(`serving a graphics card on ${socket}, by ${USER_DEVICES_PROGRAM}`)
    const server = start(
      process.execPath,
      [
        join(ROOT, USER_DEVICES_PROGRAM),
        'gpu',
        '--socket-path',
        socket,
        '--size',
        SIZE,
        '--png',
        picture,
        '--http',
        '0',
      ],
      { stdio: ['ignore', 'inherit', 'inherit'] },
    )
    const ended = once(server, 'close')
    for (let waited = 0; !existsSync(socket); waited += 50) {
      if (waited > SOCKET_MILLISECONDS || server.exitCode !== null)
        throw new Error('the device was not served')
      await sleep(50)
    }
    say("booting a guest of Debian's kernel in emulation, with that card")
    const args = await stockGuest({
      folder,
      modules: ['virtio_pci', 'virtio_gpu'],
      script: SCRIPT,
      append: 'console=tty1 console=ttyS0',
    })
    const guest = start(
      qemu.program,
      [
        ...qemu.args,
        ...args,
        '-device',
        JSON.stringify({ driver: 'vfio-user-pci', socket: { type: 'unix', path: socket } }),
      ],
      { env: qemu.env, stdio: ['ignore', 'pipe', 'inherit'] },
    )
    createInterface({ input: guest.stdout }).on('line', (line) => say(`guest: ${line}`))
    const [status] = await once(guest, 'close')
    server.kill('SIGTERM')
    await ended
    if (status !== 0 || !existsSync(picture)) {
      say('the guest ended without a picture')
      return 1
    }
    say(`the guest's screen, as the device saw it: ${PICTURE}, ${statSync(picture).size} bytes`)
    return 0
  } finally {
    for (const child of children) child.kill('SIGKILL')
    rmSync(folder, { recursive: true, force: true })
  }
}
