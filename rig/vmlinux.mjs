// Takes the kernel proper out of its self-extracting image. Under emulation the image's own decompressor needs
// half of the boot's time; QEMU can start the result directly, through the PVH entry that Debian's kernels have.

import { gunzipSync } from 'node:zlib'

// Offsets in the boot protocol's setup header, which counts the payload from the end of the setup sectors.
const SETUP_SECTORS = 0x1f1
const PAYLOAD_OFFSET = 0x248
const PAYLOAD_LENGTH = 0x24c

const payload = (image) => {
  const start = ((image[SETUP_SECTORS] || 4) + 1) * 512 + image.readUInt32LE(PAYLOAD_OFFSET)
  return image.subarray(start, start + image.readUInt32LE(PAYLOAD_LENGTH))
}

/** The ELF kernel inside `image`, or undefined when it is compressed in a way not known here. */
export const extractVmlinux = (image, unxz) => {
  const packed = payload(image)
  if (packed.readUInt32BE(0) === 0xfd377a58) return unxz(packed)
  if (packed.readUInt16BE(0) === 0x1f8b) return gunzipSync(packed)
  return undefined
}
