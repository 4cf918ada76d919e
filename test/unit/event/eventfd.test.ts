// EventFd on its own: the counter, its bounds, adoption of descriptors, and what a closed one answers.
import { spawnSync } from 'node:child_process'
import { closeSync, openSync, readlinkSync, writeSync } from 'node:fs'
import test from 'ava'

import { EventFd, GuestMemory, VfioError, type ShareToken } from '../../../ts/index.js'
import { inChild, packageUrl } from '../support.js'

const closed = { instanceOf: VfioError, code: 'EBADF' }

test('signals add up and a read takes them all', (t) => {
  using eventfd = new EventFd()
  t.is(eventfd.read(), 0)
  eventfd.signal()
  eventfd.signal(undefined)
  eventfd.signal(40)
  t.is(eventfd.read(), 42)
  t.is(eventfd.read(), 0)
  t.is(readlinkSync(`/proc/self/fd/${String(eventfd.fd)}`), 'anon_inode:[eventfd]')
})

test('starts with its initial count', (t) => {
  using eventfd = new EventFd({ initial: 0xffff_ffff })
  t.is(eventfd.read(), 0xffff_ffff)
})

test('a semaphore gives one at a time', (t) => {
  using eventfd = new EventFd({ initial: 2, semaphore: true })
  t.deepEqual([eventfd.read(), eventfd.read(), eventfd.read()], [1, 1, 0])
})

test('wrong options and values are refused before the kernel is asked', (t) => {
  const make = (options: unknown) => () => new EventFd(options as never)
  for (const options of [null, 5, 'x', { initial: '1' }, { initial: 1n }, { semaphore: 1 }]) {
    t.throws(make(options), { instanceOf: TypeError }, String(options))
  }
  for (const initial of [-1, 0.5, 2 ** 32, NaN, Infinity])
    t.throws(make({ initial }), { instanceOf: RangeError })

  using eventfd = new EventFd()
  const signal = (value: unknown) => () => {
    eventfd.signal(value as never)
  }
  for (const value of [null, '1', 1n, {}, Symbol('x'), true])
    t.throws(signal(value), { instanceOf: TypeError })
  for (const value of [0, -1, 1.5, NaN, Infinity, -Infinity, 2 ** 53, 1e300]) {
    t.throws(signal(value), { instanceOf: RangeError }, String(value))
  }
  t.is(eventfd.read(), 0)
  eventfd.signal(Number.MAX_SAFE_INTEGER)
  t.is(eventfd.read(), Number.MAX_SAFE_INTEGER)
})

test('a full counter is EAGAIN with a remedy, and is read as the positive number it is', (t) => {
  using eventfd = new EventFd()
  const most = Buffer.alloc(8)
  most.writeBigUInt64LE(0xffff_ffff_ffff_fffen)
  writeSync(eventfd.fd, most)
  const error = t.throws(
    () => {
      eventfd.signal()
    },
    { instanceOf: VfioError, code: 'EAGAIN' },
  )
  t.is(error.syscall, 'eventfd write')
  t.regex(error.remedy ?? '', /read it/)
  t.is(eventfd.read(), 2 ** 64)
  t.is(eventfd.read(), 0)
})

test('giveBack takes counts that signal() does not', (t) => {
  using eventfd = new EventFd()
  eventfd.giveBack(2 ** 60)
  t.is(eventfd.read(), 2 ** 60)
})

test('fromFd takes ownership, and refuses what is no eventfd without closing it', (t) => {
  const fd = openSync('/dev/null', 'r')
  t.throws(() => EventFd.fromFd(fd), { instanceOf: VfioError, code: 'EINVAL', message: /not an eventfd/ })
  t.notThrows(() => {
    closeSync(fd)
  })
  t.throws(() => EventFd.fromFd(fd), { instanceOf: VfioError, code: 'EBADF' })
  for (const wrong of [-1, 0.5, NaN, 2 ** 31])
    t.throws(() => EventFd.fromFd(wrong), { instanceOf: RangeError })
  for (const wrong of ['3', 3n, null, undefined]) {
    t.throws(() => EventFd.fromFd(wrong as never), { instanceOf: TypeError })
  }
})

