// A client that says anything to a broker: the device is nobody's afterwards, and the next client gets it.
import test from 'ava'
import { closeSync, openSync } from 'node:fs'

import { EventFd } from '../../../../ts/event/eventfd.js'
import { GuestMemory } from '../../../../ts/memory/guest-memory.js'
import type { BrokerPolicy } from '../../../../ts/vfio-user/index.js'
import { openDescriptors } from '../transport.js'
import { own, until } from '../server/peer.js'
import { speakAtRandom } from '../server/random-client.js'
import { CONFIG, MSIX, broker } from './brokered.js'

const ROUNDS = 40

test.serial('whatever a client sends, nothing of it is left at the device, and no descriptor', async (t) => {
  const shown = own(t, GuestMemory.create(0x10000))
  const eventfd = own(t, new EventFd())
  const other = openSync('/dev/zero', 'r')
  t.teardown(() => closeSync(other))
  // The fake takes every write to its configuration space, as no kernel does.
  const policy: BrokerPolicy = ({ space, offset, written }) =>
    space === 'config' && written !== undefined && (offset < 4 || offset > 0x24) ? 'deny' : 'allow'
  const { connect, server, host, hardware, broker: made, events } = broker(t, { broker: { policy } })
  const gone = (): number => events.filter(({ what }) => what === 'reset').length
  const warm = connect()
  await warm.negotiate()
  warm.close()
  await until(() => events.at(-1)?.what === 'reset')
  const before = openDescriptors()
  let hungUp = 0
  let mapped = 0
  for (let round = 0; round < ROUNDS; round++) {
    const peer = connect()
    await peer.negotiate()
    // What is there to be taken away.
    await peer.map(shown, 0x4000_0000n, 0x1000n)
    await peer.irqs(MSIX, 0, [eventfd])
    if (await speakAtRandom(peer, round, [shown.fd, eventfd.fd, other])) hungUp++
    if (made.mappedBytes > 0n) mapped++
    peer.close()
    await until(() => !server.connected && events.at(-1)?.what === 'reset')
    t.deepEqual(host.mappings, [])
    t.deepEqual(hardware.irqs.enabled, [])
    t.false(hardware.busMaster)
    t.is(made.refusal, null)
  }
  t.true(gone() >= ROUNDS)
  t.true(hungUp < ROUNDS, `${hungUp} were hung up on`)
  await until(() => openDescriptors() === before)
  t.is(openDescriptors(), before)
  const next = connect()
  await next.negotiate()
  t.is(await next.read32(CONFIG, 0), 0x11e8_1234)
  t.true(mapped > 0)
})
