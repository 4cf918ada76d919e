// Windows: what a peer maps is copied exactly, what it does not allow is refused, what it takes away is gone, and what it cuts
// short harms nobody.
import { closeSync, ftruncateSync, openSync, unlinkSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'

import { VfioError } from '../../../ts/errors.js'
import { GuestMemory } from '../../../ts/memory/guest-memory.js'
import { pageSize } from '../../../ts/memory/page.js'
import { Windows } from '../../../ts/vfio-user/windows.js'
import { ended, inWorker, message } from '../support.js'
import { openDescriptors } from './transport.js'

const PAGE = pageSize()
const PAGE64 = BigInt(PAGE)
const BOTH = { read: true, write: true }

function refused(t: ExecutionContext, code: string, call: () => unknown): VfioError {
  const error = t.throws(call, { instanceOf: VfioError }) as VfioError
  t.is(error.code, code, error.message)
  t.true((error.remedy ?? '').length > 0, error.message)
  return error
}

/** A file in memory that can be cut short, as that of a peer can. */
function shrinkable(t: ExecutionContext, pages: number): number {
  const path = join('/dev/shm', `node-vfio-windows-${String(process.pid)}-${String(Math.random()).slice(2)}`)
  const fd = openSync(path, 'w+')
  unlinkSync(path)
  ftruncateSync(fd, pages * PAGE)
  t.teardown(() => {
    closeSync(fd)
  })
  return fd
}

test('copies go both ways, across windows, and to where the file says', (t) => {
  using memory = GuestMemory.create(8 * PAGE)
  const all = new Uint8Array(memory.buffer)
  for (let i = 0; i < all.length; i++) all[i] = (i * 7 + (i >> 8)) & 0xff
  using windows = new Windows()
  // Pages 2 and 3, then 0 and 1, one after the other in the peer's addresses.
  windows.add(0x10000n, 2n * PAGE64, memory.fd, 2n * PAGE64, BOTH)
  windows.add(0x10000n + 2n * PAGE64, 2n * PAGE64, memory.fd, 0n, BOTH)
  t.is(windows.size, 2)
  const target = new Uint8Array(PAGE)
  windows.copyIn(0x10000n + 2n * PAGE64 - 100n, target)
  t.deepEqual(target.subarray(0, 100), all.subarray(4 * PAGE - 100, 4 * PAGE))
  t.deepEqual(target.subarray(100), all.subarray(0, PAGE - 100))
  windows.copyOut(0x10000n + 2n * PAGE64 - 3n, Uint8Array.of(1, 2, 3, 4, 5, 6))
  t.deepEqual([...all.subarray(4 * PAGE - 3, 4 * PAGE)], [1, 2, 3])
  t.deepEqual([...all.subarray(0, 3)], [4, 5, 6])
  windows.copyIn(0x10000n, new Uint8Array(0))
  windows.copyIn(0n, new Uint8Array(0))
})

test('a list is gathered and scattered in one call', (t) => {
  using memory = GuestMemory.create(4 * PAGE)
  const all = new Uint8Array(memory.buffer)
  using windows = new Windows()
  windows.add(0n, 2n * PAGE64, memory.fd, 0n, BOTH)
  windows.add(2n * PAGE64, 2n * PAGE64, memory.fd, 2n * PAGE64, BOTH)
  const pieces = BigUint64Array.of(2n * PAGE64 - 2n, 4n, 5n, 1n, 100n, 0n, 3n * PAGE64, 3n)
  windows.scatter(pieces, Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8))
  t.deepEqual([...all.subarray(2 * PAGE - 2, 2 * PAGE + 2)], [1, 2, 3, 4])
  t.is(all[5], 5)
  t.deepEqual([...all.subarray(3 * PAGE, 3 * PAGE + 3)], [6, 7, 8])
  const back = new Uint8Array(8)
  windows.gather(pieces, back)
  t.deepEqual([...back], [1, 2, 3, 4, 5, 6, 7, 8])
  refused(t, 'EINVAL', () => {
    windows.gather(pieces, new Uint8Array(7))
  })
  refused(t, 'EINVAL', () => {
    windows.gather(pieces, new Uint8Array(9))
  })
  // The last piece is bad: the first is not written.
  const bad = BigUint64Array.of(0n, 1n, 4n * PAGE64, 1n)
  refused(t, 'EFAULT', () => {
    windows.scatter(bad, Uint8Array.of(9, 9))
  })
  t.is(all[0], 0)
  refused(t, 'EFAULT', () => {
    windows.scatter(BigUint64Array.of(0xffff_ffff_ffff_ffffn, 2n), Uint8Array.of(9, 9))
  })
  refused(t, 'EINVAL', () => {
    windows.gather(BigUint64Array.of(0n, 0xffff_ffff_ffff_ffffn, 0n, 2n), Uint8Array.of(9))
  })
  t.throws(
    () => {
      windows.gather(BigUint64Array.of(0n), new Uint8Array(0))
    },
    { instanceOf: TypeError },
  )
  t.throws(
    () => {
      windows.gather([0n, 1n] as unknown as BigUint64Array, new Uint8Array(1))
    },
    { instanceOf: TypeError },
  )
})

