// The seam between the PCI decoders and whatever holds the bytes: a VFIO config region, a sysfs file, a
// vfio-user message or a test. It must not know any register's meaning.

/**
 * Little-endian access to a device's configuration space. Offsets are bytes from its start, aligned to the
 * width of the access; the decoders never ask for an offset at or beyond `size`.
 */
export interface ConfigSpace {
  /** Bytes that can be read: 256 or 4096, or 64 where an unprivileged reader sees only the header. */
  readonly size: number
  /** Reads one byte. */
  read8(offset: number): number
  /** Reads 16 bits at an even offset. */
  read16(offset: number): number
  /** Reads 32 bits, unsigned, at an offset that is a multiple of 4. */
  read32(offset: number): number
  /** Writes one byte. */
  write8(offset: number, value: number): void
  /** Writes 16 bits at an even offset. */
  write16(offset: number, value: number): void
  /** Writes 32 bits at an offset that is a multiple of 4. */
  write32(offset: number, value: number): void
}

const ACCESSORS = ['read8', 'read16', 'read32', 'write8', 'write16', 'write32'] as const

/** Refuses what is no ConfigSpace before it is used as one. @internal */
export function checkSpace(space: unknown): void {
  const candidate = space as Partial<ConfigSpace> | null | undefined
  if (typeof candidate?.size === 'number' && ACCESSORS.every((name) => typeof candidate[name] === 'function'))
    return
  throw new TypeError(`space must have a size and ${ACCESSORS.join(', ')}`)
}
