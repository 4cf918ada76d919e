// Listeners: who connects is accepted, in the event loop and by a thread that blocks; the file comes and goes with the listener.
import { existsSync, lstatSync, mkdirSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import test, { type ExecutionContext } from 'ava'

import { VfioError } from '../../../ts/errors.js'
import { Connection } from '../../../ts/vfio-user/transport/connection.js'
import { Listener } from '../../../ts/vfio-user/transport/listener.js'
import { temporaryFolder } from '../../temporary.js'
import { ended, inChild, inWorker, message, SANITIZED } from '../support.js'
import { numbersIn, openDescriptors, OPTIONS, ownFd, sendMessage } from './transport.js'

function refused(t: ExecutionContext, code: string, call: () => unknown): VfioError {
  const error = t.throws<VfioError>(call, { instanceOf: VfioError })
  t.is(error.code, code, error.message)
  return error
}

test.serial('peers are accepted in the event loop, with what they sent already', async (t) => {
  const path = join(temporaryFolder(t, 'listener'), 's')
  const before = openDescriptors()
  const listener = Listener.listen(path, OPTIONS, { mode: 0o600 })
  t.is(lstatSync(path).mode & 0o777, 0o600)
  const numbers: number[] = []
  let seen = 0
  let ends = 0
  const done = new Promise<void>((resolve) => {
    listener.accept((connection) => {
      seen++
      t.is(connection.peer.pid, process.pid)
      connection.onMessages(
        () => numbers.push(...numbersIn(connection)),
        () => {
          connection.close()
          if (++ends === 20) resolve()
        },
      )
    })
  })
  for (let i = 0; i < 20; i++) {
    const peer = Connection.connect(path, OPTIONS)
    sendMessage(peer, 32, i)
    peer.close()
    if (i % 8 === 7) await sleep(1)
  }
  await done
  t.is(seen, 20)
  t.deepEqual(
    numbers.sort((a, b) => a - b),
    Array.from({ length: 20 }, (_, i) => i),
  )
  listener.close()
  listener.close()
  t.false(existsSync(path), 'the file goes with the listener')
  refused(t, 'ENOENT', () => Connection.connect(path, OPTIONS))
  t.is(openDescriptors(), before)
})

test.serial('a thread that blocks accepts too, and gives up in time', (t) => {
  const path = join(temporaryFolder(t, 'listener'), 's')
  using listener = Listener.listen(path, OPTIONS)
  t.is(listener.acceptSync(0), undefined)
  const start = performance.now()
  t.is(listener.acceptSync(150), undefined)
  t.true(performance.now() - start >= 149)
  const peer = Connection.connect(path, OPTIONS)
  const connection = listener.acceptSync(1000)!
  sendMessage(peer, 20, 1)
  t.is(connection.wait(1000), 1)
  peer.close()
  connection.close()
})

test.serial('a queue that is full is told at once', (t) => {
  const path = join(temporaryFolder(t, 'listener'), 's')
  using listener = Listener.listen(path, OPTIONS, { backlog: 0 })
  const peers: Connection[] = []
  const error = t.throws<VfioError>(
    () => {
      for (;;) peers.push(Connection.connect(path, OPTIONS))
    },
    { instanceOf: VfioError },
  )
  t.is(error.code, 'EAGAIN')
  t.is(peers.length, 1)
  for (const peer of peers) peer.close()
  t.false(listener.closed)
})

test.serial("a socket's file that nobody listens to is replaced", async (t) => {
  const path = join(temporaryFolder(t, 'listener'), 's')
  // A process that ends without a chance to remove its file.
  await inChild(
    `const { createServer } = await import('node:net')
    createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))
    await new Promise(() => setInterval(() => undefined, 1000))`,
    { bare: true },
  )
  t.true(lstatSync(path).isSocket())
  refused(t, 'EADDRINUSE', () => Listener.listen(path, OPTIONS, { replaceStale: false }))
  const listener = Listener.listen(path, OPTIONS)
  Connection.connect(path, OPTIONS).close()
  listener.close()
})

test.serial('what a path may be', async (t) => {
  const folder = temporaryFolder(t, 'listener')
  const file = join(folder, 'file')
  writeFileSync(file, 'x')
  refused(t, 'EADDRINUSE', () => Listener.listen(file, OPTIONS))
  t.true(existsSync(file))
  mkdirSync(join(folder, 'folder'))
  refused(t, 'EADDRINUSE', () => Listener.listen(join(folder, 'folder'), OPTIONS))
  refused(t, 'ENOENT', () => Listener.listen(join(folder, 'none', 's'), OPTIONS))
  refused(t, 'ENAMETOOLONG', () => Listener.listen(join(folder, 'x'.repeat(120)), OPTIONS))
  refused(t, 'ENAMETOOLONG', () => Connection.connect(join(folder, 'x'.repeat(120)), OPTIONS))
  t.throws(() => Listener.listen('a\0b', OPTIONS), { instanceOf: TypeError })
  t.throws(() => Listener.listen(5 as never, OPTIONS), { instanceOf: TypeError })
  t.throws(() => Listener.listen(file, OPTIONS, { backlog: -1 }), { instanceOf: RangeError })
  refused(t, 'EINVAL', () => Connection.connect('', OPTIONS))
  const path = join(folder, 's')
  const listener = Listener.listen(path, OPTIONS)
  refused(t, 'EADDRINUSE', () => Listener.listen(path, OPTIONS))
  // Somebody put another there: that one stays.
  renameSync(path, join(folder, 'moved'))
  writeFileSync(path, 'y')
  listener.close()
  t.true(existsSync(path))
  const error = refused(t, 'ECONNREFUSED', () => Connection.connect(join(folder, 'moved'), OPTIONS))
  t.regex(error.remedy ?? '', /Nobody listens/)
  const own = join(folder, 'own')
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(own, resolve))
  refused(t, 'EADDRINUSE', () => Listener.listen(own, OPTIONS))
  await new Promise((resolve) => server.close(resolve))
})