test('what the peer does not allow is refused, and known ranges are reached by messages', (t) => {
  using memory = GuestMemory.create(4 * PAGE)
  using windows = new Windows()
  windows.add(0n, PAGE64, memory.fd, 0n, { read: true, write: false })
  windows.add(PAGE64, PAGE64, undefined, 0n, BOTH)
  windows.add(2n * PAGE64, PAGE64, memory.fd, 0n, BOTH)
  windows.add(3n * PAGE64, PAGE64, memory.fd, 0n, { read: false, write: false })
  t.is(windows.reach(0n, PAGE, 'read'), 'mapped')
  t.is(windows.reach(0n, PAGE, 'write'), 'none')
  t.is(windows.reach(0n, PAGE + 1, 'read'), 'message')
  t.is(windows.reach(PAGE64, PAGE, 'write'), 'message')
  t.is(windows.reach(2n * PAGE64, PAGE, 'write'), 'mapped')
  t.is(windows.reach(2n * PAGE64, PAGE + 1, 'write'), 'none')
  t.is(windows.reach(4n * PAGE64, 1, 'read'), 'none')
  t.is(windows.reach(0xffff_ffff_ffff_ffffn, 2, 'read'), 'none')
  refused(t, 'EACCES', () => {
    windows.copyOut(0n, new Uint8Array(4))
  })
  refused(t, 'EFAULT', () => {
    windows.copyIn(PAGE64 - 1n, new Uint8Array(2))
  })
  refused(t, 'EFAULT', () => {
    windows.copyIn(4n * PAGE64, new Uint8Array(1))
  })
  refused(t, 'EFAULT', () => {
    windows.copyIn(0xffff_ffff_ffff_ffffn, new Uint8Array(2))
  })
  refused(t, 'EACCES', () => windows.window(0n, PAGE))
  t.throws(
    () => {
      windows.copyIn(-1n, new Uint8Array(2))
    },
    { instanceOf: RangeError },
  )
  t.throws(() => {
    windows.copyIn(0 as unknown as bigint, new Uint8Array(2))
  })
  t.throws(
    () => {
      windows.copyIn(0n, [] as unknown as Uint8Array)
    },
    { instanceOf: TypeError },
  )
})

