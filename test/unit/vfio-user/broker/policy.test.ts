// What a policy may do to a client's accesses, and that one which is wrong harms nobody.
import test from 'ava'

import type { PciPassthrough } from '../../../../ts/index.js'
import type { AccessEvent, BrokerAnswer, BrokerPolicy } from '../../../../ts/vfio-user/index.js'
import { encodeVersion } from '../../../../ts/vfio-user/protocol/negotiation.js'
import { bytesOf32, writing } from '../server/peer.js'
import { BAR0, CONFIG, brokered } from './brokered.js'

function answer(by: (offset: number, written: bigint | undefined) => BrokerAnswer): BrokerPolicy {
  return ({ space, offset, written }) => (space === 'bar0' ? by(offset, written) : 'allow')
}

test('a policy lets through, answers in the place of the device, and changes what passes', async (t) => {
  const policy = answer((offset, written) => {
    if (offset === 4) return { replace: 0x1234n }
    if (offset === 8) return { alter: (value) => value | 0xff00n }
    if (offset === 12 && written !== undefined) return { replace: written + 1n }
    return undefined
  })
  const { peer, hardware, events } = await brokered(t, { broker: { policy } })
  await peer.write32(BAR0, 0, 7)
  t.is(await peer.read32(BAR0, 0), 7)
  t.is(await peer.read32(BAR0, 4), 0x1234)
  await peer.write32(BAR0, 8, 1)
  t.is(hardware.bytes(BAR0)[9], 0xff)
  hardware.bytes(BAR0).fill(0, 8, 12)
  t.is(await peer.read32(BAR0, 8), 0xff00)
  await peer.write32(BAR0, 12, 41)
  t.is(hardware.bytes(BAR0)[12], 42)
  t.is(await peer.read32(CONFIG, 0), 0x11e8_1234)
  const accesses = events.filter(
    (event): event is AccessEvent => event.what === 'read' || event.what === 'write',
  )
  t.deepEqual(
    accesses.map(({ what, space, offset, value, outcome }) => [what, space, offset, value, outcome]),
    [
      ['write', 'bar0', 0, 7n, 'done'],
      ['read', 'bar0', 0, 7n, 'done'],
      ['read', 'bar0', 4, 0x1234n, 'replaced'],
      ['write', 'bar0', 8, 1n, 'altered'],
      ['read', 'bar0', 8, 0xff00n, 'altered'],
      ['write', 'bar0', 12, 41n, 'replaced'],
      ['read', 'config', 0, 0x11e8_1234n, 'done'],
    ],
  )
})

for (const [deny, errno] of [
  ['deny', 1],
  [{ deny: 'ENODEV' }, 19],
  [{ deny: 5 }, 5],
] as const) {
  test(`denied with ${JSON.stringify(deny)}, a client of 0.2 gets the error, and the device sees nothing`, async (t) => {
    const { peer, hardware, errors, events } = await brokered(t, { broker: { policy: answer(() => deny) } })
    await t.throwsAsync(peer.read32(BAR0, 0), { message: `errno ${errno}` })
    await t.throwsAsync(peer.write32(BAR0, 0, 1), { message: `errno ${errno}` })
    t.is(hardware.bytes(BAR0)[0], 0)
    t.deepEqual(errors, [])
    t.like(events.at(-1), { what: 'write', outcome: 'denied' })
  })
}

test('denied, a client of another version reads all ones, and its write goes nowhere', async (t) => {
  const { connect, peer, hardware } = await brokered(t, { broker: { policy: answer(() => 'deny') } })
  peer.close()
  const old = connect()
  const reply = await old.call((view, id) => {
    const size = encodeVersion(view, 0, id, {})
    view.setUint16(18, 0, true)
    return size
  })
  t.is(reply.errno, null)
  t.is(await old.read32(BAR0, 0), 0xffff_ffff)
  await old.write32(BAR0, 0, 1)
  t.is(hardware.bytes(BAR0)[0], 0)
})

test('a policy that throws denies the access, is reported, and harms nobody', async (t) => {
  const wrong: BrokerPolicy[] = [
    () => {
      throw new Error('a bug of the policy')
    },
    () => 'perhaps' as never,
    () => ({ deny: 'ENOSUCHTHING' }),
    () => ({ deny: 0 }),
    () => Promise.resolve('allow') as never,
    () => ({
      alter: () => {
        throw new Error('a bug of the policy')
      },
    }),
    () => ({ alter: () => 1 as never }),
  ]
  let current = wrong[0] as BrokerPolicy
  const { peer, errors, hardware } = await brokered(t, { broker: { policy: (access) => current(access) } })
  for (const policy of wrong) {
    current = policy
    const before = errors.length
    await t.throwsAsync(peer.read32(BAR0, 0), { message: 'errno 13' })
    await t.throwsAsync(peer.write32(BAR0, 0, 1), { message: 'errno 13' })
    t.is(errors.length, before + 2)
  }
  t.is(hardware.bytes(BAR0)[0], 0)
  current = () => 'allow'
  await peer.write32(BAR0, 0, 1)
  t.is(await peer.read32(BAR0, 0), 1)
})

test('a posted write that is denied is dropped without an answer', async (t) => {
  const { peer, hardware } = await brokered(t, {
    broker: { policy: answer((_, w) => (w === undefined ? 'allow' : 'deny')) },
  })
  peer.send(writing(BAR0, 0, bytesOf32(9), true))
  t.is(await peer.read32(BAR0, 0), 0)
  t.is(hardware.bytes(BAR0)[0], 0)
  t.is(peer.received.length, 2)
})

test('a policy of a pass-through is one of a broker', (t) => {
  type Own = NonNullable<NonNullable<ConstructorParameters<typeof PciPassthrough>[2]>['policy']>
  const own: Own = () => 'deny'
  const here: BrokerPolicy = own
  t.is(here({ space: 'config', offset: 0, size: 4, written: undefined }), 'deny')
})
