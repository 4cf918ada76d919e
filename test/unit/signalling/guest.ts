// A guest's view of a device that is bytes: the configuration spaces of real devices, and what was told in which order.
import { PciConfig } from '../../../ts/pci/config.js'
import { GuestConfig, type MessageKind } from '../../../ts/signalling/passthrough/guest-config.js'
import { BufferConfig, parseDump } from '../pci/dump.js'

/** A configuration space that tells of every write that reaches it. */
export class WatchedConfig extends BufferConfig {
  readonly told: string[]
  constructor(bytes: Uint8Array, told: string[]) {
    super(bytes)
    this.told = told
  }
  #tell(width: number, offset: number, value: number): void {
    this.told.push(`write${String(width)} ${offset.toString(16)}=${value.toString(16)}`)
  }
  override write8(offset: number, value: number): void {
    this.#tell(8, offset, value)
    super.write8(offset, value)
  }
  override write16(offset: number, value: number): void {
    this.#tell(16, offset, value)
    super.write16(offset, value)
  }
  override write32(offset: number, value: number): void {
    this.#tell(32, offset, value)
    super.write32(offset, value)
  }
}

export interface Guest {
  config: GuestConfig
  device: WatchedConfig
  /** Events and writes to the device, in order. */
  told: string[]
  /** The device's configuration space decoded, as the guest sees it. */
  seen: PciConfig
  /** Vectors that have an interrupt waiting. */
  waiting: Set<number>
}

export interface GuestOptions {
  sizes?: Record<number, number>
  romSize?: number
  hide?: (name: string) => boolean
  interruptLine?: number | null
}

export function guest(
  dump: string,
  size: number,
  { sizes = {}, romSize = 0, hide = () => false, interruptLine = 11 }: GuestOptions = {},
): Guest {
  const told: string[] = []
  const source = parseDump(size, dump)
  const device = new WatchedConfig(
    Uint8Array.from({ length: size }, (_, i) => source.read8(i)),
    told,
  )
  const waiting = new Set<number>()
  let config: GuestConfig | undefined = undefined as GuestConfig | undefined
  const events = {
    place: (): void => {
      const places = (config?.bars ?? []).map((bar) => {
        const address = config?.addressOf(bar) ?? null
        return `${String(bar.description.index)}@${address === null ? '-' : address.toString(16)}`
      })
      told.push(`place ${places.join(' ')}`)
    },
    messages: (kind: MessageKind, vector: number | null): void => {
      told.push(`${kind} ${vector === null ? 'all' : String(vector)}`)
    },
    pending: (_kind: MessageKind, vector: number): boolean => waiting.has(vector),
  }
  config = new GuestConfig(
    new PciConfig(device),
    {
      barSize: (index) => sizes[index] ?? 0,
      romSize,
      hide: ({ name }) => hide(name),
      interruptLine,
    },
    events,
  )
  const made = config
  const space = {
    size,
    read8: (offset: number): number => made.read(offset, 1),
    read16: (offset: number): number => made.read(offset, 2),
    read32: (offset: number): number => made.read(offset, 4),
    write8: (offset: number, value: number): void => {
      made.write(offset, 1, value)
    },
    write16: (offset: number, value: number): void => {
      made.write(offset, 2, value)
    },
    write32: (offset: number, value: number): void => {
      made.write(offset, 4, value)
    },
  }
  return { config: made, device, told, seen: new PciConfig(space), waiting }
}

/** Sizes of the regions of the dumps, as QEMU has them. */
export const EDU_SIZES = { 0: 1 << 20 }
export const E1000E_SIZES = { 0: 0x20000, 1: 0x20000, 2: 0x20, 3: 0x4000 }
export const NVME_SIZES = { 0: 0x4000 }
export const GPU_SIZES = { 0: 0x100_0000, 2: 2 ** 34 }

/** Sizes a BAR as firmware does, and puts back what was there. */
export function probe(config: GuestConfig, register: number): number {
  const before = config.read(register, 4)
  config.write(register, 4, 0xffff_ffff)
  const answer = config.read(register, 4)
  config.write(register, 4, before)
  return answer
}
