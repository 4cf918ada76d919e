// Connections: messages whole and in order, descriptors with the message that they came with, in the event loop and without.
import { closeSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import test from 'ava'

import { Connection } from '../../../ts/vfio-user/transport/connection.js'
import type { ConnectionEnd } from '../../../ts/vfio-user/transport/end.js'
import {
  MOST,
  numberOf,
  numbersIn,
  openDescriptors,
  OPTIONS,
  ownFd,
  isZero,
  sendMessage,
} from './transport.js'

test.serial('a message arrives whole, and its answer', (t) => {
  const [one, other] = Connection.pair(OPTIONS)
  t.is(other.receive(), 0, 'nothing has come')
  t.true(sendMessage(one, 32, 7))
  t.is(other.receive(), 1)
  t.is(other.length(0), 32)
  t.is(numberOf(other, 0), 7)
  t.true(sendMessage(other, 36, 8))
  t.is(one.wait(1000), 1)
  t.deepEqual(numbersIn(one), [8])
  t.is(one.wait(0), 0)
  t.deepEqual(one.counters, { messages: 1, bytes: 36, receives: 1, answered: 0 })
  one.close()
  other.close()
})

test.serial('many small messages come in one receive, at most 256 of them', (t) => {
  const [one, other] = Connection.pair(OPTIONS)
  for (let i = 0; i < 700; i++) sendMessage(one, 16 + (i % 5), i)
  const numbers: number[] = []
  const counts: number[] = []
  while (other.receive() > 0) {
    counts.push(other.count)
    numbers.push(...numbersIn(other))
    one.flush()
  }
  t.deepEqual(
    numbers,
    Array.from({ length: 700 }, (_, i) => i),
  )
  t.true(Math.max(...counts) <= 256)
  one.close()
  other.close()
})

test.serial('the longest message passes through a socket that holds less', async (t) => {
  const [one, other] = Connection.pair(OPTIONS)
  const numbers: number[] = []
  const done = new Promise<void>((resolve) => {
    other.onMessages((connection) => {
      numbers.push(...numbersIn(connection))
      if (numbers.length === 6) resolve()
    })
  })
  one.onMessages(() => undefined)
  for (let i = 0; i < 3; i++) {
    sendMessage(one, MOST, i * 2)
    sendMessage(one, 17, i * 2 + 1)
  }
  t.true(one.queued > 0)
  await done
  t.deepEqual(numbers, [0, 1, 2, 3, 4, 5])
  t.is(one.queued, 0)
  one.close()
  other.close()
})

test.serial('descriptors belong to the message that they came with', (t) => {
  const before = openDescriptors()
  const [one, other] = Connection.pair(OPTIONS)
  const zero = ownFd()
  sendMessage(one, 20, 1)
  sendMessage(one, 40, 2, [zero.fd, zero.fd])
  sendMessage(one, 60, 3)
  sendMessage(one, 80, 4, [zero.fd])
  const found: [number, number][] = []
  const taken: number[] = []
  while (other.receive() > 0) {
    for (let i = 0; i < other.count; i++) {
      found.push([numberOf(other, i), other.descriptors(i)])
      taken.push(...other.takeFds(i))
      t.is(other.descriptors(i), 0)
      t.deepEqual(other.takeFds(i), [])
    }
  }
  t.deepEqual(found, [
    [1, 0],
    [2, 2],
    [3, 0],
    [4, 1],
  ])
  t.true(taken.every(isZero))
  for (const fd of taken) closeSync(fd)
  zero.close()
  one.close()
  other.close()
  t.is(openDescriptors(), before)
})

for (const leave of ['close', 'hangUp'] as const) {
  test.serial(`what waits goes before ${leave}(), as far as the peer has room for it`, (t) => {
    const [one, other] = Connection.pair(OPTIONS)
    const numbers: number[] = []
    const read = (): void => {
      while (other.receive() > 0) numbers.push(...numbersIn(other))
    }
    let sent = 0
    while (one.queued === 0) sendMessage(one, 1000, sent++)
    for (let i = 0; i < 20; i++) sendMessage(one, 1000, sent++)
    // Which makes room that this side is not told of.
    read()
    t.true(numbers.length < sent)
    one[leave]()
    read()
    t.deepEqual(
      numbers,
      Array.from({ length: sent }, (_, i) => i),
    )
    t.is(other.ended?.reason, 'peer-gone')
    one.close()
    other.close()
  })
}

test.serial('a peer that does not read holds up nobody who closes, and finds what had room', (t) => {
  const before = openDescriptors()
  const [one, other] = Connection.pair(OPTIONS)
  const zero = ownFd()
  let sent = 0
  while (one.queued < 100_000) sendMessage(one, 1000, sent++, [zero.fd])
  const started = performance.now()
  one.close()
  t.true(performance.now() - started < 1000)
  zero.close()
  const numbers: number[] = []
  while (other.receive() > 0) numbers.push(...numbersIn(other))
  t.true(numbers.length > 0 && numbers.length < sent)
  t.deepEqual(
    numbers,
    numbers.map((_, i) => i),
  )
  t.truthy(other.ended)
  other.close()
  t.is(openDescriptors(), before)
})

test.serial('descriptors that nobody takes are closed', (t) => {
  const before = openDescriptors()
  const [one, other] = Connection.pair(OPTIONS)
  const zero = ownFd()
  const all = Array.from({ length: 253 }, () => zero.fd)
  sendMessage(one, 20, 1, all)
  t.is(other.receive(), 1)
  t.is(other.descriptors(0), 253)
  t.is(openDescriptors(), before + 3 + 253)
  other.receive()
  t.is(openDescriptors(), before + 3)
  sendMessage(one, 20, 1, all)
  t.is(other.receive(), 1)
  other.close()
  t.is(openDescriptors(), before + 2, 'with the connection too')
  one.close()
  zero.close()
  t.is(openDescriptors(), before)
})

test.serial('descriptors come with a message that comes in parts', (t) => {
  const before = openDescriptors()
  const [one, other] = Connection.pair(OPTIONS)
  const zero = ownFd()
  sendMessage(one, MOST, 5, [zero.fd])
  t.true(one.queued > 0)
  let rounds = 0
  while (other.receive() === 0 && rounds++ < 100) one.flush()
  t.deepEqual(numbersIn(other), [5])
  t.is(other.descriptors(0), 1)
  // The same behind one that is whole.
  sendMessage(one, 100, 6)
  sendMessage(one, MOST, 7, [zero.fd, zero.fd])
  const found: [number, number][] = []
  for (rounds = 0; found.length < 2 && rounds < 100; rounds++) {
    other.receive()
    for (let i = 0; i < other.count; i++) found.push([numberOf(other, i), other.descriptors(i)])
    one.flush()
  }
  t.deepEqual(found, [
    [6, 0],
    [7, 2],
  ])
  one.close()
  other.close()
  zero.close()
  t.is(openDescriptors(), before)
})

test.serial('descriptors wait with their message until the peer reads', (t) => {
  const before = openDescriptors()
  const [one, other] = Connection.pair(OPTIONS)
  const zero = ownFd()
  sendMessage(one, 500_000, 1)
  sendMessage(one, 20, 2, [zero.fd])
  zero.close()
  const taken: number[] = []
  for (let rounds = 0; taken.length === 0 && rounds < 100; rounds++) {
    other.receive()
    for (let i = 0; i < other.count; i++) taken.push(...other.takeFds(i))
    one.flush()
  }
  t.is(taken.length, 1)
  t.true(taken.every(isZero))
  for (const fd of taken) closeSync(fd)
  one.close()
  other.close()
  t.is(openDescriptors(), before)
})

test.serial('a handler is told of messages, and once of the end', async (t) => {
  const before = openDescriptors()
  const [one, other] = Connection.pair(OPTIONS)
  const numbers: number[] = []
  const ends: ConnectionEnd[] = []
  const ended = new Promise<void>((resolve) => {
    other.onMessages(
      (connection) => numbers.push(...numbersIn(connection)),
      (end) => {
        ends.push(end)
        resolve()
      },
    )
  })
  for (let i = 0; i < 200; i++) sendMessage(one, 32, i)
  one.close()
  await ended
  t.is(numbers.length, 200)
  t.is(ends.length, 1)
  t.is(ends[0]?.reason, 'peer-gone')
  t.is(other.ended?.reason, 'peer-gone')
  t.false(sendMessage(other, 32))
  await sleep(20)
  t.is(ends.length, 1)
  other.close()
  t.is(openDescriptors(), before)
})

test.serial('a ping-pong in the event loop goes both ways', async (t) => {
  const [one, other] = Connection.pair(OPTIONS)
  other.onMessages((connection) => {
    for (const number of numbersIn(connection)) sendMessage(connection, 36, number + 1)
  })
  let last = 0
  await new Promise<void>((resolve) => {
    one.onMessages((connection) => {
      for (const number of numbersIn(connection)) {
        last = number
        if (number >= 2000) resolve()
        else sendMessage(connection, 32, number + 1)
      }
    })
    sendMessage(one, 32, 1)
  })
  t.is(last, 2000)
  one.close()
  other.close()
})
