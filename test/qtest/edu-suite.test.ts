// The rig's tests of its edu, as they are, on the edu in TypeScript by way of its socket. The third way, in a guest of stock QEMU
// with vfio-pci, is test/user-guests/edu.test.ts.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import test from 'ava'

import { temporaryFolder } from '../temporary.js'

const ROOT = fileURLToPath(new URL('../../..', import.meta.url))
const SERVER = fileURLToPath(new URL('../../examples/devices/main.js', import.meta.url))

/** Those of edu that ask for nothing but edu: no other device, no IOMMU, no huge pages, no sysfs. */
const TESTS = [
  'edu takes 4 bytes and nothing else, *',
  'factorials, *',
  'what is refused before the device sees it, *',
  'what edu has',
  'an MSI arrives in an eventfd',
  '1,000 MSIs in a closed loop, none lost and none made up',
  'for await on an MSI',
  'closing the device ends a for await on its interrupt',
  'an INTx is masked when it fires, and fires again on unmask while the line is up',
  'a mask holds an INTx back until it is taken away',
  'an eventfd unmasks an INTx in the kernel',
  'a line that stays up costs one handler call at a time',
  'an INTx listener that closes itself in its handler leaves the line to the next',
  'a handler of an INTx that throws or rejects does not leave it masked',
  'listen() on a poller of one’s own, and again after close',
  '4 KiB to the device and back, in two halves',
  'DMA to an IOVA that nothing maps is stopped by the IOMMU, and the process lives',
  'map and unmap, both forms, of whole memory and of views',
  'a device takes its memory with it when it closes',
]
/** Those that run twice, mapped and through the file, are three. */
const COUNT = TESTS.length + 3

test('edu in TypeScript passes the tests of edu by way of its socket', async (t) => {
  t.timeout(180_000)
  const path = join(temporaryFolder(t, 'edu'), 's')
  const server = spawn(process.execPath, [SERVER, 'edu', '--socket-path', path], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  t.teardown(() => server.kill('SIGTERM'))
  await once(createInterface({ input: server.stdout }), 'line')
  const files = ['registers', 'interrupts', 'dma'].map((name) => `out/test/rig/${name}.test.js`)
  const rig = { kernel: '', built: false, image: '', iommu: 'none', devices: { edu: `user:${path}` } }
  const ava = ['node_modules/ava/entrypoints/cli.mjs', '--serial', '--concurrency', '1', '--timeout', '2m']
  const child = spawn(process.execPath, [...ava, ...TESTS.flatMap((title) => ['--match', title]), ...files], {
    cwd: ROOT,
    env: { ...process.env, NODE_VFIO_RIG: JSON.stringify(rig), FORCE_COLOR: '0' },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  t.teardown(() => child.kill('SIGKILL'))
  const said = Promise.all([text(child.stdout), text(child.stderr)])
  const [status] = (await once(child, 'close')) as [number | null]
  const [out, err] = await said
  t.is(status, 0, `${out}\n${err}`)
  t.regex(out, new RegExp(`${COUNT} tests passed`), out)
})
