// What every object with a native part does when it closes.
import test from 'ava'

import {
  AddressSpace,
  DmaBuffer,
  EventFd,
  GuestMemory,
  Iommufd,
  type ShareToken,
  SignalWaiter,
  VfioDevice,
} from '../../ts/index.js'
import { Kvm, Vcpu, Vm } from '../../ts/kvm/index.js'
import { addon } from '../../ts/native/index.js'
import { held } from './support.js'

test('an undo that throws keeps neither the others nor the object from going; close() tells of it', (t) => {
  const before = held().descriptors.length
  const eventfd = new EventFd()
  const undone: string[] = []
  eventfd.beforeClose(() => undone.push('first'))
  eventfd.beforeClose(() => {
    throw new Error('on purpose')
  })
  const takeBack = eventfd.beforeClose(() => undone.push('taken back'))
  eventfd.beforeClose(() => undone.push('last'))
  takeBack()
  t.throws(
    () => {
      eventfd.close()
    },
    { message: 'on purpose' },
  )
  t.deepEqual(undone, ['last', 'first'])
  t.true(eventfd.closed)
  t.is(held().descriptors.length, before)
  eventfd.close()
})

test('a class without a public constructor says what to call instead', (t) => {
  const classes = { AddressSpace, GuestMemory, Iommufd, Kvm, VfioDevice, Vcpu, Vm }
  for (const [name, type] of Object.entries(classes)) {
    t.throws(() => Reflect.construct(type as unknown as new () => unknown, []), {
      instanceOf: TypeError,
      message: new RegExp(`^${name} has no public constructor: call [\\w.]+\\(\\w*\\)$`),
    })
  }
})

test('a token is claimed by its own class, and a claim that fails holds nothing', (t) => {
  using eventfd = new EventFd()
  const token = eventfd.share()
  t.deepEqual(Object.keys(token), ['vfio', 'id'])
  t.throws(() => GuestMemory.claim(token), {
    instanceOf: TypeError,
    message: 'token must be one of GuestMemory.share(), not of EventFd',
  })
  const forged = (vfio: string, details: object = {}): ShareToken => ({ ...token, ...details, vfio })
  t.throws(() => GuestMemory.claim(forged('GuestMemory')), {
    instanceOf: TypeError,
    message: 'token names a EventFd, not a memory',
  })
  t.throws(() => SignalWaiter.claim(forged('SignalWaiter')), { message: /EventFd, not a SignalWaiter/ })
  t.throws(() => Iommufd.claim(forged('Iommufd')), { message: /EventFd, not a Iommufd/ })
  t.throws(() => DmaBuffer.claim(forged('DmaBuffer', { iova: 0n, size: 1 })), { message: /not a DmaBuffer/ })
  for (const id of [0, 1.5, '1', undefined])
    t.throws(() => EventFd.claim({ ...token, id } as ShareToken), { message: 'token.id must be a number' })
  for (const other of [null, undefined, 1, 'token'])
    t.throws(() => EventFd.claim(other as unknown as ShareToken), {
      message: 'token must come from share()',
    })
  t.is(addon().handleHolders(eventfd.native), 1)
  {
    // Not bound to its class.
    const { claim } = EventFd
    using other = claim(token)
    t.is(addon().handleHolders(eventfd.native), 2)
    other.signal(5)
  }
  t.is(addon().handleHolders(eventfd.native), 1)
  t.is(eventfd.read(), 5)
})

test('a token names its object for as long as somebody holds it', (t) => {
  const memory = GuestMemory.create(4096)
  const token = memory.share()
  const other = GuestMemory.claim(token)
  memory.close()
  t.throws(() => memory.share(), { code: 'EBADF' })
  using third = GuestMemory.claim(token)
  other.close()
  t.is(third.size, 4096)
  third.close()
  t.throws(() => GuestMemory.claim(token), { code: 'ENOENT' })
})
