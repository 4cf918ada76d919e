// The registers of the device that served-device.ts serves.
export const SERVED = {
  memoryBytes: 16384,
  iova: 0x100,
  vector: 0x104,
  command: 0x108,
  done: 0x10c,
  first: 0x110,
  resets: 0x114,
  rings: 0x118,
  writes: 0x11c,
  messages: 0x120,
  doorbell: 0x200,
  raise: 1,
  read: 2,
  write: 3,
  raiseLine: 4,
  lowerLine: 5,
} as const
