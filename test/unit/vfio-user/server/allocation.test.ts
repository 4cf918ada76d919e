// The path of a register: what it costs in memory, which is nothing. Without a socket, so that only the session is measured.
import test from 'ava'

import { UserDevice } from '../../../../ts/vfio-user/index.js'
import { encodeVersion } from '../../../../ts/vfio-user/protocol/negotiation.js'
import * as io from '../../../../ts/vfio-user/protocol/region-io.js'
import type { Channel } from '../../../../ts/vfio-user/server/channel.js'
import { Session } from '../../../../ts/vfio-user/server/session.js'
import { newStatistics } from '../../../../ts/vfio-user/server/statistics.js'
import { Windows } from '../../../../ts/vfio-user/windows.js'
import { SANITIZED } from '../../support.js'
import { IDENTITY } from './peer.js'

/** A connection that holds one message, and forgets what is sent. */
class StandIn implements Channel {
  readonly data = new DataView(new ArrayBuffer(4096))
  readonly out = new Uint8Array(4096)
  readonly outData = new DataView(this.out.buffer)
  readonly count = 1
  size = 0
  sent = 0

  offset(): number {
    return 0
  }
  length(): number {
    return this.size
  }
  descriptors(): number {
    return 0
  }
  takeFds(): number[] {
    return []
  }
  send(): boolean {
    this.sent++
    return true
  }
  sendBytes(): boolean {
    return true
  }
  hangUp(): void {
    throw new Error('hung up on')
  }
}

const ROUNDS = 100_000

/** Bytes of the heap that some rounds take, at the least of a few tries: the compiler and others allocate too. */
function cost(round: () => void): number {
  let least = Infinity
  for (let tries = 0; tries < 8; tries++) {
    const before = process.memoryUsage().heapUsed
    for (let i = 0; i < ROUNDS; i++) round()
    const after = process.memoryUsage().heapUsed
    // Less than before: a collection came between.
    if (after >= before) least = Math.min(least, after - before)
  }
  return least
}

const check = SANITIZED ? test.skip : test
const suffix = SANITIZED ? ' (only without a sanitizer, whose process has other figures)' : ''

check(`an access to a register allocates nothing${suffix}`, (t) => {
  let value = 0
  const device = new UserDevice({
    name: 'test device',
    pci: IDENTITY,
    regions: {
      bar0: { size: 0x1000, doorbells: [{ offset: 0x100, width: 4, match: 1, onRing: () => 0 }] },
      bar1: { size: 64, plain: true },
    },
    irqs: { msix: { vectors: 4, region: 'bar0', table: 0x800, pba: 0xc00 } },
    onRead: (_region, offset) => offset + value,
    onWrite: (_region, _offset, _width, given) => {
      value = given & 0xff
    },
  })
  const channel = new StandIn()
  const session = new Session(channel, device.served, {
    windows: () => new Windows(),
    watcher: { watch: () => () => undefined },
    report: (error) => t.fail(error.message),
    statistics: newStatistics(),
    deadlineMillis: 1000,
    closeFd: () => undefined,
  })
  channel.size = encodeVersion(channel.data, 0, 1, {})
  session.take()
  const { data } = channel
  const serve = (size: number): void => {
    channel.size = size
    session.take()
  }
  const costs = {
    read: cost(() => serve(io.writeRegionRead(data, 0, 5, 0, 0x10, 4))),
    write: cost(() => serve(io.writeRegionWrite(data, 0, 5, 0, 0x10, 4, false))),
    posted: cost(() => serve(io.writeRegionWrite(data, 0, 5, 0, 0x20, 2, true))),
    doorbell: cost(() => serve(io.writeRegionWrite(data, 0, 5, 0, 0x100, 4, true))),
    table: cost(() => serve(io.writeRegionRead(data, 0, 5, 0, 0x80c, 4))),
    plain: cost(() => serve(io.writeRegionRead(data, 0, 5, 1, 0x10, 4))),
    config: cost(() => serve(io.writeRegionRead(data, 0, 5, 7, 0x10, 4))),
  }
  session.end()
  t.true(channel.sent > ROUNDS)
  // One object of 16 bytes for each would be 1.6 million.
  for (const [what, bytes] of Object.entries(costs))
    t.true(bytes < 4 * ROUNDS, `${what}: ${String(bytes)} bytes`)
})
