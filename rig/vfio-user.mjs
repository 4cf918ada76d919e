// QEMU as a client of vfio-user: finds one, and unpacks one beside the rig's own where the system's is none; and guests for it, of
// Debian's kernel. It must not know what serves the devices.

import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { cached, digest } from './cache.mjs'
import { guestInitramfs } from './initramfs.mjs'
import { stockKernel } from './kernel.mjs'
import { firmwareIn, isAbove, PACKAGE, PROGRAM, unpackQemu } from './qemu.mjs'
import { RigError, say } from './say.mjs'

// The first with vfio-user-pci is 10.1; the first that can be told to end with whoever started it is 10.2.
const NEWEST_WITHOUT = [10, 1]

/** Tests that are killed leave no machine behind. */
const WITH_PARENT = ['-run-with', 'exit-with-parent=on']

// It brings its C library and the loader of it, so that it runs on systems older than itself: any suite's will do. Where one
// is retired from the first, the other has it.
const CHOICES = [['trixie', 'trixie-backports'], ['sid']]
const NEEDED = /^qemu-system-(common|data)$|^seabios$|^lib(?!c-gconv|asound2-data)/

const knows = ({ program, args, env }) => {
  const asked = (...question) => spawnSync(program, [...args, ...question], { encoding: 'utf8', env })
  const { status, stdout } = asked('-device', 'vfio-user-pci,help')
  return status === 0 && stdout.includes('socket=') && asked('-help').stdout.includes('exit-with-parent=')
}

const unpacked = (tree) => {
  const libraries = join(tree, 'usr/lib/x86_64-linux-gnu')
  return {
    program: join(libraries, 'ld-linux-x86-64.so.2'),
    args: ['--library-path', libraries, join(tree, 'usr/bin', PROGRAM), ...firmwareIn(tree)],
    // Parts of it are files of their own, such as the accelerator of tests. It looks for them beside the loader.
    env: { ...process.env, QEMU_MODULE_DIR: join(libraries, 'qemu') },
  }
}

const find = async () => {
  const ofTheSystem = { program: PROGRAM, args: [], env: process.env }
  if (knows(ofTheSystem)) return { ...ofTheSystem, args: WITH_PARENT }
  const name = `qemu-vfio-user-${digest(PACKAGE, NEEDED.source, ...NEWEST_WITHOUT.map(String))}`
  const tree = await cached(name, async (folder) => {
    say(
      `for devices in user space a QEMU above ${NEWEST_WITHOUT.join('.')} is needed: unpacking one into the cache, once`,
    )
    const wanted = (version) => isAbove(version, NEWEST_WITHOUT)
    if (!(await unpackQemu(folder, { choices: CHOICES, wanted, needed: NEEDED })))
      throw new RigError(`Debian's archive has no QEMU newer than ${NEWEST_WITHOUT.join('.')}`)
    if (!knows(unpacked(folder)))
      throw new RigError('the unpacked QEMU does not start, or has no vfio-user-pci')
  })
  const { args, ...qemu } = unpacked(tree)
  return { ...qemu, args: [...args, ...WITH_PARENT] }
}

let chosen

/**
 * A QEMU with vfio-user-pci: `program`, what comes before all other arguments, and the environment. It ends with the process that
 * starts it.
 */
export const findVfioUserQemu = () => (chosen ??= find())

/**
 * The arguments by which a QEMU boots Debian's kernel in emulation, with `modules` loaded and `script` run by its shell, all that it
 * says on QEMU's standard output. The machine ends with the script. `folder` gets its first file system; the memory can be shared
 * with devices in user space.
 * @param {{ folder: string, modules: string[], script: string, memory?: number, append?: string }} guest
 * @returns {Promise<string[]>}
 */
export const stockGuest = async ({ folder, modules, script, memory = 512, append = '' }) => {
  const kernel = await stockKernel()
  const initramfs = join(folder, 'initramfs')
  writeFileSync(initramfs, guestInitramfs(kernel, modules, script))
  return [
    ...['-nodefaults', '-no-user-config', '-no-reboot', '-display', 'none'],
    ...['-machine', 'q35,memory-backend=memory', '-m', `${memory}M`, '-accel', 'tcg', '-cpu', 'max,-la57'],
    ...['-object', `memory-backend-memfd,id=memory,size=${memory}M,share=on`],
    ...['-kernel', kernel.image, '-initrd', initramfs],
    ...[
      '-append',
      `console=ttyS0 loglevel=4 panic=-1 oops=panic mitigations=off nowatchdog ${append}`.trim(),
    ],
    ...['-chardev', 'stdio,id=console,signal=off', '-serial', 'chardev:console'],
  ]
}
