// Plain ranges: reads and writes of them are answered without JavaScript, in order, and nothing else is.
import test from 'ava'

import { VfioError } from '../../../ts/errors.js'
import { GuestMemory } from '../../../ts/memory/guest-memory.js'
import { Connection } from '../../../ts/vfio-user/transport/connection.js'
import { answerPlain } from '../../../ts/vfio-user/transport/plain.js'
import { ended, inWorker, message, shrinkableMemory } from '../support.js'
import { openDescriptors, OPTIONS, ownFd } from './transport.js'

const READ = 9
const WRITE = 10
const NO_REPLY = 0x10

interface Access {
  id?: number
  command: number
  flags?: number
  offset: bigint
  region?: number
  count: number
  data?: number[]
  size?: number
}

/** Puts a request into the send buffer, and gives its length. */
function request(connection: Connection, access: Access): number {
  const { id = 1, command, flags = 0, offset, region = 0, count, data = [] } = access
  const { outData, out } = connection
  const size = access.size ?? 32 + data.length
  outData.setUint16(0, id, true)
  outData.setUint16(2, command, true)
  outData.setUint32(4, size, true)
  outData.setUint32(8, flags, true)
  outData.setUint32(12, 0, true)
  outData.setBigUint64(16, offset, true)
  outData.setUint32(24, region, true)
  outData.setUint32(28, count, true)
  out.set(data, 32)
  return size
}

/** The one message that is there, without its length. */
function reply(connection: Connection): { id: number; command: number; flags: number; data: number[] } {
  if (connection.wait(1000) !== 1) throw new Error(`${String(connection.count)} messages`)
  const at = connection.offset(0)
  return {
    id: connection.data.getUint16(at, true),
    command: connection.data.getUint16(at + 2, true),
    flags: connection.data.getUint32(at + 8, true),
    data: [...connection.bytes.subarray(at + 32, at + connection.length(0))],
  }
}

test.serial('reads and writes of a plain range are answered in its memory', (t) => {
  using memory = GuestMemory.create(4096)
  const bytes = new Uint8Array(memory.buffer)
  const [one, other] = Connection.pair(OPTIONS)
  answerPlain(other, [
    { region: 0, start: 0x100, size: 0x100, memory, offset: 0x40 },
    { region: 2, start: 0, size: 16, memory, offset: 0x800, writable: false },
  ])
  bytes.set([1, 2, 3, 4, 5, 6, 7, 8], 0x40)
  for (const count of [1, 2, 3, 4, 8, 64]) {
    for (const skip of [0, 1, 4]) {
      one.send(request(one, { id: count, command: READ, offset: BigInt(0x100 + skip), count }))
      t.is(other.receive(), 0, 'nobody is told')
      t.deepEqual(reply(one), {
        id: count,
        command: READ,
        flags: 1,
        data: [...bytes.subarray(0x40 + skip, 0x40 + skip + count)],
      })
      const data = Array.from({ length: count }, (_, i) => (i + count + skip) & 0xff)
      one.send(request(one, { id: 7, command: WRITE, offset: BigInt(0x180 + skip), count, data }))
      t.is(other.receive(), 0)
      t.deepEqual(reply(one), { id: 7, command: WRITE, flags: 1, data: [] })
      t.deepEqual([...bytes.subarray(0xc0 + skip, 0xc0 + skip + count)], data)
    }
  }
  one.send(request(one, { command: WRITE, flags: NO_REPLY, offset: 0x1ffn, count: 1, data: [77] }))
  t.is(other.receive(), 0)
  t.is(bytes[0x40 + 0xff], 77)
  t.is(one.wait(0), 0, 'a posted write has no answer')
  t.is(other.counters.answered, 37)
  one.close()
  other.close()
})

