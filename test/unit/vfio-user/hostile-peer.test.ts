// What a peer may do to a connection that is not as it should be: it ends with the reason, or goes on; no descriptor stays, nothing
// grows, nobody hangs.
import { closeSync } from 'node:fs'
import { setImmediate as turn, setTimeout as sleep } from 'node:timers/promises'
import test from 'ava'

import { Connection } from '../../../ts/vfio-user/transport/connection.js'
import type { ConnectionEnd, EndReason } from '../../../ts/vfio-user/transport/end.js'
import { inChild, SANITIZED, until } from '../support.js'
import {
  compose,
  MOST,
  numberOf,
  numbersIn,
  openDescriptors,
  OPTIONS,
  ownFd,
  sendMessage,
} from './transport.js'

/** Sends bytes as they are. */
function sendRaw(connection: Connection, bytes: Uint8Array, fds?: number[]): boolean {
  connection.out.set(bytes)
  return connection.send(bytes.length, fds)
}

function header(length: number): Uint8Array {
  const bytes = new Uint8Array(16)
  new DataView(bytes.buffer).setUint32(4, length, true)
  return bytes
}

for (const [length, reason] of [
  [MOST + 1, 'too-long'],
  [0xffff_ffff, 'too-long'],
  [15, 'too-short'],
  [0, 'too-short'],
] as [number, EndReason][]) {
  test.serial(`a header that says ${String(length)} ends the connection, after what came before it`, (t) => {
    const [one, other] = Connection.pair(OPTIONS)
    sendMessage(one, 40, 1)
    sendMessage(one, 50, 2)
    sendRaw(one, header(length))
    t.is(other.receive(), 2)
    t.deepEqual(numbersIn(other), [1, 2])
    t.true(other.more)
    t.is(other.ended, undefined)
    t.is(other.receive(), 0)
    t.is(other.ended?.reason, reason)
    t.is(other.receive(), 0)
    t.is(other.wait(), 0, 'a wait does not block any more')
    t.false(sendMessage(other, 20))
    t.is(one.wait(1000), 0)
    t.is(one.ended?.reason, 'peer-gone', 'the peer is told')
    one.close()
    other.close()
  })
}

test.serial('a handler is told once of a peer that sends garbage', async (t) => {
  const [one, other] = Connection.pair(OPTIONS)
  const ends: ConnectionEnd[] = []
  const numbers: number[] = []
  other.onMessages(
    (connection) => numbers.push(...numbersIn(connection)),
    (end) => ends.push(end),
  )
  sendMessage(one, 40, 1)
  sendRaw(one, new Uint8Array(5000))
  await until(() => ends.length > 0)
  await sleep(20)
  t.deepEqual(numbers, [1])
  t.deepEqual(
    ends.map(({ reason }) => reason),
    ['too-short'],
  )
  one.close()
  other.close()
})

test.serial('half a message and silence is nothing, half a message and the end is an end', (t) => {
  for (const part of [1, 7, 15, 16, 17, 99]) {
    const [one, other] = Connection.pair(OPTIONS)
    compose(one, 100, 3)
    one.send(part)
    t.is(other.receive(), 0)
    t.is(other.wait(5), 0)
    t.is(other.ended, undefined)
    one.close()
    t.is(other.wait(1000), 0)
    t.is(other.ended?.reason, 'cut-short')
    other.close()
  }
})

test.serial('bytes that come one by one make the same messages', (t) => {
  const [one, other] = Connection.pair(OPTIONS)
  const numbers: number[] = []
  const all = new Uint8Array(16 + 21 + 40)
  for (const [at, length, number] of [
    [0, 16, 1],
    [16, 21, 2],
    [37, 40, 3],
  ] as const) {
    compose(one, length, number)
    all.set(one.out.subarray(0, length), at)
  }
  for (const byte of all) {
    sendRaw(one, Uint8Array.of(byte))
    if (other.receive() > 0) numbers.push(...numbersIn(other))
  }
  t.deepEqual(numbers, [1, 2, 3])
  one.close()
  other.close()
})

/** Numbers that look random and are the same each time. */
function numbersFrom(seed: number): (below: number) => number {
  let state = seed
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return Math.floor((state / 2 ** 32) * below)
  }
}

