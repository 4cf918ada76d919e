// The commands that look at a host answer quickly on a large one: the whole process, start and imports included. They are
// bundled as they are shipped.
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { rollup } from 'rollup'
import { SysfsTree } from '../host/fixture.js'
import { rootsOf } from '../merged/hosts.js'
import { largeHost } from '../merged/large-host.js'
import { SANITIZED } from '../support.js'
import { ROOT } from './schemas.js'

const onPosix = process.platform === 'win32' ? test.skip : test.serial
const LIMIT = 300
/**
 * On a machine that is slow, or shared, everything takes longer. Where a process that does nothing takes 45 ms, as on an
 * idle one, this is about the limit.
 */
const TIMES_NOTHING = 7
const RUNS = 3

/** What a process that does nothing takes here. */
let nothing = 0

const folder = mkdtempSync(join(ROOT, 'out', 'speed-'))
const tree = new SysfsTree()

test.before(async () => {
  if (process.platform === 'win32') return
  largeHost(tree)
  const bundle = await rollup({
    input: join(import.meta.dirname, '../../../ts/cli/program.js'),
    external: (id) => !id.startsWith('.') && !id.startsWith('/'),
    // TypeScript's, about its own helpers.
    onwarn: () => undefined,
  })
  await bundle.write({ dir: folder, format: 'es' })
  await bundle.close()
  nothing = measure('').took
})
test.after.always(() => {
  rmSync(folder, { recursive: true, force: true })
  tree.remove()
})

/** Milliseconds of processor time that a program takes in the best of some runs, and what it printed. */
function measure(program: string): { took: number; out: string } {
  const told = `${program}
    const { user, system } = process.cpuUsage()
    process.stderr.write(String((user + system) / 1000))`
  const runs = Array.from({ length: RUNS }, () => {
    const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '--eval', told], {
      encoding: 'utf8',
      maxBuffer: 1 << 26,
    })
    return { took: Number(stderr), out: stdout }
  })
  return runs.reduce((best, each) => (each.took < best.took ? each : best))
}

const command = (...args: string[]): string => `
  const { run } = await import(${JSON.stringify(join(folder, 'program.js'))})
  const status = await run(${JSON.stringify(args)}, {
    host: ${JSON.stringify(rootsOf(tree))},
    out: (text) => process.stdout.write(text),
    redraw: () => undefined,
    outBytes: () => undefined,
    err: (text) => process.stdout.write(text),
    color: false,
    columns: null,
    uid: 1000,
    onInterrupt: () => () => undefined,
  })
  if (status !== 0) process.stdout.write('failed')`

const COMMANDS: [args: string[], expected: RegExp][] = [
  [['ls'], /0000:3f:10\.3/],
  [['show', '0000:05:00.0'], /SR-IOV +4 of 4/],
  [['doctor'], /320 IOMMU groups/],
  [['merged'], /0000:3f:00\.0/],
  [['issues'], /nvidia-vgpu-host-bulletin-5821/],
  [['use', '0000:05:10.0', '--for', 'qemu'], /vfio-pci,host=0000:05:10\.0/],
]

for (const [args, expected] of COMMANDS) {
  onPosix(
    `vfio ${args.join(' ')} of 64 devices with 256 virtual functions: ${LIMIT} ms, or ${TIMES_NOTHING} starts of node`,
    (t) => {
      const { took, out } = measure(command(...args))
      t.regex(out, expected)
      t.notRegex(out, /failed$/)
      const limit = Math.max(LIMIT, nothing * TIMES_NOTHING) * (SANITIZED ? 5 : 1)
      t.log(`${took.toFixed(0)} ms of its own; a process that does nothing: ${nothing.toFixed(0)} ms`)
      t.true(took < limit, `${took.toFixed(0)} ms, not below ${limit.toFixed(0)}`)
    },
  )
}
