// The types of brokers: what a policy gets and may answer, and what is told.

import { expectTypeOf } from 'expect-type'
import type { PassthroughPolicy, VfioDevice, VfioError } from '../../ts/index.js'
import {
  type AccessEvent,
  type BrokerEvent,
  type BrokerPolicy,
  DeviceBroker,
  UserDeviceServer,
} from '../../ts/vfio-user/index.js'

declare const device: VfioDevice
declare const passthrough: PassthroughPolicy

const policy: BrokerPolicy = ({ space, offset, size, written }) => {
  expectTypeOf(space).toBeString()
  expectTypeOf(offset).toBeNumber()
  expectTypeOf(size).toBeNumber()
  expectTypeOf(written).toEqualTypeOf<bigint | undefined>()
  if (offset === 0) return { deny: 'EPERM' }
  if (offset === 4) return { alter: (value) => value + 1n }
  return offset === 8 ? { replace: 1n } : 'allow'
}
expectTypeOf(passthrough).toExtend<BrokerPolicy>()
// @ts-expect-error: an answer is not awaited
const later: BrokerPolicy = () => Promise.resolve('allow' as const)
// @ts-expect-error: registers are bigints
const wrong: BrokerPolicy = () => ({ replace: 1 })

const broker = new DeviceBroker(device, {
  policy,
  onAccess: (access) => expectTypeOf(access).toEqualTypeOf<AccessEvent>(),
  onEvent: (event) => expectTypeOf(event).toEqualTypeOf<BrokerEvent>(),
  map: ['bar0'],
})
expectTypeOf(broker.refusal).toEqualTypeOf<VfioError | null>()
expectTypeOf(broker.close()).resolves.toBeVoid()
UserDeviceServer.listen('/run/typed.sock', broker)
// @ts-expect-error: only BARs are mapped
new DeviceBroker(device, { map: ['config'] })
expectTypeOf([later, wrong]).toBeArray()
