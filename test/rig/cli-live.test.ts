// `vfio dump` and `vfio watch` on real devices: bytes, registers that change, interrupts that arrive, and a clean end.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import test from 'ava'
import { run } from '../../ts/cli/program.js'
import { temporaryFolder } from '../temporary.js'
import { checkOutput } from '../unit/cli/schemas.js'
import { devices, EDU, open, withDevice } from './devices.js'

const MAIN = join(import.meta.dirname, '../../ts/cli/main.js')
/** By its group a device can be had twice in one process; its own node opens once. */
const BY_GROUP = { sysfsRoot: '/sys', iommu: 'type1v2' } as const

async function vfio(args: string[], given: { columns?: number; whenWatching?: () => void } = {}) {
  let out = ''
  let err = ''
  let drawn = 0
  const bytes: Uint8Array[] = []
  const status = await run(args, {
    host: BY_GROUP,
    out: (text) => (out += text),
    redraw: (_lines, text) => {
      out += text
      drawn++
    },
    outBytes: (chunk) => bytes.push(chunk),
    err: (text) => (err += text),
    color: false,
    columns: given.columns ?? null,
    uid: 0,
    onInterrupt: () => {
      given.whenWatching?.()
      return () => undefined
    },
  })
  return { status, out, err, drawn, bytes: Buffer.concat(bytes) }
}

test.serial('dump: registers need a width, and are read in it', async (t) => {
  const refused = await vfio(['dump', devices.edu, 'bar0', '0', '16'])
  t.is(refused.status, 1)
  t.regex(refused.err, /bar0 contains registers.*--width/)
  const { status, out, err } = await vfio(['dump', devices.edu, 'bar0', '0', '4', '--width', '4'])
  t.is(status, 0, err)
  t.regex(out, /^0000 {2}010000ed +\|\.\.\.\.\|\n$/)
  t.is((await vfio(['dump', devices.edu, 'bar0', '2', '4', '--width', '4'])).status, 2)
  t.is((await vfio(['dump', devices.edu, 'bar0', '0', '0x200000', '--width', '4'])).status, 2)
})

test.serial('dump: configuration space and memory, as text, as JSON and into a file', async (t) => {
  const json = await vfio(['dump', devices.nvme, 'config', '--json'])
  t.is(json.status, 0, json.err)
  checkOutput(json.out)
  const { bytes, length } = JSON.parse(json.out) as { bytes: string; length: number }
  t.is(bytes.slice(0, 8), '361b1000')
  t.is(bytes.length, length * 2)
  const folder = temporaryFolder(t, 'dump')
  const memory = Buffer.alloc(4096, 0x5a)
  await withDevice('ivshmem', (device) => device.region('bar2').write(0, memory))
  const file = join(folder, 'bar2.bin')
  const raw = await vfio(['dump', devices.ivshmem, 'bar2', '0', '8192', '--raw', file])
  t.is(raw.status, 0, raw.err)
  t.is(readFileSync(file).length, 8192)
  t.deepEqual(readFileSync(file).subarray(0, 4096), memory)
  const text = await vfio(['dump', devices.ivshmem, 'bar2', '0', '4096'])
  t.deepEqual(
    text.out
      .trimEnd()
      .split('\n')
      .map((line) => line.slice(0, 8)),
    ['0000  5a', '*', '0ff0  5a'],
  )
  const piped = await vfio(['dump', devices.ivshmem, 'bar2', '0', '16', '--raw', '-'])
  t.deepEqual(piped.bytes, memory.subarray(0, 16))
})

test.serial('watch: a register that changes and an interrupt that arrives are a line each', async (t) => {
  const other = await open('edu', { iommu: BY_GROUP.iommu })
  try {
    const targets = [`bar0+0x${EDU.liveness.toString(16)}`, 'msi', 'bar0+0/2']
    const { status, out, err } = await vfio(
      ['watch', devices.edu, ...targets, '--interval', '0.1', '--timeout', '3', '--json'],
      {
        whenWatching: () => {
          other.region('bar0').write32(EDU.liveness, 0x1234_5678)
          other.irq('msi').trigger(0)
        },
      },
    )
    t.is(status, 0, err)
    checkOutput(out)
    const events = out
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as { what: string; value: string })
    t.like(
      events.find(({ what }) => what === 'bar0+0x4'),
      { value: '0xedcba987' },
    )
    t.like(
      events.find(({ what }) => what === 'msi'),
      { before: '0', value: '1' },
    )
    t.regex(err, /^2 changes in 3\.\d s\n$/)
  } finally {
    await other.close()
  }
})

test.serial('watch: a terminal shows a table that refreshes', async (t) => {
  const { status, out, drawn } = await vfio(
    ['watch', devices.edu, 'bar0+0', '--interval', '0.05', '--count', '3'],
    { columns: 80 },
  )
  t.is(status, 0)
  t.is(drawn, 4)
  t.regex(out, /^WHAT +VALUE +CHANGES +LAST\nbar0\+0 +0x010000ed +0 +-\n/)
})

test.serial('watch: SIGINT ends it with the device given back', async (t) => {
  const child = spawn(process.execPath, [MAIN, 'watch', devices.edu, 'bar0+0'], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let out = ''
  let err = ''
  child.stdout.on('data', (data: Buffer) => (out += data.toString()))
  child.stderr.on('data', (data: Buffer) => (err += data.toString()))
  const closed = once(child, 'close')
  for (let tries = 0; out === '' && tries < 600; tries++) await sleep(100)
  child.kill('SIGINT')
  t.deepEqual(await closed, [0, null], err)
  t.is(out, '0.000 s  bar0+0  0x010000ed\n')
  t.regex(err, /^0 changes in /)
  await withDevice('edu', (device) => t.is(device.region('bar0').read32(0), 0x010000ed))
})