for (const mode of ['receive()', 'wait()', 'a handler'] as const) {
  test.serial(`messages cut anywhere, with descriptors, arrive as they were: by ${mode}`, async (t) => {
    const before = openDescriptors()
    const zero = ownFd()
    const random = numbersFrom(15)
    for (let round = 0; round < 20; round++) {
      const [one, other] = Connection.pair({ ...OPTIONS, spareBytes: 4096 + random(3) * 30_000 })
      const expected: [number, number][] = []
      const found: [number, number][] = []
      const note = (): void => {
        for (let i = 0; i < other.count; i++) {
          found.push([numberOf(other, i), other.descriptors(i)])
          if (random(2) === 0) for (const fd of other.takeFds(i)) closeSync(fd)
        }
      }
      const take = async (): Promise<void> => {
        one.flush()
        if (mode === 'a handler') await turn()
        else while ((mode === 'wait()' ? other.wait(0, 5) : other.receive()) > 0) note()
      }
      if (mode === 'a handler') other.onMessages(note)
      for (let number = 0; number < 40; number++) {
        const length = 16 + random([20, 200, 5000, 300_000][random(4)] as number)
        const fds = random(3) === 0 ? Array.from({ length: 1 + random(20) }, () => zero.fd) : undefined
        expected.push([number, fds?.length ?? 0])
        compose(one, length, number)
        const whole = one.out.slice(0, length)
        let at = 0
        while (at < length) {
          const part = Math.min(length - at, random(2) === 0 ? length : 1 + random(length))
          t.true(sendRaw(one, whole.subarray(at, at + part), at === 0 ? fds : undefined))
          at += part
          if (random(4) === 0) await take()
        }
      }
      for (let rounds = 0; found.length < expected.length && rounds < 1000; rounds++) await take()
      t.deepEqual(found, expected)
      t.is(other.ended, undefined)
      one.close()
      other.close()
    }
    zero.close()
    t.true(openDescriptors() <= before + 3, 'but for the pollers of the event loop')
  })
}

test.serial('descriptors with bytes at which no message begins end the connection, and are closed', (t) => {
  const before = openDescriptors()
  const zero = ownFd()
  const [one, other] = Connection.pair(OPTIONS)
  compose(one, 100, 3)
  const whole = one.out.slice(0, 100)
  sendRaw(one, whole.subarray(0, 50), [zero.fd])
  t.is(other.receive(), 0)
  sendRaw(one, whole.subarray(50), [zero.fd, zero.fd])
  t.is(other.receive(), 0)
  t.is(other.ended?.reason, 'descriptors')
  other.close()
  one.close()
  zero.close()
  t.is(openDescriptors(), before)
})

test.serial('a flood leaves the event loop its turns, and nothing grows', async (t) => {
  const zero = ownFd()
  const before = openDescriptors()
  const [one, other] = Connection.pair({ ...OPTIONS, queueBytes: 2 ** 20 })
  let received = 0
  let most = 0
  other.onMessages((connection) => {
    received += connection.count
    most = Math.max(most, openDescriptors())
  })
  let sent = 0
  const end = performance.now() + 300
  let turns = 0
  while (performance.now() < end) {
    for (let i = 0; i < 64; i++) {
      if (one.queued > 0) one.flush()
      if (one.queued > 2 ** 18) break
      sendMessage(one, 16 + (sent % 100), 1, sent % 16 === 0 ? [zero.fd, zero.fd] : undefined)
      sent++
    }
    await turn()
    turns++
  }
  for (let rounds = 0; rounds < 1000 && received < sent; rounds++) {
    one.flush()
    await turn()
  }
  t.is(received, sent)
  t.true(turns > 10)
  // What waits in the sender's queue has descriptors of its own.
  t.true(most < before + 4 + (2 ** 20 / 128) * 2, String(most))
  one.close()
  other.close()
  t.is(openDescriptors(), before)
  zero.close()
})

test.serial('a peer that does not read is cut off, and told once of', async (t) => {
  const before = openDescriptors()
  const [one, other] = Connection.pair({ ...OPTIONS, queueBytes: 100_000 })
  const zero = ownFd()
  const ends: string[] = []
  one.onMessages(
    () => undefined,
    ({ reason }) => ends.push(reason),
  )
  let sent = 0
  while (sendMessage(one, 1000, sent, sent % 10 === 0 ? [zero.fd] : undefined)) {
    sent++
    t.true(one.queued <= 100_000)
    if (sent > 10_000) break
  }
  t.true(sent > 90 && sent < 2000, String(sent))
  t.is(one.ended?.reason, 'not-reading')
  t.is(one.queued, 0)
  t.false(sendMessage(one, 20))
  await until(() => ends.length > 0)
  await sleep(20)
  t.deepEqual(ends, ['not-reading'])
  // What went out before is still whole.
  while (other.receive() > 0) t.is(numbersIn(other).length, other.count)
  t.regex(other.ended?.reason ?? '', /^(peer-gone|cut-short)$/)
  one.close()
  other.close()
  zero.close()
  t.is(openDescriptors(), before)
})

