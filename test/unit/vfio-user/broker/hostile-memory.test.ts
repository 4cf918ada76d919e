// Clients that claim what is not so about their memory: refused, with nothing in the IOMMU and no descriptor kept.
import test from 'ava'
import { closeSync, ftruncateSync, openSync } from 'node:fs'

import { GuestMemory } from '../../../../ts/memory/guest-memory.js'
import { encodeDmaMap } from '../../../../ts/vfio-user/protocol/dma.js'
import { openDescriptors } from '../transport.js'
import { own } from '../server/peer.js'
import { brokered } from './brokered.js'

test.serial('memory that is not what the client says is refused', async (t) => {
  const { peer, host, broker } = await brokered(t, { broker: { memoryLimit: 0x4000 } })
  const memory = own(t, GuestMemory.create(0x8000))
  const zero = openSync('/dev/zero', 'r+')
  const file = openSync('/proc/self/exe', 'r')
  const readOnly = openSync(`/proc/self/fd/${memory.fd}`, 'r')
  t.teardown(() => [zero, file, readOnly].forEach((fd) => closeSync(fd)))
  await peer.map(memory, 0x10000n, 0x1000n)
  const before = openDescriptors()
  const refused = async (
    fds: number[],
    iova: bigint,
    size: bigint,
    offset = 0n,
    flags = 3,
  ): Promise<number | null> =>
    (await peer.call((view, id) => encodeDmaMap(view, 0, id, { flags, offset, iova, size }), fds)).errno
  const { fd } = memory
  const tries: Record<string, [number[], bigint, bigint, bigint?, number?]> = {
    'two descriptors': [[fd, fd], 0n, 0x1000n],
    'a character device': [[zero], 0n, 0x1000n],
    'a file of a disk': [[file], 0n, 0x1000n],
    'a descriptor that is read-only': [[readOnly], 0n, 0x1000n],
    'more than the file has': [[fd], 0n, 0x1000n, 0x8000n],
    'an offset that overflows': [[fd], 0n, 0x1000n, 0xffff_ffff_ffff_f000n],
    'addresses beyond 2^64': [[fd], 0xffff_ffff_ffff_f000n, 0x2000n],
    'addresses that the IOMMU does not translate': [[fd], 1n << 40n, 0x1000n],
    'no whole page': [[fd], 0n, 0x800n],
    'no page boundary': [[fd], 0x800n, 0x1000n],
    'an overlap': [[fd], 0x10000n, 0x2000n],
    nothing: [[fd], 0n, 0n],
    'more than the limit': [[fd], 0n, 0x4000n],
  }
  for (const [what, [fds, iova, size, offset, flags]] of Object.entries(tries)) {
    const errno = await refused(fds, iova, size, offset, flags)
    t.true(errno !== null && errno > 0, what)
    t.is(host.mappings.length, 1, what)
    t.is(openDescriptors(), before, what)
  }
  t.is(broker.mappedBytes, 0x1000n)
  // What was refused can be shown rightly.
  t.is(await refused([fd], 0n, 0x3000n), null)
  t.is(host.mappings.length, 2)
})

test('an IOMMU that refuses leaves the range free, for another try', async (t) => {
  const { peer, host, errors } = await brokered(t)
  const memory = own(t, GuestMemory.create(0x1000))
  host.refuse = (call) => (call === 'map' ? 12 : 0)
  t.is((await peer.map(memory, 0n, 0x1000n)).errno, 12)
  t.is(errors.length, 1)
  host.refuse = () => 0
  t.is((await peer.map(memory, 0n, 0x1000n)).errno, null)
})

test('memory that its owner makes shorter stays as it was mapped, and goes as any other', async (t) => {
  const { peer, host } = await brokered(t)
  const fd = openSync('/dev/shm', 0o20200000 | 2, 0o600)
  t.teardown(() => closeSync(fd))
  ftruncateSync(fd, 0x2000)
  const map = { flags: 3, offset: 0n, iova: 0n, size: 0x2000n }
  t.is((await peer.call((view, id) => encodeDmaMap(view, 0, id, map), [fd])).errno, null)
  ftruncateSync(fd, 0)
  t.is((await peer.unmap(0n, 0x2000n)).errno, null)
  t.deepEqual(host.mappings, [])
})

test('a range that cuts a mapping in two is not taken away', async (t) => {
  const { peer, host } = await brokered(t)
  const memory = own(t, GuestMemory.create(0x2000))
  await peer.map(memory, 0n, 0x2000n)
  t.is((await peer.unmap(0n, 0x1000n)).errno, 22)
  t.is(host.mappings.length, 1)
})
