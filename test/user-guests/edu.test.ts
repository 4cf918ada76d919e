// The rig's machine with the example's edu in the place of QEMU's: the driver of the other, and the rig's own tests of registers,
// interrupts and DMA, run unchanged, by VFIO in the guest and behind its emulated IOMMU. By way of the socket alone they are run by
// test/qtest/edu-suite.test.ts.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { PassThrough } from 'node:stream'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import test from 'ava'

import { socketPath } from '../qtest/served.js'

interface Rig {
  runInRig(options: {
    command: readonly string[]
    cwd: string
    timeout: number
    userDevices: Record<string, string>
    stdout: PassThrough
    stderr: PassThrough
  }): Promise<{ status: number; reason?: string }>
  DEVICES: { edu: { address: string } }
}

const RIG = new URL('../../../rig/index.mjs', import.meta.url).href
const ROOT = fileURLToPath(new URL('../../..', import.meta.url))
const SERVER = fileURLToPath(new URL('../../examples/devices/main.js', import.meta.url))

// Zeroing the page of 1 GiB takes 25 seconds in emulation where memory is in a file, and minutes beside other machines: time enough
// for a bound of three to be over in one test.
const AVA = 'node node_modules/ava/entrypoints/cli.mjs --serial --concurrency 1 --timeout 8m'
const TESTS = ['registers', 'interrupts', 'dma'].map((name) => `out/test/rig/${name}.test.js`).join(' ')

test('edu in TypeScript passes for the edu of the rig: its driver, and its tests', async (t) => {
  t.timeout(14 * 60_000)
  const path = socketPath(t)
  const server = spawn(process.execPath, [SERVER, 'edu', '--socket-path', path], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  t.teardown(() => server.kill('SIGTERM'))
  await once(createInterface({ input: server.stdout }), 'line')
  const { runInRig, DEVICES } = (await import(RIG)) as Rig
  const [stdout, stderr] = [new PassThrough(), new PassThrough()]
  const said = Promise.all([text(stdout), text(stderr)])
  const { status, reason } = await runInRig({
    command: ['sh', '-c', `node build-demo/examples/edu-demo.js ${DEVICES.edu.address} && ${AVA} ${TESTS}`],
    cwd: ROOT,
    timeout: 13 * 60,
    userDevices: { edu: path },
    stdout,
    stderr,
  })
  stdout.end()
  stderr.end()
  const [out, err] = await said
  t.is(status, 0, `${reason ?? ''}\n${out}\n${err}`)
  t.regex(out, /12! right, 4096 bytes equal, 10000 of 10000 interrupts/)
  t.regex(out, /\d+ tests passed/)
})