test('what a peer claims is checked before anything is mapped', (t) => {
  using memory = GuestMemory.create(4 * PAGE)
  using windows = new Windows({ most: 3 })
  windows.add(4n * PAGE64, 2n * PAGE64, memory.fd, 0n, BOTH)
  const before = openDescriptors()
  refused(t, 'EEXIST', () => {
    windows.add(0n, 5n * PAGE64, undefined, 0n, BOTH)
  })
  refused(t, 'EEXIST', () => {
    windows.add(5n * PAGE64, 1n, undefined, 0n, BOTH)
  })
  refused(t, 'EEXIST', () => {
    windows.add(4n * PAGE64, 2n * PAGE64, memory.fd, 0n, BOTH)
  })
  refused(t, 'ERANGE', () => {
    windows.add(0n, PAGE64, memory.fd, 4n * PAGE64, BOTH)
  })
  refused(t, 'ERANGE', () => {
    windows.add(0n, 2n * PAGE64, memory.fd, 3n * PAGE64, BOTH)
  })
  refused(t, 'ERANGE', () => {
    windows.add(0n, PAGE64, memory.fd, 0xffff_ffff_ffff_f000n, BOTH)
  })
  t.throws(
    () => {
      windows.add(0xffff_ffff_ffff_f000n, 2n * PAGE64, undefined, 0n, BOTH)
    },
    { instanceOf: RangeError },
  )
  const zero = openSync('/dev/zero', 'r+')
  const disk = openSync('/proc/self/status', 'r')
  refused(t, 'EOPNOTSUPP', () => {
    windows.add(0n, PAGE64, zero, 0n, BOTH)
  })
  refused(t, 'EOPNOTSUPP', () => {
    windows.add(0n, PAGE64, disk, 0n, BOTH)
  })
  closeSync(zero)
  closeSync(disk)
  t.is(
    (
      t.throws(() => {
        windows.add(0n, PAGE64, zero, 0n, BOTH)
      }) as VfioError
    ).code,
    'EBADF',
  )
  const readOnly = openSync(`/proc/self/fd/${String(memory.fd)}`, 'r')
  refused(t, 'EACCES', () => {
    windows.add(0n, PAGE64, readOnly, 0n, BOTH)
  })
  windows.add(0n, PAGE64, readOnly, 0n, { read: true, write: false })
  closeSync(readOnly)
  windows.add(PAGE64, PAGE64, undefined, 0n, BOTH)
  refused(t, 'ENOSPC', () => {
    windows.add(2n * PAGE64, PAGE64, undefined, 0n, BOTH)
  })
  t.is(openDescriptors(), before)
  refused(t, 'ENOENT', () => {
    windows.remove(4n * PAGE64, PAGE64)
  })
  refused(t, 'ENOENT', () => {
    windows.remove(5n * PAGE64, PAGE64)
  })
  refused(t, 'ENOENT', () => {
    windows.remove(0n, 0n)
  })
  t.is(windows.size, 3)
})

test('an ArrayBuffer is the memory itself, until its window goes', (t) => {
  using memory = GuestMemory.create(4 * PAGE)
  const all = new Uint8Array(memory.buffer)
  using windows = new Windows()
  windows.add(0n, 2n * PAGE64, memory.fd, 0n, BOTH)
  windows.add(2n * PAGE64, 2n * PAGE64, memory.fd, 2n * PAGE64, BOTH)
  const buffer = windows.window(16n, 32)
  const other = windows.window(2n * PAGE64, PAGE)
  new Uint8Array(buffer)[0] = 77
  t.is(all[16], 77)
  all[17] = 78
  t.is(new Uint8Array(buffer)[1], 78)
  refused(t, 'EINVAL', () => windows.window(2n * PAGE64 - 1n, 2))
  windows.remove(0n, 2n * PAGE64)
  t.is(buffer.byteLength, 0)
  t.is(other.byteLength, PAGE)
  t.is(all[16], 77, 'the peer keeps what is there')
  refused(t, 'EFAULT', () => {
    windows.copyIn(0n, new Uint8Array(1))
  })
  windows.add(0n, 2n * PAGE64, memory.fd, 0n, BOTH)
  windows.removeAll()
  t.is(other.byteLength, 0)
  t.is(windows.size, 0)
})

test('closing the table detaches what it gave', (t) => {
  using memory = GuestMemory.create(PAGE)
  const windows = new Windows()
  windows.add(0n, PAGE64, memory.fd, 0n, BOTH)
  const buffer = windows.window(0n, PAGE)
  windows.close()
  windows.close()
  t.is(buffer.byteLength, 0)
  t.is(
    (
      t.throws(() => {
        windows.copyIn(0n, new Uint8Array(1))
      }) as VfioError
    ).code,
    'EBADF',
  )
  t.is((t.throws(() => windows.window(0n, 1)) as VfioError).code, 'EBADF')
})

