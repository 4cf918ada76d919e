// AddressSpace over a fake: buffers, devices and other holders, in the order in which they come and go.
import { constants } from 'node:os'
import { setImmediate as turn } from 'node:timers/promises'
import test from 'ava'

import {
  AddressSpace,
  type AllocateOptions,
  type DmaBuffer,
  GuestMemory,
  VfioError,
} from '../../../ts/index.js'
import type { SpaceMember } from '../../../ts/iommu/members.js'
import { addon } from '../../../ts/native/index.js'
import { PAGE, fakeSpace } from '../../fakes/space.js'
import { held } from '../support.js'

type Allocate = (space: AddressSpace, size: number, options?: AllocateOptions) => Promise<DmaBuffer>

const FORMS: Record<string, Allocate> = {
  allocate: (space, size, options) => space.allocate(size, options),
  allocateSync: async (space, size, options) => space.allocateSync(size, options),
}

/** What a gate waits for. */
function gate(): { closed: Promise<void>; open: () => void } {
  let open!: () => void
  const closed = new Promise<void>((resolve) => (open = resolve))
  return { closed, open }
}

/** A device that notes what the space has it do. */
function member(name: string, notes: string[], busMaster = true): SpaceMember {
  return {
    stopDma: () => {
      notes.push(`${name} stops`)
      return busMaster
    },
    resumeDma: () => notes.push(`${name} goes on`),
  }
}

for (const [form, allocate] of Object.entries(FORMS)) {
  test.serial(`${form}: a buffer is memory and its mapping, and closing it undoes both`, async (t) => {
    const { space, host } = fakeSpace()
    using _space = space
    const before = held()
    const buffer = await allocate(space, 5000, { write: false })
    t.is(buffer.iova, PAGE)
    t.is(buffer.size, 8192)
    t.is(buffer.buffer.byteLength, 8192)
    t.deepEqual(host.mappings, [{ iova: PAGE, size: 8192n, offset: 0, flags: 1, peer: false, by: 'memory' }])
    t.deepEqual(host.owned, [PAGE])
    const { buffer: bytes } = buffer
    await buffer.close()
    await buffer.close()
    t.is(bytes.byteLength, 0)
    t.deepEqual(host.mappings, [])
    t.deepEqual(held(), before)
  })

  test.serial(`${form}: what fails half-way leaves neither memory nor a mapping`, async (t) => {
    const { space, host } = fakeSpace({ ranges: [{ start: 0n, last: 0xffffn }] })
    using _space = space
    const before = held()
    await t.throwsAsync(allocate(space, 1 << 20), { code: 'ENOSPC' })
    await t.throwsAsync(allocate(space, 4096, { iova: 5n }), { instanceOf: RangeError })
    await t.throwsAsync(allocate(space, 0), { instanceOf: RangeError })
    host.refuse = () => constants.errno.ENOMEM
    await t.throwsAsync(allocate(space, 4096), { code: 'ENOMEM' })
    t.deepEqual(host.mappings, [])
    t.deepEqual(held(), before)
  })
}

test.serial('a space closes its buffers, then what stands behind it', (t) => {
  const { space, host } = fakeSpace()
  const before = held().descriptors.length
  const [one, other] = [space.allocateSync(4096), space.allocateSync(4096)]
  one[Symbol.dispose]()
  const { buffer } = other
  space[Symbol.dispose]()
  t.true(other.closed)
  t.is(buffer.byteLength, 0)
  t.deepEqual(host.mappings, [])
  t.is(host.calls.at(-1), 'close')
  // The fake's own descriptor went too.
  t.is(held().descriptors.length, before - 1)
  for (const call of [() => space.mapSync(one.memory), () => space.fd, () => space.allocateSync(1)])
    t.throws(call, { code: 'EBADF' })
})

test.serial('closing waits for the call in flight, and leaves nothing of it', async (t) => {
  const before = held()
  const { space, host } = fakeSpace()
  const { closed, open } = gate()
  host.gate = closed
  const buffer = space.allocate(4096)
  using memory = GuestMemory.create(4096)
  const mapped = space.map(memory, { iova: 0x8000n })
  await turn()
  const close = space.close()
  let done = false
  void close.then(() => (done = true))
  await turn()
  t.false(done)
  t.throws(() => space.fd, { code: 'EBADF' })
  open()
  await t.throwsAsync(buffer, { instanceOf: VfioError, code: 'EBADF' })
  // That one has no owner: it ends with what stands behind the space.
  t.is(await mapped, 0x8000n)
  await close
  t.deepEqual(
    host.mappings.map(({ iova }) => iova),
    [0x8000n],
  )
  memory.close()
  t.deepEqual(held(), before)
})

test.serial('another holder of a space has its mappings, and the last to close it closes them', (t) => {
  const { space, host } = fakeSpace()
  const token = space.share()
  t.like(token, { vfio: 'AddressSpace', backend: 'fake', pages: 1 })
  const other = AddressSpace.claim(structuredClone(token))
  using memory = GuestMemory.create(4096)
  t.is(space.mapSync(memory), PAGE)
  t.is(other.mapSync(memory), 2n * PAGE)
  t.is(other.mappingCount, 2)
  space[Symbol.dispose]()
  t.is(other.unmapSync(PAGE, 4096), 4096n)
  t.is(host.mappings.length, 1)
  other[Symbol.dispose]()
  t.throws(() => AddressSpace.claim(token), { code: 'ENOENT' })
})

