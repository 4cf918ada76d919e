// Writes the guest's first file system: cpio archives in the "newc" format, which the kernel unpacks one after
// the other. The large one is cached; a small one with the command is appended for each run.

import { copyFileSync, appendFileSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { cached, digest } from './cache.mjs'
import { modulesInOrder } from './kernel.mjs'

const FOLDER = 0o040755
const FILE = 0o100644
const PROGRAM = 0o100755

const padded = (buffer) => Buffer.concat([buffer, Buffer.alloc(-buffer.length & 3)])

const entry = (inode, name, mode, content = Buffer.alloc(0)) => {
  const fields = [inode, mode, 0, 0, 1, 0, content.length, 0, 0, 0, 0, name.length + 1, 0]
  const numbers = fields.map((field) => field.toString(16).padStart(8, '0')).join('')
  return Buffer.concat([padded(Buffer.from(`070701${numbers}${name}\0`)), padded(content)])
}

/** A newc archive of `files`, an array of [path, mode, content]; the folders above them are made too. */
const cpio = (files) => {
  const parts = []
  const folders = new Set()
  let inode = 1
  for (const [path, mode, content] of files) {
    const steps = path.split('/').slice(0, -1)
    steps.forEach((_, depth) => {
      const folder = steps.slice(0, depth + 1).join('/')
      if (!folders.has(folder)) parts.push(entry(inode++, folder, FOLDER))
      folders.add(folder)
    })
    parts.push(entry(inode++, path, mode, Buffer.from(content)))
  }
  parts.push(entry(0, 'TRAILER!!!', 0))
  return Buffer.concat(parts)
}

/** A compressed archive that the kernel unpacks. Level 1 is as fast to unpack under emulation and much faster to write. */
const compressed = (files) => padded(gzipSync(cpio(files), { level: 1 }))

const script = (name) => readFileSync(new URL(name, import.meta.url))

/** The cached archive: busybox, init, and the modules it loads, in order. */
export const baseInitramfs = async (kernel, moduleNames) => {
  const modules = modulesInOrder(kernel, moduleNames)
  const list = modules.map((module) => `${module}\n`).join('')
  const scripts = ['init', 'session'].map(script)
  const name = `initramfs-${kernel.release}-${digest(kernel.modules ?? '', list, ...scripts)}`
  const folder = await cached(name, (making) => {
    const archive = compressed([
      ['bin/busybox', PROGRAM, readFileSync(kernel.busybox)],
      ['init', PROGRAM, scripts[0]],
      ['rig/session', PROGRAM, scripts[1]],
      ['rig/modules', FILE, list],
      ...modules.map((path) => [`modules/${path}`, FILE, readFileSync(join(kernel.modules, path))]),
    ])
    writeFileSync(join(making, 'initramfs'), archive)
  })
  return join(folder, 'initramfs')
}

/**
 * A file system for a guest that is not the rig's own: busybox, the modules that it loads first, in order, and `script`, which its
 * shell then runs, on the console. When that ends, the machine does.
 */
export const guestInitramfs = (kernel, moduleNames, script) => {
  const modules = modulesInOrder(kernel, moduleNames)
  const init = [
    '#!/bin/busybox sh',
    '/bin/busybox --install -s /bin',
    'export PATH=/bin',
    'mkdir -p /proc /sys /dev',
    'mount -t proc proc /proc',
    'mount -t sysfs sysfs /sys',
    'mount -t devtmpfs devtmpfs /dev',
    'exec </dev/console >/dev/console 2>&1',
    ...modules.map((path) => `insmod /modules/${path} || echo cannot load ${path}`),
    script,
    'poweroff -f',
  ]
  return compressed([
    ['bin/busybox', PROGRAM, readFileSync(kernel.busybox)],
    ['init', PROGRAM, `${init.join('\n')}\n`],
    ...modules.map((path) => [`modules/${path}`, FILE, readFileSync(join(kernel.modules, path))]),
  ])
}

/** Whether the guest's shell can carry a variable of this name. */
export const isVariable = (name) => /^[A-Za-z_][A-Za-z0-9_]*$/.test(name)

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`

/** Writes to `path` the initramfs of one run: the base, and after it the command and the list of devices. */
export const runInitramfs = (path, base, { command, cwd, env, devices, settings }) => {
  const variables = Object.entries(env).filter(([name]) => isVariable(name))
  const lines = [
    ...variables.map(([name, value]) => `export ${name}=${quoted(value)}`),
    `cd ${quoted(cwd)} || exit 126`,
    `exec ${command.map(quoted).join(' ')}`,
  ]
  copyFileSync(base, path)
  appendFileSync(
    path,
    cpio([
      ['rig/command', FILE, `${lines.join('\n')}\n`],
      ['rig/devices', FILE, devices.map((fields) => `${fields.join(' ')}\n`).join('')],
      [
        'rig/settings',
        FILE,
        Object.entries(settings)
          .map(([name, value]) => `${name}=${quoted(value)}\n`)
          .join(''),
      ],
    ]),
  )
}
