// What a guest's driver sends a virtio-gpu, by the numbers of the specification: not those of the device under test.

export const GPU = {
  display: 0x100,
  create: 0x101,
  unref: 0x102,
  scanout: 0x103,
  flush: 0x104,
  transfer: 0x105,
  attach: 0x106,
  createBlob: 0x10c,
  scanoutBlob: 0x10d,
} as const

/** The answer to what was done. */
export const OK = 0x1100
