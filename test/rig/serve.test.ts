// `vfio serve`: a real device given away by the command, with a policy and a trace, and given back at the end.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import test, { type ExecutionContext } from 'ava'

import { VfioDevice, VfioError } from '../../ts/index.js'
import { temporaryFolder } from '../temporary.js'
import { devices, until, withDevice } from './devices.js'

const MAIN = fileURLToPath(new URL('../../ts/cli/main.js', import.meta.url))

interface Serving {
  readonly child: ChildProcess
  readonly path: string
  readonly folder: string
  /** What it has said, line by line. */
  lines(): string[]
  errors(): string
  /** Ends it; its status. */
  end(signal?: NodeJS.Signals): Promise<unknown>
}

async function serving(
  t: ExecutionContext,
  id: string,
  args: (folder: string) => readonly string[],
): Promise<Serving> {
  const folder = temporaryFolder(t, 'serve')
  const path = join(folder, 's')
  const child = spawn(process.execPath, [MAIN, 'serve', id, '--socket', path, ...args(folder)], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let out = ''
  let err = ''
  child.stdout.on('data', (data: Buffer) => (out += data.toString()))
  child.stderr.on('data', (data: Buffer) => (err += data.toString()))
  const closed = once(child, 'close')
  t.teardown(() => child.kill('SIGKILL'))
  await until(() => out.includes('\n') || child.exitCode !== null, 'the command')
  return {
    child,
    path,
    folder,
    lines: () => out.split('\n').slice(0, -1),
    errors: () => err,
    end: async (signal) => {
      if (signal !== undefined) child.kill(signal)
      const [status] = (await closed) as [number | null]
      return status
    },
  }
}

test.serial('a trace of what a client does, and a clean end', async (t) => {
  const { path, lines, end, errors } = await serving(t, devices.nvme, () => [
    '--trace',
    '--json',
    '--mode',
    '640',
  ])
  t.is(statSync(path).mode & 0o777, 0o640)
  const device = await VfioDevice.connect(path, { watch: false })
  device.config.command.memorySpace = true
  device.region('bar0').read32(8)
  await device.close()
  await until(() => lines().some((line) => line.includes('"reset"')), 'the reset')
  t.is(await end('SIGTERM'), 0, errors())
  const said = lines().map((line) => JSON.parse(line) as Record<string, unknown>)
  t.like(said[0], { schema: 'vfio-serve/1', event: 'listening', device: devices.nvme })
  t.true(
    said.some(
      ({ event, space, offset, width }) =>
        event === 'read' && space === 'bar0' && offset === 8 && width === 4,
    ),
  )
  t.true(said.some(({ event, space, offset }) => event === 'write' && space === 'config' && offset === 4))
  t.deepEqual(
    said
      .map(({ event }) => event)
      .filter((event) => !['read', 'write', 'interrupts'].includes(event as string)),
    ['listening', 'connected', 'gone', 'reset'],
  )
  await withDevice('nvme', (own) => t.is(own.config.vendorId, 0x1b36))
})

test.serial('a policy of a file decides about each access', async (t) => {
  const { path, end, errors } = await serving(t, devices.nvme, (folder) => {
    const file = join(folder, 'policy.mjs')
    writeFileSync(
      file,
      `export default ({ space, offset, written }) => {
        if (space === 'bar0' && offset === 8) return { replace: 0x00020000n }
        if (space === 'bar0' && offset === 0x14 && written !== undefined) return { deny: 'EACCES' }
        if (space === 'bar0' && offset === 0x1c) throw new Error('a bug')
      }`,
    )
    return ['--policy', file]
  })
  const device = await VfioDevice.connect(path, { watch: false })
  device.config.command.memorySpace = true
  const bar0 = device.region('bar0')
  t.is(bar0.read32(8), 0x0002_0000)
  t.is(t.throws(() => bar0.write32(0x14, 1), { instanceOf: VfioError }).code, 'EACCES')
  t.is(bar0.read32(0x14) & 1, 0)
  t.throws(() => bar0.read32(0x1c), { instanceOf: VfioError })
  t.is(bar0.read32(8), 0x0002_0000)
  await device.close()
  t.is(await end('SIGINT'), 0, errors())
})

test.serial('a device without a reset is served once, and the command says why it ends', async (t) => {
  const { path, end, errors } = await serving(t, devices.edu, () => [])
  const device = await VfioDevice.connect(path, { watch: false })
  await device.close()
  t.is(await end(), 1)
  t.regex(errors(), /has no reset/)
})

test.serial('what cannot be served is said before a socket is there', async (t) => {
  const busy = await serving(t, devices.nvme, () => ['--group', 'no-such-group'])
  t.is(await busy.end(), 2)
  t.regex(busy.errors(), /no group no-such-group/)
  const missing = await serving(t, devices.nvme, (folder) => ['--policy', join(folder, 'none.mjs')])
  t.is(await missing.end(), 2)
  const other = await serving(t, '0000:00:1f.7', () => [])
  t.is(await other.end(), 1)
  t.regex(other.errors(), /0000:00:1f\.7/)
})