test.serial('a process without room for the descriptors closes what came, and the connection', async (t) => {
  const url = new URL('../../../ts/vfio-user/transport/connection.js', import.meta.url).href
  const { status, stdout, stderr } = await inChild(
    `const { Connection } = await import(${JSON.stringify(url)})
    const { openSync, readdirSync, closeSync } = await import('node:fs')
    const options = { framing: { lengthOffset: 4, headerBytes: 16, maxMessage: 4096 } }
    const [one, other] = Connection.pair(options)
    one.outData.setUint32(4, 16, true)
    one.send(16, new Array(200).fill(0))
    const filled = []
    try { for (;;) filled.push(openSync('/dev/null')) } catch {}
    for (const fd of filled.splice(0, 20)) closeSync(fd)
    other.receive()
    let room = 0
    try { for (;;) { openSync('/dev/null'); room++ } } catch {}
    console.log(other.count, other.ended.reason, room)
    process.exit(0)`,
    { wrapper: ['sh', '-c', 'ulimit -n 400; exec "$@"', 'sh'] },
  )
  t.is(status, 0, stderr)
  t.is(stdout, '0 descriptors 20\n')
})

test.serial('ten thousand connections, one after another, leave nothing', async (t) => {
  const before = openDescriptors()
  const count = SANITIZED ? 500 : 10_000
  const start = performance.now()
  for (let i = 0; i < count; i++) {
    const [one, other] = Connection.pair(OPTIONS)
    sendMessage(one, 32, i)
    if (other.receive() !== 1) t.fail()
    if (i % 3 === 0) sendRaw(one, new Uint8Array(20))
    one.close()
    other.close()
    if (i % 100 === 0) await turn()
  }
  t.log(`${((performance.now() - start) / count).toFixed(3)} ms each`)
  t.is(openDescriptors(), before)
})

test.serial('bad arguments are refused before anything is sent', (t) => {
  const [one, other] = Connection.pair(OPTIONS)
  const bad = (call: () => unknown, type: new () => Error): void => {
    t.throws(call, { instanceOf: type })
  }
  for (const length of [0, -1, MOST + 4096 * 2, NaN, Infinity]) {
    bad(() => one.send(length), RangeError)
    bad(() => one.sendBytes(length, new Uint8Array(1)), RangeError)
  }
  bad(() => one.send('16' as unknown as number), RangeError)
  bad(() => one.send(16, [1, 'x'] as unknown as number[]), TypeError)
  bad(() => one.send(16, [-1]), TypeError)
  bad(() => one.send(16, 5 as unknown as number[]), TypeError)
  bad(() => one.send(16, new Array<number>(254).fill(0)), RangeError)
  bad(() => one.sendBytes(16, 'x' as unknown as Uint8Array), TypeError)
  bad(() => one.takeFds(256), RangeError)
  bad(() => one.wait(-1), RangeError)
  bad(() => one.wait(0, 10_001), RangeError)
  bad(() => one.wait(0, -1), RangeError)
  bad(() => {
    one.onMessages(1 as never)
  }, TypeError)
  for (const framing of [
    { lengthOffset: 13, headerBytes: 16, maxMessage: 100 },
    { lengthOffset: -1, headerBytes: 16, maxMessage: 100 },
    { lengthOffset: 0, headerBytes: 3, maxMessage: 100 },
    { lengthOffset: 0, headerBytes: 16, maxMessage: 15 },
    { lengthOffset: 0, headerBytes: 16, maxMessage: 2 ** 27 },
  ]) {
    bad(() => Connection.pair({ framing }), RangeError)
  }
  bad(() => Connection.pair({} as never), TypeError)
  bad(() => Connection.pair({ ...OPTIONS, spareBytes: 1 }), RangeError)
  const error = t.throws(() => one.send(16, [1000_000])) as NodeJS.ErrnoException
  t.is(error.code, 'EBADF')
  t.is(other.receive(), 0)
  t.true(sendMessage(one, 32, 1))
  t.is(other.receive(), 1)
  one.close()
  t.is((t.throws(() => one.send(16)) as NodeJS.ErrnoException).code, 'EBADF')
  t.is((t.throws(() => one.receive()) as NodeJS.ErrnoException).code, 'EBADF')
  t.is((t.throws(() => one.wait(0)) as NodeJS.ErrnoException).code, 'EBADF')
  other.close()
})