test('an adopted eventfd that could block no longer does', async (t) => {
  const program = `const { EventFd } = await import(${JSON.stringify(packageUrl)})
    const eventfd = EventFd.fromFd(Number(process.argv[1]))
    eventfd.signal(3)
    console.log(eventfd.read(), eventfd.read())
    eventfd.close()
    const { existsSync } = await import('node:fs')
    console.log(existsSync('/proc/self/fd/' + process.argv[1]))`
  const python = `import ctypes, os, sys
fd = ctypes.CDLL(None).eventfd(0, 0)
os.set_inheritable(fd, True)
os.execv(sys.argv[1], [sys.argv[1], '--input-type=module', '-e', sys.argv[2], str(fd)])`
  const { status, stdout, stderr, error } = spawnSync('python3', ['-c', python, process.execPath, program], {
    encoding: 'utf8',
    timeout: 30_000,
  })
  t.is(status, 0, `${String(error)} ${stderr}`)
  t.is(stdout, '3 0\nfalse\n')
  await Promise.resolve()
})

test('close is idempotent, and a closed one throws without reaching the recycled number', (t) => {
  const eventfd = new EventFd()
  const { fd } = eventfd
  // Both hot functions exist before the close, so that they are what is tested.
  eventfd.signal()
  t.is(eventfd.read(), 1)
  eventfd.close()
  eventfd.close()
  t.true(eventfd.closed)
  const others: EventFd[] = []
  while (!others.some((other) => other.fd === fd) && others.length < 64) others.push(new EventFd())
  const heir = others.find((other) => other.fd === fd)
  t.truthy(heir, 'the number was recycled')
  const calls: [string, () => unknown][] = [
    [
      'signal',
      () => {
        eventfd.signal()
      },
    ],
    ['read', () => eventfd.read()],
    ['fd', () => eventfd.fd],
    ['share', () => eventfd.share()],
    ['iterate', () => eventfd[Symbol.asyncIterator]()],
  ]
  for (const [name, call] of calls) {
    const error = t.throws(call, closed, name)
    t.is(error.reason, 'closed', name)
    t.regex(error.message, /closed/, name)
  }
  t.is(heir?.read(), 0)
  for (const other of others) other.close()
})

test('using closes it', (t) => {
  let kept: EventFd
  {
    using eventfd = new EventFd()
    kept = eventfd
  }
  t.true(kept.closed)
})

test('share and claim give a second holder of the same counter', (t) => {
  const first = new EventFd()
  const token = structuredClone(first.share())
  const second = EventFd.claim(token)
  t.is(second.fd, first.fd)
  first.signal(5)
  first.close()
  t.is(second.read(), 5)
  const third = EventFd.claim(token)
  second.close()
  third.close()
  const error = t.throws(() => EventFd.claim(token), { instanceOf: VfioError, code: 'ENOENT' })
  t.is(error.reason, 'stale-token')
})

test('a token of another kind, or none, is a TypeError and takes nothing', (t) => {
  using memory = GuestMemory.create(1)
  using eventfd = new EventFd()
  const claim = (token: unknown) => () => EventFd.claim(token as ShareToken)
  t.throws(claim(memory.share()), { instanceOf: TypeError, message: /GuestMemory/ })
  t.throws(claim({ ...memory.share(), vfio: 'EventFd' }), {
    instanceOf: TypeError,
    message: /names a memory/,
  })
  for (const token of [
    null,
    undefined,
    1,
    {},
    { vfio: 'EventFd' },
    { vfio: 'EventFd', id: 0.5 },
    { vfio: 'EventFd', id: -1 },
  ]) {
    t.throws(claim(token), { instanceOf: TypeError })
  }
  t.throws(claim({ vfio: 'EventFd', id: 2 ** 50 }), { instanceOf: VfioError, code: 'ENOENT' })
  t.is(eventfd.share().id, eventfd.share().id)
})

test('what is collected unclosed is closed, with a warning', async (t) => {
  const { status, stdout, stderr } = await inChild(
    `process.on('warning', (warning) => console.log(warning.name, warning.message))
    const count = () => support.held().descriptors.length
    const before = count()
    ;(() => new vfio.EventFd().signal())()
    console.log(count() - before)
    for (let i = 0; i < 50 && count() > before; i++) {
      gc()
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
    console.log(count() - before)`,
    { args: ['--expose-gc'] },
  )
  t.is(status, 0, stderr)
  t.is(stdout, '1\nVfioLeakWarning EventFd was garbage-collected without close(); it is closed now\n0\n')
})

test('one whose descriptor a child process has made blocking is read without waiting', (t) => {
  using eventfd = new EventFd()
  const program = 'import fcntl; fcntl.fcntl(3, fcntl.F_SETFL, 0)'
  const child = spawnSync('python3', ['-c', program], {
    stdio: ['ignore', 'inherit', 'inherit', eventfd.fd],
  })
  t.is(child.status, 0)
  t.is(eventfd.read(), 0)
  eventfd.signal(2)
  t.is(eventfd.read(), 2)
})
