// Connections that a thread blocks on: it wakes for messages, for the end, for eventfds, in time, and when its Worker ends.
import { setTimeout as sleep } from 'node:timers/promises'
import test from 'ava'

import { EventFd } from '../../../ts/event/eventfd.js'
import { VfioError } from '../../../ts/errors.js'
import { Connection } from '../../../ts/vfio-user/transport/connection.js'
import { ended, inChild, inWorker, message } from '../support.js'
import { compose, MOST, numbersIn, openDescriptors, OPTIONS, sendMessage } from './transport.js'

const URL_OF_CONNECTION = new URL('../../../ts/vfio-user/transport/connection.js', import.meta.url).href
const IMPORT = `const { Connection } = await import(${JSON.stringify(URL_OF_CONNECTION)});`

for (const spin of [0, 500]) {
  test.serial(`a Worker answers while it blocks, with ${String(spin)} µs of spin`, async (t) => {
    const before = openDescriptors()
    const [one, other] = Connection.pair(OPTIONS)
    const worker = inWorker(
      `${IMPORT}
      const connection = Connection.claim(data)
      port.postMessage('up')
      let messages = 0
      while (connection.ended === undefined) {
        const count = connection.wait(undefined, ${String(spin)})
        for (let i = 0; i < count; i++) {
          connection.out.set(connection.bytes.subarray(connection.offset(i), connection.offset(i) + 16))
          connection.outData.setUint32(4, 36, true)
          connection.out.fill(connection.out[0], 16, 36)
          connection.send(36)
          messages++
        }
      }
      port.postMessage([messages, connection.ended.reason])
      connection.close()`,
      other.share(),
    )
    t.is(await message(worker), 'up')
    for (let i = 0; i < 500; i++) {
      sendMessage(one, 32, i)
      t.is(one.wait(5000), 1)
      t.deepEqual(numbersIn(one), [i])
    }
    const last = message(worker)
    other.close()
    one.close()
    t.deepEqual(await last, [500, 'peer-gone'])
    t.is(await ended(worker), 0)
    t.is(openDescriptors(), before)
  })
}

test.serial('hanging up ends the wait of a Worker', async (t) => {
  const [one, other] = Connection.pair(OPTIONS)
  const worker = inWorker(
    `${IMPORT}
    const connection = Connection.claim(data)
    port.postMessage('up')
    connection.wait()
    port.postMessage(connection.ended.reason)
    connection.close()`,
    other.share(),
  )
  t.is(await message(worker), 'up')
  await sleep(20)
  const said = message(worker)
  const start = performance.now()
  other.hangUp()
  t.is(await said, 'hung-up')
  t.true(performance.now() - start < 1000)
  t.is(one.wait(1000), 0)
  t.is(one.ended?.reason, 'peer-gone')
  t.is(await ended(worker), 0)
  one.close()
  other.close()
})

test.serial('terminating a Worker ends its wait, and leaves nothing', async (t) => {
  const before = openDescriptors()
  for (const call of [
    'connection.wait()',
    'connection.wait(1e9, 10000)',
    'while (true) connection.wait(3)',
  ]) {
    const [one, other] = Connection.pair(OPTIONS)
    const worker = inWorker(
      `${IMPORT}
      const connection = Connection.claim(data)
      port.postMessage('up')
      ${call}`,
      other.share(),
    )
    t.is(await message(worker), 'up')
    other.close()
    sendMessage(one, 20, 1, [0])
    await sleep(30)
    const start = performance.now()
    await worker.terminate()
    t.true(performance.now() - start < 1000, call)
    t.is(one.wait(1000), 0)
    t.is(one.ended?.reason, 'peer-gone', call)
    one.close()
  }
  t.is(openDescriptors(), before)
})

test.serial('a process that ends while a Worker waits does end', async (t) => {
  const start = performance.now()
  const { status, stderr } = await inChild(
    `const { Worker } = await import('node:worker_threads')
    ${IMPORT}
    const [one, other] = Connection.pair({ framing: { lengthOffset: 4, headerBytes: 16, maxMessage: 4096 } })
    const worker = new Worker(\`
      const { parentPort, workerData } = require('node:worker_threads')
      import(${JSON.stringify(URL_OF_CONNECTION)}).then(({ Connection }) => {
        const connection = Connection.claim(workerData)
        parentPort.postMessage('up')
        connection.wait()
      })\`, { eval: true, execArgv: [], workerData: other.share() })
    worker.once('message', () => setTimeout(() => process.exit(7), 20))`,
  )
  t.is(status, 7, stderr)
  t.true(performance.now() - start < 20_000)
})