test('a token of a kind of space that nobody knows, or of an object that is none, is refused', (t) => {
  const { space } = fakeSpace()
  using _space = space
  const token = space.share()
  t.throws(() => AddressSpace.claim({ ...token, backend: 'other' }), {
    instanceOf: TypeError,
    message: 'token must come from share()',
  })
  t.throws(() => AddressSpace.claim({ ...token, backend: 'iommufd' }), {
    instanceOf: TypeError,
    message: 'token names a EventFd, not a Ioas',
  })
  t.throws(() => AddressSpace.claim({ ...token, backend: 'container', wanted: 'type1' }), {
    instanceOf: TypeError,
    message: 'token names a EventFd, not a AddressSpace',
  })
  t.is(addon().handleHolders(space.native), 1)
})

test('where nothing confines devices, they stop while memory is given back, and go on', async (t) => {
  const notes: string[] = []
  const { space, host } = fakeSpace({ locate: () => 0x5000n })
  using memory = GuestMemory.create(4096)
  t.is(space.mapSync(memory), 0x5000n)
  t.is(await space.map(memory), 0x5000n)
  t.deepEqual(host.mappings, [])
  const buffer = await space.allocate(4096)
  t.is(buffer.iova, 0x5000n)
  space.join(member('one', notes))
  space.join(member('idle', notes, false))
  await buffer.close()
  t.deepEqual(notes.splice(0), ['one stops', 'idle stops', 'one goes on'])

  const left = space.allocateSync(4096)
  space[Symbol.dispose]()
  t.true(left.closed)
  t.deepEqual(notes, ['one stops', 'idle stops', 'one stops', 'idle stops', 'one goes on'])
})

test('where something does, they notice nothing', (t) => {
  const notes: string[] = []
  const { space } = fakeSpace()
  space.join(member('one', notes))
  space.allocateSync(4096)[Symbol.dispose]()
  space.allocateSync(4096)
  space[Symbol.dispose]()
  t.deepEqual(notes, [])
})

test('a device that cannot stop keeps neither the memory from going nor the others from going on', (t) => {
  const notes: string[] = []
  const { space } = fakeSpace({ locate: () => 0x5000n })
  using _space = space
  const broken = {
    stopDma: () => {
      throw new Error('on purpose')
    },
    resumeDma: () => t.fail(),
  }
  space.join(member('one', notes))
  space.join(broken)
  const buffer = space.allocateSync(4096)
  t.throws(
    () => {
      buffer[Symbol.dispose]()
    },
    { message: 'on purpose' },
  )
  t.true(buffer.memory.closed)
  t.deepEqual(notes, ['one stops', 'one goes on'])
  space.leave(broken)
})

test('a space that was made for its devices closes with the last of them', (t) => {
  const made = fakeSpace().space.closeWithMembers()
  t.true(made.unused)
  const arrived = made.expectMember()
  t.false(made.unused)
  const device = member('one', [])
  made.join(device)
  arrived()
  t.false(made.closed)
  t.true(made.leave(device))
  made[Symbol.dispose]()
  t.false(made.unused)

  // One that was on its way and did not come.
  const other = fakeSpace().space.closeWithMembers()
  other.expectMember()()
  t.true(other.closed)

  const own = fakeSpace().space
  own.join(device)
  t.false(own.leave(device))
  own[Symbol.dispose]()
})

test('a group goes into a container, and this space is none', (t) => {
  const { space } = fakeSpace()
  using _space = space
  t.throws(
    () => {
      space.attachGroup(space.native)
    },
    { code: 'EOPNOTSUPP', message: /A group needs a container; this space is not one\.$/ },
  )
})

test('dirty pages: what devices wrote to since it began, and what goes with its marks', (t) => {
  const { space, host } = fakeSpace()
  using _space = space
  using memory = GuestMemory.create(4 * 4096)
  const iova = space.mapSync(memory)
  const { dirtyTracking } = space
  t.throws(() => dirtyTracking.bitmap(iova, memory.size, 4096), { code: 'EINVAL' })
  dirtyTracking.start()
  host.written.add(iova + PAGE)
  const marks = dirtyTracking.bitmap(iova, memory.size, 4096)
  t.deepEqual([marks.count, marks.has(0), marks.has(1)], [1, false, true])
  t.is(dirtyTracking.bitmap(iova, memory.size, 4096).count, 0)
  host.written.add(iova)
  t.is(dirtyTracking.unmap(iova, memory.size, 4096).count, 1)
  t.deepEqual(host.mappings, [])
  dirtyTracking.stop()
  t.false(host.tracking)
  for (const [at, size, page, message] of [
    [iova, 4096, 3, /^pageSize must be a power of two$/],
    [iova, 4097, 4096, /^iova and size must be multiples of pageSize$/],
    [iova + 1n, 4096, 4096, /^iova and size must be multiples of pageSize$/],
    [iova, 0, 4096, /^size must be a whole number from 4096 to /],
  ] as const)
    t.throws(() => dirtyTracking.bitmap(at, size, page), { instanceOf: RangeError, message })
})
