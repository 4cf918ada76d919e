// The guide's device, run as it is printed, by a process of its own; and the guide's claims about it.
import test from 'ava'
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'

import { EventFd } from '../../../ts/event/eventfd.js'
import { GuestMemory } from '../../../ts/memory/guest-memory.js'
import { temporaryFolder } from '../../temporary.js'
import { read } from '../claims.js'
import { Peer, own, until } from './server/peer.js'

const PAGE = 'docs/user-devices.md'

/** The programs of a page, in order. */
function programsOf(page: string): string[] {
  return [...read(page).matchAll(/^```js\n([^]*?)^```/gm)].map(([, code = '']) => code)
}

test("the guide's device is of thirty lines, and adds up what a driver has it add", async (t) => {
  const [program = ''] = programsOf(PAGE)
  t.true(program.split('\n').filter((line) => line.trim() !== '').length <= 30)
  const path = join(temporaryFolder(t, 'guide'), 'adder.sock')
  const code = program
    .replace(
      "'node-vfio/vfio-user'",
      JSON.stringify(new URL('../../../ts/vfio-user/index.js', import.meta.url).href),
    )
    .replace("'/run/adder.sock'", JSON.stringify(path))
  const child = spawn(process.execPath, ['--input-type=module', '--eval', code], {
    stdio: ['ignore', 'inherit', 'pipe'],
  })
  let said = ''
  child.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()))
  t.teardown(() => child.kill('SIGKILL'))
  await until(() => existsSync(path))

  const peer = Peer.connect(t, path)
  await peer.negotiate()
  await peer.master()
  const memory = own(t, GuestMemory.create(0x1000))
  new Uint8Array(memory.buffer).fill(3, 0x100, 0x200)
  await peer.map(memory, 0x1_0000_0000n, 0x1000n)
  const interrupt = own(t, new EventFd())
  await peer.irqs(2, 0, [interrupt])
  await peer.write32(0, 0x00, 0x80)
  await peer.write32(0, 0x04, 1)
  await peer.write32(0, 0x08, 0x100)
  await peer.write32(0, 0x0c, 1)
  t.is(await peer.read32(0, 0x10), 3 * 0x80)
  t.is(interrupt.read(), 1)
  await peer.write32(0, 0x04, 7)
  await peer.write32(0, 0x0c, 1)
  await until(() => said.includes('EFAULT'))
  t.regex(said, /EFAULT/)
  t.is(await peer.read32(0, 0x10), 3 * 0x80)

  const exit = new Promise((resolve) => child.once('exit', resolve))
  child.kill('SIGTERM')
  t.is(await exit, 0)
  t.false(existsSync(path))
})
