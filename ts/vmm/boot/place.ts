// Puts files into a guest's memory where a boot loader would: the command line, the initial file system. Bytes only.

const COMMAND_LINE = 0x2_0000
const KERNEL = 0x10_0000
const PAGE = 0x1000

export const view = (bytes: Uint8Array): DataView =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)

/** @throws RangeError where the bytes have no room */
export function place(memory: Uint8Array, address: number, bytes: Uint8Array, what: string): void {
  if (address + bytes.length > memory.length) throw new RangeError(`the memory is too small for ${what}`)
  memory.set(bytes, address)
}

/**
 * @param most characters that the kernel takes
 * @returns its address
 */
export function placeCommandLine(memory: Uint8Array, cmdline: string, most: number): number {
  const bytes = Buffer.from(`${cmdline}\0`, 'latin1')
  if (bytes.length - 1 > most)
    throw new RangeError(`the command line has ${bytes.length - 1} characters; the kernel takes ${most}`)
  place(memory, COMMAND_LINE, bytes, 'the command line')
  return COMMAND_LINE
}

/**
 * As high as it may lie, out of the way of what the kernel unpacks.
 * @param most the last address that it may have
 * @param kernelEnd where the kernel ends, once it has unpacked itself
 * @returns its address
 */
export function placeInitrd(
  memory: Uint8Array,
  initrd: Uint8Array,
  most: number,
  kernelEnd: number = KERNEL,
): number {
  const end = Math.min(memory.length, most + 1)
  const address = Math.floor((end - initrd.length) / PAGE) * PAGE
  if (address < kernelEnd) throw new RangeError('the memory is too small for the initial file system')
  place(memory, address, initrd, 'the initial file system')
  return address
}
