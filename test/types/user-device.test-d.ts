// The types of devices written in TypeScript: what an author gets and gives.

import { expectTypeOf } from 'expect-type'
import {
  type AccessWidth,
  type InterruptMode,
  type ServerStatistics,
  UserDevice,
  UserDeviceServer,
  type UserDmaRange,
  type UserRegionName,
} from '../../ts/vfio-user/index.js'

const pci = { vendorId: 1, deviceId: 2, classCode: 0x030000 }
const device = new UserDevice({
  name: 'typed',
  pci,
  regions: {
    bar0: {
      size: 4096,
      read: (offset, width) => {
        expectTypeOf(offset).toBeNumber()
        expectTypeOf(width).toEqualTypeOf<AccessWidth>()
        return 0n
      },
      doorbells: [{ offset: 0, onRing: (count) => expectTypeOf(count).toBeNumber() }],
    },
  },
  irqs: { msix: { vectors: 2, region: 'bar0', table: 0, pba: 2048 } },
  onRead: (region) => {
    expectTypeOf(region).toEqualTypeOf<UserRegionName>()
    return Promise.resolve(5)
  },
  onWrite(_region, _offset, _width, value) {
    expectTypeOf(value).toBeNumber()
  },
  onWrite64(_region, _offset, value) {
    expectTypeOf(value).toBeBigInt()
  },
  migration: {
    save: () => new Uint8Array(),
    load: (state, preCopied) => {
      expectTypeOf(state).toEqualTypeOf<Uint8Array>()
      expectTypeOf(preCopied).toEqualTypeOf<Uint8Array | null>()
    },
  },
})
expectTypeOf(device.interruptMode).toEqualTypeOf<InterruptMode>()
expectTypeOf(device.dma.ranges).toEqualTypeOf<readonly UserDmaRange[]>()
expectTypeOf(device.dma.read(0n, 4)).resolves.toEqualTypeOf<Uint8Array>()
expectTypeOf(device.dma.window(0n, 4)).toEqualTypeOf<ArrayBuffer>()

// @ts-expect-error: a device has an identity
new UserDevice({ name: 'nobody' })
// @ts-expect-error: configuration space is made, not declared
new UserDevice({ name: 'typed', pci, regions: { config: { size: 256 } } })
// @ts-expect-error: there is no such interrupt
device.raise('nmi')
// @ts-expect-error: only a line goes down
device.lower('msix')
// @ts-expect-error: addresses are bigints
device.dma.copyIn(0, new Uint8Array(4))

const server = UserDeviceServer.listen('/run/typed.sock', device, { mode: 'thread' })
expectTypeOf(server.run()).resolves.toBeVoid()
expectTypeOf(server.statistics).toEqualTypeOf<Readonly<ServerStatistics>>()
// @ts-expect-error: it is loop or thread
UserDeviceServer.listen('/run/typed.sock', device, { mode: 'process' })
