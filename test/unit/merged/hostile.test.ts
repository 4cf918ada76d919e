// Trees that no kernel makes, and 10,000 damaged ones: no crash, no hang, no invented value.

import { lstatSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { setImmediate } from 'node:timers/promises'
import test from 'ava'
import { mergedReport } from '../../../ts/merged/index.js'
import { Random } from '../../fuzz/random.js'
import { SysfsTree } from '../host/fixture.js'
import { type Host, HOSTILE, HOSTS, PF, rootsOf } from './hosts.js'

const onPosix = process.platform === 'win32' ? test.skip : test.serial

const report = (tree: SysfsTree) => mergedReport(rootsOf(tree))

onPosix('what is missing, empty, binary or huge is told as unread', (t) => {
  const of = (name: keyof typeof HOSTILE) => {
    const tree = new SysfsTree()
    t.teardown(() => tree.remove())
    HOSTILE[name](tree)
    return report(tree)
  }
  t.deepEqual(of('empty'), { kernelRelease: null, devices: [], problems: [] })
  // A device without a class went away; its mdev types are still there.
  t.like(of('missing-files').devices[0], { bus: 'other', mdevTypes: [{ available: null }, { available: 3 }] })
  t.regex(of('empty-files').problems[0]!.message, /sriov_totalvfs contains "", not a number/)
  t.is(of('binary-files').problems[0]!.subject, PF)
  const huge = of('huge-file')
  t.is(huge.devices[0]!.mdevTypes[0]!.description, null)
  t.regex(huge.problems[0]!.message, /more than 65536 bytes/)
  const loop = of('link-loop')
  t.is(loop.devices.length, 1)
  t.deepEqual(
    loop.problems.map(({ subject }) => subject),
    ['0000:04:00.0'],
  )
})

onPosix('a FIFO in the place of a file does not hold the report up', (t) => {
  const tree = new SysfsTree()
  t.teardown(() => tree.remove())
  HOSTS['nic-sriov'](tree)
  const path = tree.path('devices/pci0000:00', PF, 'sriov_numvfs')
  rmSync(path)
  t.is(spawnSync('mkfifo', [path]).status, 0)
  t.regex(report(tree).problems[0]!.message, /sriov_numvfs contains "", not a number/)
})

onPosix('a device that vanishes and comes back while it is read', async (t) => {
  const tree = new SysfsTree()
  t.teardown(() => tree.remove())
  HOSTS['nvidia-vendor-vfio'](tree)
  const device = tree.path('devices/pci0000:00', PF)
  // Another process takes the directory away and puts it back, over and over.
  const away = spawn(
    '/bin/sh',
    ['-c', 'while :; do mv "$1" "$1.gone"; mv "$1.gone" "$1"; done', 'sh', device],
    // In a group of its own: what it has just started ends with it.
    { stdio: 'ignore', detached: true },
  )
  const ended = once(away, 'exit')
  const seen = { whole: 0, less: 0 }
  try {
    const end = performance.now() + 2000
    while (performance.now() < end) {
      const { devices, problems } = report(tree)
      if (devices.some(({ name, framework }) => name === PF && framework === 'vendor-vfio')) seen.whole++
      else seen.less++
      for (const { subject } of problems) t.not(subject, '')
    }
  } finally {
    if (away.pid !== undefined) process.kill(-away.pid, 'SIGKILL')
    await ended
  }
  t.true(seen.less > 0, `whole ${seen.whole} times, less ${seen.less} times`)
})

const GARBAGE = [
  '',
  '-1',
  '0x',
  'NaN',
  '1e999',
  '99999999999999999999',
  '\0\0',
  'ü'.repeat(300),
  '(null)',
  ': : :',
]

function filesOf(directory: string): string[] {
  return readdirSync(directory, { withFileTypes: true }).flatMap((entry) => {
    const path = join(directory, entry.name)
    return entry.isDirectory() ? [path, ...filesOf(path)] : [path]
  })
}

/** Damages one entry and gives what mends it. */
function damage(path: string, random: Random): () => void {
  const stat = lstatSync(path)
  if (!stat.isFile()) return () => undefined
  const before = readFileSync(path)
  const restore = () => {
    rmSync(path, { recursive: true, force: true })
    writeFileSync(path, before)
  }
  const kind = random.below(6)
  if (kind === 0) rmSync(path)
  else if (kind === 1) {
    rmSync(path)
    mkdirSync(path)
  } else if (kind === 2) {
    rmSync(path)
    symlinkSync(path, path)
  } else if (kind === 3) {
    const bytes = Buffer.from(before)
    for (let i = 0; i < 3 && bytes.length > 0; i++) bytes[random.below(bytes.length)] = random.below(256)
    writeFileSync(path, bytes)
  } else writeFileSync(path, random.of(GARBAGE))
  return restore
}

/** A number that is there has to be a whole one from 0. */
function invented(value: unknown): boolean {
  if (typeof value === 'number') return !Number.isSafeInteger(value) || value < 0
  if (typeof value !== 'object' || value === null) return false
  return Object.values(value).some(invented)
}

const ROUNDS = Math.ceil(10_000 / Object.keys(HOSTS).length)

for (const [index, [name, host]] of Object.entries<Host>(HOSTS).entries()) {
  onPosix(`${name}, damaged ${ROUNDS} times: a report each time, without an invented value`, async (t) => {
    const random = new Random(20261125 + index)
    const tree = new SysfsTree()
    t.teardown(() => tree.remove())
    host(tree)
    const files = filesOf(tree.root)
    let unread = 0
    for (let round = 0; round < ROUNDS; round++) {
      const damaged = new Set(Array.from({ length: 1 + random.below(3) }, () => random.of(files)))
      const restores = [...damaged].map((path) => damage(path, random))
      const { devices, problems } = report(tree)
      unread += problems.length
      if (invented(devices)) t.fail(`round ${round}: ${JSON.stringify(devices)}`)
      for (const restore of restores) restore()
      // The runner has to hear from this process.
      if (round % 50 === 0) await setImmediate()
    }
    t.true(unread > ROUNDS / 10, `the damage was seen ${unread} times`)
  })
}
