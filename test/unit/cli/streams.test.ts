// Standard output and error that cannot be written: a reader that has gone is no failure, a disk that is full is one.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'

const MAIN = join(import.meta.dirname, '../../../ts/cli/main.js')
const onLinux = process.platform === 'linux' ? test : test.skip

interface Ending {
  readonly status: number | string | null
  readonly err: string
}

/** `vfio` with its standard output in a file, or in a pipe that nobody reads. */
async function vfio(
  to: string | null,
  args: readonly string[],
  errTo: 'pipe' | 'full' = 'pipe',
): Promise<Ending> {
  const out = to === null ? 'pipe' : openSync(to, 'w')
  const full = openSync('/dev/full', 'w')
  const child = spawn(process.execPath, [MAIN, ...args], {
    stdio: ['ignore', out, errTo === 'full' ? full : 'pipe'],
  })
  child.stdout?.destroy()
  for (const fd of [out, full]) if (typeof fd === 'number') closeSync(fd)
  let err = ''
  child.stderr?.setEncoding('utf8').on('data', (text: string) => (err += text))
  const [status, signal] = (await once(child, 'close')) as [number | null, string | null]
  return { status: signal ?? status, err }
}

onLinux('a reading command whose output finds no room fails and says so', async (t) => {
  for (const args of [['ls'], ['doctor', '--json'], ['--help'], ['undo', '--list'], ['completion', 'bash']]) {
    const { status, err } = await vfio('/dev/full', args)
    t.is(status, 1, args.join(' '))
    t.regex(err, /^vfio: standard output: ENOSPC.*\n$/, args.join(' '))
  }
})

onLinux('a reader that has gone ends a reading command quietly', async (t) => {
  for (const args of [['--help'], ['completion', 'bash']])
    t.deepEqual(await vfio(null, args), { status: 0, err: '' })
})

onLinux('standard error that cannot be written is no crash', async (t) => {
  t.is((await vfio('/dev/null', ['no-such-command'], 'full')).status, 2)
  t.is((await vfio('/dev/full', ['--help'], 'full')).status, 1)
})