test.serial('everything else is told', (t) => {
  const before = openDescriptors()
  using memory = GuestMemory.create(8192)
  const [one, other] = Connection.pair(OPTIONS)
  answerPlain(other, [
    { region: 0, start: 0x100, size: 0x100, memory },
    { region: 1, start: 0, size: 8192, memory },
    { region: 2, start: 0, size: 16, memory, writable: false },
  ])
  for (const access of [
    { command: READ, offset: 0xffn, count: 4 },
    { command: READ, offset: 0x1fdn, count: 4 },
    { command: READ, offset: 0x200n, count: 1 },
    { command: READ, offset: 0xffff_ffff_ffff_ffffn, count: 4 },
    { command: READ, offset: 0x100n, count: 0 },
    { command: READ, offset: 0x100n, count: 0xffff_ffff },
    { command: READ, offset: 0x100n, count: 4, region: 3 },
    { command: READ, offset: 0n, count: 4097, region: 1 },
    { command: READ, offset: 0x100n, count: 4, flags: 1 },
    { command: READ, offset: 0x100n, count: 4, data: [1] },
    { command: READ, offset: 0x100n, count: 4, size: 24 },
    { command: WRITE, offset: 0x100n, count: 4, data: [1, 2, 3] },
    { command: WRITE, offset: 0n, count: 1, data: [1], region: 2 },
    { command: 11, offset: 0x100n, count: 4 },
  ] as Access[]) {
    one.send(request(one, access))
    t.is(
      other.receive(),
      1,
      JSON.stringify(access, (_, value: unknown) => String(value)),
    )
  }
  const zero = ownFd()
  one.send(request(one, { command: READ, offset: 0x100n, count: 4 }), [zero.fd])
  t.is(other.receive(), 1, 'and what comes with descriptors')
  t.is(other.descriptors(0), 1)
  answerPlain(other, [])
  one.send(request(one, { command: READ, offset: 0x100n, count: 4 }))
  t.is(other.receive(), 1, 'and all of it without ranges')
  zero.close()
  one.close()
  other.close()
  memory.close()
  t.is(openDescriptors(), before)
})

test.serial('the order of messages holds', (t) => {
  using memory = GuestMemory.create(4096)
  const [one, other] = Connection.pair(OPTIONS)
  answerPlain(other, [{ region: 0, start: 0, size: 4096, memory }])
  const send = (id: number, region: number): void => {
    one.send(request(one, { id, command: WRITE, flags: NO_REPLY, offset: 0n, count: 1, data: [id], region }))
  }
  send(1, 0)
  send(2, 0)
  send(3, 1)
  send(4, 0)
  t.is(other.receive(), 2, 'what comes behind a message that is told is told too')
  t.is(other.data.getUint16(other.offset(0), true), 3)
  t.is(other.data.getUint16(other.offset(1), true), 4)
  t.is(new Uint8Array(memory.buffer)[0], 2)
  // More than a table holds, in one go.
  let sent = 0
  while (sent < 3000) {
    send(sent & 0xff, 0)
    sent++
    if (sent % 200 === 0) {
      one.flush()
      t.is(other.receive(), 0)
    }
  }
  t.is(other.receive(), 0)
  t.is(other.counters.answered, 3002)
  one.close()
  other.close()
})

test.serial('a Worker that blocks answers without waking', async (t) => {
  using memory = GuestMemory.create(4096)
  const [one, other] = Connection.pair(OPTIONS)
  answerPlain(other, [{ region: 0, start: 0, size: 4096, memory }])
  const url = new URL('../../../ts/vfio-user/transport/connection.js', import.meta.url).href
  const worker = inWorker(
    `const { Connection } = await import(${JSON.stringify(url)})
    const connection = Connection.claim(data)
    port.postMessage('up')
    port.postMessage([connection.wait(), connection.counters.answered])
    connection.close()`,
    other.share(),
  )
  t.is(await message(worker), 'up')
  const said = message(worker)
  for (let i = 0; i < 1000; i++) {
    one.send(request(one, { id: i, command: READ, offset: 0n, count: 4 }))
    t.is(reply(one).id, i)
  }
  one.send(request(one, { id: 1, command: READ, offset: 0n, count: 4, region: 5 }))
  t.deepEqual(await said, [1, 1000])
  t.is(await ended(worker), 0)
  one.close()
  other.close()
})

test.serial('bad ranges are refused', (t) => {
  using memory = GuestMemory.create(4096)
  const [one, other] = Connection.pair(OPTIONS)
  const range = { region: 0, start: 0, size: 16, memory }
  const overlap = t.throws<VfioError>(
    () => {
      answerPlain(one, [range, { ...range, start: 15 }])
    },
    { instanceOf: VfioError },
  )
  t.is(overlap.code, 'EEXIST')
  t.throws(
    () => {
      answerPlain(one, [{ ...range, size: 4097 }])
    },
    { instanceOf: RangeError },
  )
  t.throws(
    () => {
      answerPlain(one, [{ ...range, offset: 4081 }])
    },
    { instanceOf: RangeError },
  )
  t.throws(
    () => {
      answerPlain(one, [{ ...range, memory: {} as never }])
    },
    { instanceOf: TypeError },
  )
  t.throws(
    () => {
      answerPlain(one, [1 as never])
    },
    { instanceOf: TypeError },
  )
  t.throws(
    () => {
      answerPlain({} as never, [])
    },
    { instanceOf: TypeError },
  )
  using weak = shrinkableMemory(4096)
  t.throws(
    () => {
      answerPlain(one, [{ ...range, memory: weak }])
    },
    { instanceOf: TypeError },
  )
  one.close()
  other.close()
})