test.serial('a wait keeps its time, in slices too', (t) => {
  const [one, other] = Connection.pair(OPTIONS)
  for (const milliseconds of [0, 1, 20, 150, 240]) {
    for (const spin of [0, 200]) {
      const start = performance.now()
      t.is(one.wait(milliseconds, spin), 0)
      const spent = performance.now() - start
      t.true(
        spent >= milliseconds - 0.1 && spent < milliseconds + 200,
        `${String(milliseconds)}: ${String(spent)}`,
      )
    }
  }
  one.close()
  other.close()
})

test.serial('an eventfd ends a wait too, until it is taken away', (t) => {
  const [one, other] = Connection.pair(OPTIONS)
  const eventfd = new EventFd()
  const stop = one.wakeOn(eventfd)
  const busy = t.throws(() => one.wakeOn(eventfd), { instanceOf: VfioError }) as VfioError
  t.is(busy.code, 'EBUSY')
  for (const spin of [0, 2000]) {
    eventfd.signal()
    const start = performance.now()
    t.is(one.wait(5000, spin), 0)
    t.true(performance.now() - start < 1000)
    t.is(eventfd.read(), 1)
    t.is(one.wait(20, spin), 0)
    sendMessage(other, 20, 3)
    t.is(one.wait(5000, spin), 1)
    t.deepEqual(numbersIn(one), [3])
  }
  stop()
  stop()
  eventfd.signal()
  const start = performance.now()
  t.is(one.wait(30), 0)
  t.true(performance.now() - start >= 29)
  one.wakeOn(eventfd)
  eventfd.close()
  t.is(one.wait(5), 0)
  const last = new EventFd()
  one.wakeOn(last)
  one.close()
  other.wakeOn(last)
  last.close()
  other.close()
})

test.serial('a wait sends what the peer did not read yet', async (t) => {
  const [one, other] = Connection.pair(OPTIONS)
  const worker = inWorker(
    `${IMPORT}
    const connection = Connection.claim(data)
    port.postMessage('up')
    let got = 0
    while (got < 4) { connection.wait(); got += connection.count }
    connection.outData.setUint32(4, 20, true)
    connection.send(20)
    connection.wait()
    connection.close()`,
    other.share(),
  )
  t.is(await message(worker), 'up')
  for (let i = 0; i < 4; i++) {
    compose(one, MOST, 7)
    t.true(one.send(MOST))
  }
  t.true(one.queued > 0)
  t.is(one.wait(20_000), 1)
  t.is(one.queued, 0)
  one.close()
  other.close()
  t.is(await ended(worker), 0)
})

test.serial('two threads do not receive at once, and both may send', async (t) => {
  const [one, other] = Connection.pair(OPTIONS)
  const worker = inWorker(
    `${IMPORT}
    const connection = Connection.claim(data)
    port.postMessage('up')
    connection.wait()
    port.postMessage(connection.count)
    connection.close()`,
    other.share(),
  )
  t.is(await message(worker), 'up')
  await sleep(50)
  for (const call of [() => other.receive(), () => other.wait(0)]) {
    const error = t.throws(call, { instanceOf: VfioError }) as VfioError
    t.is(error.code, 'EBUSY')
  }
  t.true(sendMessage(other, 20, 1))
  t.is(one.wait(1000), 1)
  sendMessage(one, 20, 2)
  t.is(await message(worker), 1)
  t.is(await ended(worker), 0)
  one.close()
  other.close()
})

test.serial('a second claim in the same environment sees the same messages', (t) => {
  const [one, other] = Connection.pair(OPTIONS)
  const again = Connection.claim(other.share())
  sendMessage(one, 20, 1)
  t.is(again.receive(), 1)
  t.is(other.count, 1)
  t.deepEqual(numbersIn(other), [1])
  other.close()
  t.is(other.bytes.length, 0)
  t.true(again.bytes.length > 0)
  sendMessage(one, 20, 2)
  t.is(again.receive(), 1)
  again.close()
  one.close()
})
