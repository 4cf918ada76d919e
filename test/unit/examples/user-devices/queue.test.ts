// A split virtqueue as the device sees it: chains taken and given back, and what no driver may do.
import test, { type ExecutionContext } from 'ava'

import { DriverError, gather, Queue } from '../../../../examples/devices/virtio/queue.js'
import { Driver, FakePages, INDIRECT, NEXT, PLACE, WRITE } from './pages.js'

function made(t: ExecutionContext): { pages: FakePages; driver: Driver; queue: Queue } {
  const pages = new FakePages(0x10000)
  t.teardown(() => pages.close())
  return { pages, driver: new Driver(pages), queue: new Queue(pages, PLACE) }
}

test('a chain of buffers is read in its order, written in its order, and given back with its length', (t) => {
  const { pages, driver, queue } = made(t)
  t.is(queue.take(), undefined)
  pages.bytes.set(Buffer.from('hello '), 0x4000)
  pages.bytes.set(Buffer.from('world'), 0x5000)
  driver.describe(3, { iova: 0x4000, length: 6, flags: NEXT, next: 0 })
  driver.describe(0, { iova: 0x5000, length: 5, flags: NEXT, next: 7 })
  driver.describe(7, { iova: 0x6000, length: 2, flags: NEXT | WRITE, next: 1 })
  driver.describe(1, { iova: 0x7000, length: 8, flags: WRITE })
  driver.offer(3)
  const chain = queue.take()
  t.truthy(chain)
  if (chain === undefined) return
  t.is(Buffer.from(chain.read()).toString(), 'hello world')
  t.is(Buffer.from(chain.read(8)).toString(), 'hello wo')
  t.is(chain.writableBytes, 10)
  t.is(chain.write(Buffer.from('answer')), 6)
  t.is(Buffer.from(pages.bytes.subarray(0x6000, 0x6002)).toString(), 'an')
  t.is(Buffer.from(pages.bytes.subarray(0x7000, 0x7004)).toString(), 'swer')
  t.is(chain.write(new Uint8Array(20)), 10, 'as much as there is room for')
  queue.give(chain, 6)
  t.deepEqual(driver.used, [[3, 6]])
  t.is(queue.take(), undefined)
})

test('a table of descriptors elsewhere is a chain of its own length', (t) => {
  const { pages, driver, queue } = made(t)
  for (let i = 0; i < 20; i++) {
    pages.bytes[0x5000 + i] = i
    driver.describe(i, { iova: 0x5000 + i, length: 1, flags: i < 19 ? NEXT : 0, next: i + 1 }, 0x8000)
  }
  driver.describe(2, { iova: 0x8000, length: 20 * 16, flags: INDIRECT })
  driver.offer(2)
  t.deepEqual(
    [...(queue.take()?.read() ?? [])],
    Array.from({ length: 20 }, (_, i) => i),
  )
})

test('indices go round, and interrupts are left out where the driver says so', (t) => {
  const { driver, queue } = made(t)
  driver.describe(0, { iova: 0x4000, length: 4, flags: WRITE })
  for (let i = 0; i < 70_000; i++) {
    driver.offer(0)
    const chain = queue.take()
    if (chain === undefined) return t.fail(`nothing at ${i}`)
    queue.give(chain, 4)
  }
  t.true(queue.wantsInterrupt)
  driver.flags = 1
  t.false(queue.wantsInterrupt)
})

test('tables that the guest has moved are looked up again', (t) => {
  const { pages, driver, queue } = made(t)
  driver.describe(0, { iova: 0x4000, length: 4 })
  driver.offer(0)
  t.truthy(queue.take())
  pages.move()
  driver.offer(0)
  const chain = queue.take()
  t.truthy(chain)
  pages.move()
  if (chain !== undefined) queue.give(chain, 0)
  t.deepEqual(driver.used, [[0, 0]])
})

const FAULTS: Record<string, (driver: Driver) => void> = {
  'more chains than the queue has entries': (driver) => {
    driver.index = 9
  },
  'a head outside of the table': (driver) => driver.offer(8),
  'a next one outside of the table': (driver) => {
    driver.describe(0, { iova: 0, length: 1, flags: NEXT, next: 200 })
    driver.offer(0)
  },
  'a chain without an end': (driver) => {
    driver.describe(0, { iova: 0, length: 1, flags: NEXT, next: 1 })
    driver.describe(1, { iova: 0, length: 1, flags: NEXT, next: 0 })
    driver.offer(0)
  },
  'a buffer to read behind one to write': (driver) => {
    driver.describe(0, { iova: 0, length: 1, flags: NEXT | WRITE, next: 1 })
    driver.describe(1, { iova: 0, length: 1 })
    driver.offer(0)
  },
  'a table in a table': (driver) => {
    driver.describe(0, { iova: 0x8000, length: 16, flags: INDIRECT }, 0x8000)
    driver.describe(0, { iova: 0x8000, length: 16, flags: INDIRECT })
    driver.offer(0)
  },
  'a table with something behind it': (driver) => {
    driver.describe(0, { iova: 0x8000, length: 16, flags: INDIRECT | NEXT, next: 1 })
    driver.offer(0)
  },
  'a table that is not whole': (driver) => {
    driver.describe(0, { iova: 0x8000, length: 17, flags: INDIRECT })
    driver.offer(0)
  },
  'an empty table': (driver) => {
    driver.describe(0, { iova: 0x8000, length: 0, flags: INDIRECT })
    driver.offer(0)
  },
  'more bytes than a chain may have': (driver) => {
    driver.describe(0, { iova: 0, length: 0xffff_ffff })
    driver.offer(0)
  },
}

for (const [what, fault] of Object.entries(FAULTS)) {
  test(`a driver at fault is told apart: ${what}`, (t) => {
    const { driver, queue } = made(t)
    fault(driver)
    t.throws(() => queue.take(), { instanceOf: DriverError })
  })
}

test('bytes are gathered from the middle of pieces', (t) => {
  const { pages } = made(t)
  for (let i = 0; i < 30; i++) pages.bytes[0x4000 + i] = i
  const pieces = [
    { iova: 0x4000n, length: 10 },
    { iova: 0x400an, length: 3 },
    { iova: 0x4014n, length: 10 },
  ]
  const target = new Uint8Array(8)
  gather(pages, pieces, 8, target)
  t.deepEqual([...target], [8, 9, 10, 11, 12, 20, 21, 22])
})
