// A broker over a fake device, served in this process: for tests whose client is a Peer.
import { join } from 'node:path'
import type { ExecutionContext } from 'ava'

import {
  type AccessEvent,
  type BrokerEvent,
  DeviceBroker,
  type DeviceBrokerOptions,
  UserDeviceServer,
  type UserDeviceServerOptions,
} from '../../../../ts/vfio-user/index.js'
import { type FakeDeviceOptions, fakeDevice } from '../../../fakes/device.js'
import { temporaryFolder } from '../../../temporary.js'
import { Peer } from '../server/peer.js'

export const BAR0 = 0
export const BAR2 = 2
export const CONFIG = 7
export const MSIX = 2

export type Brokered = ReturnType<typeof broker>

export interface Given {
  readonly broker?: DeviceBrokerOptions
  readonly device?: FakeDeviceOptions
  readonly server?: UserDeviceServerOptions
}

/** What goes wrong is in `errors`, what happens in `events`. */
export function broker(t: ExecutionContext, given: Given = {}) {
  const { device, hardware, host } = fakeDevice(given.device)
  const events: (BrokerEvent | AccessEvent)[] = []
  const errors: Error[] = []
  const made = new DeviceBroker(device, {
    onEvent: (event) => events.push(event),
    onAccess: (event) => events.push(event),
    ...given.broker,
  })
  const path = join(temporaryFolder(t, 'broker'), 'socket')
  const server = UserDeviceServer.listen(path, made, {
    onError: (error) => errors.push(error),
    ...given.server,
  })
  t.teardown(async () => {
    server.close()
    await made.close()
    await device.close()
  })
  const connect = (): Peer => Peer.connect(t, path)
  return { device, hardware, host, events, errors, broker: made, server, path, connect }
}

/** The same with a client that has agreed on a version. */
export async function brokered(t: ExecutionContext, given: Given = {}): Promise<Brokered & { peer: Peer }> {
  const all = broker(t, given)
  const peer = all.connect()
  const reply = await peer.negotiate()
  t.is(reply.errno, null)
  return { ...all, peer }
}
