// The subpath node-vfio/vfio-user: devices that are written in TypeScript, and served to whoever speaks vfio-user.

export type { WindowReach } from './windows.js'
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
export { UserDeviceServer, type UserDeviceServerOptions } from './server/server.js'
export type { ServerStatistics } from './server/statistics.js'