test('a file that is cut short gives errors for its window, and nothing else', (t) => {
  using memory = GuestMemory.create(PAGE)
  const fd = shrinkable(t, 4)
  using windows = new Windows()
  windows.add(0n, 4n * PAGE64, fd, 0n, BOTH)
  windows.add(4n * PAGE64, PAGE64, memory.fd, 0n, BOTH)
  windows.copyOut(3n * PAGE64, Uint8Array.of(1, 2, 3))
  const view = new Uint8Array(windows.window(3n * PAGE64, PAGE))
  ftruncateSync(fd, PAGE)
  windows.copyIn(0n, new Uint8Array(PAGE))
  refused(t, 'EIO', () => {
    windows.copyIn(3n * PAGE64, new Uint8Array(PAGE))
  })
  refused(t, 'EIO', () => {
    windows.copyOut(0n, new Uint8Array(1))
  })
  refused(t, 'EIO', () => {
    windows.gather(BigUint64Array.of(2n * PAGE64, 8n), new Uint8Array(8))
  })
  t.is(view[0], 0xff)
  windows.copyOut(4n * PAGE64, Uint8Array.of(1))
  windows.remove(0n, 4n * PAGE64)
  t.is(view.length, 0)
})

test('pages that copies write to are marked, while that is asked for', (t) => {
  using memory = GuestMemory.create(64 * PAGE)
  using windows = new Windows()
  const base = 0x7_0000_0000n
  windows.add(base, 64n * PAGE64, memory.fd, 0n, BOTH)
  refused(t, 'EINVAL', () => windows.takeDirty(base, 64n * PAGE64))
  windows.copyOut(base, Uint8Array.of(1))
  windows.startDirtyLog()
  t.is(windows.takeDirty(base, 64n * PAGE64).count, 0)
  windows.copyOut(base + 3n * PAGE64 - 1n, Uint8Array.of(1, 2))
  windows.scatter(BigUint64Array.of(base + 10n * PAGE64, 1n, base + 63n * PAGE64, 1n), Uint8Array.of(1, 2))
  windows.markDirty(base + 20n * PAGE64, 2 * PAGE)
  const dirty = (size: number): number[] => {
    const bitmap = windows.takeDirty(base, 64n * PAGE64, size)
    return Array.from({ length: bitmap.pages }, (_, i) => i).filter((i) => bitmap.has(i))
  }
  const firstHalf = windows.takeDirty(base, 3n * PAGE64)
  t.is(firstHalf.pages, 3)
  t.is(firstHalf.count, 1)
  t.deepEqual(dirty(PAGE), [3, 10, 20, 21, 63])
  t.deepEqual(dirty(PAGE), [])
  windows.markDirty(base + 5n * PAGE64, 1)
  windows.markDirty(base + 40n * PAGE64, 1)
  t.deepEqual(dirty(4 * PAGE), [1, 10])
  t.throws(() => windows.takeDirty(base, 1n, 5000), { instanceOf: RangeError })
  t.throws(() => windows.takeDirty(base, 1n << 63n), { instanceOf: RangeError })
  windows.stopDirtyLog()
  refused(t, 'EINVAL', () => windows.takeDirty(base, 1n))
})

test('another Worker copies through the same table', async (t) => {
  using memory = GuestMemory.create(PAGE)
  using windows = new Windows()
  windows.add(0n, PAGE64, memory.fd, 0n, BOTH)
  const url = new URL('../../../ts/vfio-user/windows.js', import.meta.url).href
  const worker = inWorker(
    `const { Windows } = await import(${JSON.stringify(url)})
    const windows = Windows.claim(data)
    const view = new Uint8Array(windows.window(0n, 16))
    view[3] = 9
    windows.copyOut(0n, Uint8Array.of(5, 6))
    port.postMessage('written')
    port.once('message', () => { port.postMessage([view.length, view[3]]); windows.close(); port.close() })`,
    windows.share(),
  )
  t.is(await message(worker), 'written')
  t.deepEqual([...new Uint8Array(memory.buffer, 0, 4)], [5, 6, 0, 9])
  windows.remove(0n, PAGE64)
  worker.postMessage('look')
  t.deepEqual(await message(worker), [16, 0], 'its view finds zeros')
  t.is(await ended(worker), 0)
})
