// The subpath node-vfio/vfio-user: devices for whoever speaks vfio-user, written in TypeScript or brokered from the kernel.

export type { WindowReach } from './windows.js'
export { type BrokerBar, DeviceBroker, type DeviceBrokerOptions } from './broker/broker.js'
export type { AccessEvent, AccessOutcome, BrokerEvent } from './broker/events.js'
export type { BrokerAccess, BrokerAnswer, BrokerPolicy } from './broker/policy.js'
export { DeviceDma, type UserDmaRange } from './server/dma.js'
export type { InterruptMode } from './server/interrupts.js'
export type {
  AccessWidth,
  Doorbell,
  MsixOptions,
  PciIdentity,
  Read64Handler,
  ReadHandler,
  RegisterValue,
  UserCapability,
  UserDeviceHandlers,
  UserDeviceOptions,
  UserExtendedCapability,
  UserIrqName,
  UserIrqOptions,
  UserMigration,
  UserRegionName,
  UserRegionOptions,
  Write64Handler,
  WriteHandler,
} from './server/options.js'
export { UserDevice } from './server/user-device.js'
export { Servable } from './server/served.js'
export { UserDeviceServer, type UserDeviceServerOptions } from './server/server.js'
export type { ServerStatistics } from './server/statistics.js'