test.serial('descriptors that are no sockets of ours stay with the caller', (t) => {
  const before = openDescriptors()
  const zero = ownFd()
  const path = join(temporaryFolder(t, 'listener'), 's')
  const [one, other] = Connection.pair(OPTIONS)
  const listener = Listener.listen(path, OPTIONS)
  refused(t, 'ENOTSOCK', () => Connection.fromFd(zero.fd, OPTIONS))
  refused(t, 'EBADF', () => Connection.fromFd(1_000_000, OPTIONS))
  refused(t, 'ENOTCONN', () => Connection.fromFd(listener.fd, OPTIONS))
  refused(t, 'EINVAL', () => Listener.fromFd(one.fd, OPTIONS))
  t.false(listener.closed)
  one.close()
  other.close()
  listener.close()
  zero.close()
  t.is(openDescriptors(), before)
})

test.serial('ten thousand peers, one after another', async (t) => {
  const path = join(temporaryFolder(t, 'listener'), 's')
  const count = SANITIZED ? 500 : 10_000
  const { status, stdout, stderr } = await inChild(
    `const { Connection } = await import(${JSON.stringify(new URL('../../../ts/vfio-user/transport/connection.js', import.meta.url).href)})
    const { Listener } = await import(${JSON.stringify(new URL('../../../ts/vfio-user/transport/listener.js', import.meta.url).href)})
    const { readdirSync } = await import('node:fs')
    const options = { framing: { lengthOffset: 4, headerBytes: 16, maxMessage: 2 ** 20 } }
    const listener = Listener.listen(${JSON.stringify(path)}, options)
    let ends = 0
    listener.accept((connection) => {
      connection.onMessages(() => undefined, () => { ends++; connection.close() })
    })
    const open = () => readdirSync('/proc/self/fd').length
    await new Promise(setImmediate)
    const before = open()
    let rss
    for (let i = 0; i < ${String(count)}; i++) {
      const peer = Connection.connect(${JSON.stringify(path)}, options)
      if (i % 2 === 0) peer.send(1 + i % 40)
      peer.close()
      while (ends < i - 8) await new Promise(setImmediate)
      if (i === ${String(count / 2)}) rss = process.memoryUsage.rss()
    }
    while (ends < ${String(count)}) await new Promise(setImmediate)
    console.log(ends, open() - before, process.memoryUsage.rss() - rss < 100e6)
    listener.close()`,
  )
  t.is(status, 0, stderr)
  t.is(stdout, `${String(count)} 0 true\n`)
})

// The sanitizers look at memory through pipes.
const whereDescriptorsMayRunOut = SANITIZED ? test.serial.skip : test.serial
const suffix = SANITIZED ? ' (only without a sanitizer, which needs descriptors itself)' : ''

whereDescriptorsMayRunOut(
  `a process without descriptors for a peer says so, and accepts it later${suffix}`,
  async (t) => {
    const path = join(temporaryFolder(t, 'listener'), 's')
    const { status, stdout, stderr } = await inChild(
      `const { Connection } = await import(${JSON.stringify(new URL('../../../ts/vfio-user/transport/connection.js', import.meta.url).href)})
    const { Listener } = await import(${JSON.stringify(new URL('../../../ts/vfio-user/transport/listener.js', import.meta.url).href)})
    const { openSync, closeSync } = await import('node:fs')
    const options = { framing: { lengthOffset: 4, headerBytes: 16, maxMessage: 4096 } }
    const listener = Listener.listen(${JSON.stringify(path)}, options)
    const said = []
    const filled = []
    const accepted = new Promise((resolve) => listener.accept(resolve, (error) => {
      said.push(error.code)
      for (const fd of filled) closeSync(fd)
    }))
    const peer = Connection.connect(${JSON.stringify(path)}, options)
    try { for (;;) filled.push(openSync('/dev/null')) } catch {}
    const connection = await accepted
    connection.close()
    peer.close()
    listener.close()
    console.log(said.join())`,
      { wrapper: ['sh', '-c', 'ulimit -n 100; exec "$@"', 'sh'] },
    )
    t.is(status, 0, stderr)
    t.is(stdout, 'EMFILE\n')
  },
)

test.serial('a Worker accepts from the listener of another', async (t) => {
  const path = join(temporaryFolder(t, 'listener'), 's')
  const listener = Listener.listen(path, OPTIONS)
  const worker = inWorker(
    `const { Listener } = await import(${JSON.stringify(new URL('../../../ts/vfio-user/transport/listener.js', import.meta.url).href)})
    const listener = Listener.claim(data)
    port.postMessage('up')
    const connection = listener.acceptSync(10000)
    connection.wait(10000)
    port.postMessage(connection.length(0))
    connection.close()
    listener.close()`,
    listener.share(),
  )
  t.is(await message(worker), 'up')
  const peer = Connection.connect(path, OPTIONS)
  sendMessage(peer, 44, 1)
  t.is(await message(worker), 44)
  t.is(await ended(worker), 0)
  peer.close()
  listener.close()
})
