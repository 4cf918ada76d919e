// Loading the addon, its absence, and the two ways to watch its calls.
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import test from 'ava'

import { EventFd, GuestMemory } from '../../ts/index.js'
import type { CallMessage } from '../../ts/native/index.js'
import { inChild, packageUrl } from './support.js'

const USE = `const { EventFd } = await import(${JSON.stringify(packageUrl)})
  try { new EventFd() } catch (error) { console.log(JSON.stringify({ ...error, message: error.message, cause: Boolean(error.cause) })) }`

interface Printed {
  code: string
  reason: string
  remedy: string
  cause: boolean
}

test('where the addon cannot be loaded the package imports, and the first call says what to do', async (t) => {
  const { status, stdout, stderr } = await inChild(USE, {
    bare: true,
    env: { NODE_VFIO_ADDON: '/nonexistent/node_vfio.node' },
  })
  t.is(status, 0, stderr)
  const error = JSON.parse(stdout) as Printed
  t.is(error.reason, 'no-addon')
  t.is(error.code, 'ENOSYS')
  t.is(
    error.remedy,
    'NODE_VFIO_ADDON names /nonexistent/node_vfio.node: there is no such file. Correct the variable, or unset it.',
  )
  t.true(error.cause)
})

test('on another platform too', async (t) => {
  const { status, stdout, stderr } = await inChild(
    `Object.defineProperty(process, 'platform', { value: 'darwin' })\n${USE}`,
    { bare: true },
  )
  t.is(status, 0, stderr)
  const error = JSON.parse(stdout) as Printed
  t.is(error.reason, 'no-addon')
  t.regex(error.remedy, /Linux only/)
})

test.serial('the diagnostics channel has every cold call, the refused ones with their errno', (t) => {
  const messages: CallMessage[] = []
  const listener = (message: unknown): void => {
    messages.push(message as CallMessage)
  }
  subscribe('node-vfio:call', listener)
  try {
    const memory = GuestMemory.create(4096)
    memory.close()
    t.throws(() => EventFd.claim({ vfio: 'EventFd', id: 2 ** 50 }))
  } finally {
    unsubscribe('node-vfio:call', listener)
  }
  new EventFd().close()
  t.deepEqual(
    messages.map(({ name }) => name),
    ['memoryCreate', 'memoryInfo', 'handlePark', 'handleRelease', 'handleClaim'],
  )
  t.deepEqual(
    messages.map(({ errno }) => errno),
    [0, 0, 0, 0, 2],
  )
  t.deepEqual(messages[0]?.arguments, [4096, 0, null])
  t.true(messages.every(({ durationMicros }) => durationMicros >= 0))
})

test.serial('an asynchronous call is published when it has ended', async (t) => {
  const { status, stdout, stderr } = await inChild(`
    const { subscribe } = await import('node:diagnostics_channel')
    subscribe('node-vfio:call', ({ name, errno }) => console.log(name, errno))
    const memory = vfio.GuestMemory.create(1)
    const done = addon().handleDestroy(memory.native)
    console.log('started')
    await done
    await null`)
  t.is(status, 0, stderr)
  t.is(stdout, 'memoryCreate 0\nmemoryInfo 0\nstarted\nhandleDestroy 0\n')
})

test('NODE_DEBUG=vfio prints the calls', async (t) => {
  const { status, stderr } = await inChild(
    `vfio.GuestMemory.create(1).close()
    try { vfio.EventFd.claim({ vfio: 'EventFd', id: 77777 }) } catch {}`,
    { env: { NODE_DEBUG: 'vfio' } },
  )
  t.is(status, 0, stderr)
  t.regex(stderr, /VFIO \d+: memoryCreate\(\[ 4096, 0.*\) ok \d+us/)
  t.regex(stderr, /handleClaim\(\[ 77777.*\) VfioError: claim.*ENOENT/)
})
