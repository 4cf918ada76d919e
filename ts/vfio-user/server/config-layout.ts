// Lays out the configuration space of a device from what its author says: identity, base address registers, capabilities. Knows
// the registers; keeps no state.
import * as regs from '../../pci/registers.js'
import { bytes as bytesOf, integer, object } from '../../validate.js'
import type { ConfigHook, ConfigLayout } from './config-space.js'
import type { MsixOptions, PciIdentity, UserCapability, UserExtendedCapability } from './options.js'
import { MSIX_ENTRY_BYTES, type PlacedRegion } from './placement.js'

const CAPABILITY_HEADER = 2
const MSI_BYTES = 14
const MSIX_BYTES = 12
const ADDRESS_64 = regs.PCI_MSI_FLAGS_64BIT
const ROM_ALIGNMENT = 2048

/** What of a device its configuration space shows. */
export interface ConfigContents {
  readonly pci: PciIdentity
  readonly regions: readonly PlacedRegion[]
  readonly intx: boolean
  /** MSI vectors, 0 for none. */
  readonly msi: number
  readonly msix: MsixOptions | null
  readonly capabilities: readonly UserCapability[]
  readonly extendedCapabilities: readonly UserExtendedCapability[]
}

class Writer {
  readonly bytes: Uint8Array
  readonly writable: Uint8Array
  readonly hooks: ConfigHook[] = []
  readonly #view: DataView
  readonly #mask: DataView
  readonly #used: boolean[] = []
  #next: number = regs.PCI_STD_HEADER_SIZEOF
  #link: number = regs.PCI_CAPABILITY_LIST

  constructor(size: number) {
    this.bytes = new Uint8Array(size)
    this.writable = new Uint8Array(size)
    this.#view = new DataView(this.bytes.buffer)
    this.#mask = new DataView(this.writable.buffer)
  }

  put8(offset: number, value: number, mask = 0): void {
    this.#view.setUint8(offset, value)
    this.#mask.setUint8(offset, mask)
  }

  put16(offset: number, value: number, mask = 0): void {
    this.#view.setUint16(offset, value, true)
    this.#mask.setUint16(offset, mask, true)
  }

  put32(offset: number, value: number, mask = 0): void {
    this.#view.setUint32(offset, value, true)
    this.#mask.setUint32(offset, mask, true)
  }

  /** Puts a capability's header behind the one before, or where it is to be. */
  capability(id: number, size: number, wanted: number | undefined, name: string): number {
    const offset = wanted ?? this.#free(size)
    if (offset < 0 || offset + size > regs.PCI_CFG_SPACE_SIZE)
      throw new RangeError(`${name} of ${size} bytes has no room in configuration space`)
    for (let at = offset; at < offset + size; at++) {
      if (this.#used[at] === true) throw new RangeError(`${name} at ${offset} overlaps another one`)
      this.#used[at] = true
    }
    this.put8(this.#link, offset)
    this.put8(offset, id)
    this.#link = offset + regs.PCI_CAP_LIST_NEXT
    this.#next = (offset + size + 3) & ~3
    this.put16(regs.PCI_STATUS, regs.PCI_STATUS_CAP_LIST)
    return offset
  }

  /** The first place with so many free bytes, from behind the last capability on; -1 where there is none. */
  #free(size: number): number {
    for (let at = this.#next; at + size <= regs.PCI_CFG_SPACE_SIZE; at += 4) {
      const end = at + size
      if (!this.#used.slice(at, end).includes(true)) return at
    }
    return -1
  }
}

function putIdentity(writer: Writer, { pci, regions, intx }: ConfigContents): void {
  const { vendorId, deviceId, classCode, revision, subsystemVendorId, subsystemId } = object(pci, 'pci')
  const id = (value: unknown, name: string): number => integer(value, `pci.${name}`, 0, 0xffff)
  writer.put16(regs.PCI_VENDOR_ID, id(vendorId, 'vendorId'))
  writer.put16(regs.PCI_DEVICE_ID, id(deviceId, 'deviceId'))
  const code = integer(classCode, 'pci.classCode', 0, 0xff_ffff)
  const rev = integer(revision ?? 0, 'pci.revision', 0, 0xff)
  writer.put32(regs.PCI_CLASS_REVISION, ((code << 8) | rev) >>> 0)
  writer.put16(regs.PCI_SUBSYSTEM_VENDOR_ID, id(subsystemVendorId ?? vendorId, 'subsystemVendorId'))
  writer.put16(regs.PCI_SUBSYSTEM_ID, id(subsystemId ?? deviceId, 'subsystemId'))
  const bars = regions.filter(({ index }) => index < 6)
  const io = bars.some((each) => each.io) ? regs.PCI_COMMAND_IO : 0
  const memory = bars.some((each) => !each.io) ? regs.PCI_COMMAND_MEMORY : 0
  const always =
    regs.PCI_COMMAND_MASTER | regs.PCI_COMMAND_PARITY | regs.PCI_COMMAND_SERR | regs.PCI_COMMAND_INTX_DISABLE
  writer.put16(regs.PCI_COMMAND, 0, io | memory | always)
  writer.put8(regs.PCI_CACHE_LINE_SIZE, 0, 0xff)
  writer.put8(regs.PCI_INTERRUPT_LINE, 0, 0xff)
  writer.put8(regs.PCI_INTERRUPT_PIN, intx ? 1 : 0)
}

function putRegions(writer: Writer, regions: readonly PlacedRegion[]): void {
  for (const region of regions) {
    if (region.index === 6) {
      // An address and the bit that enables it; the size shows in multiples of 2 KiB.
      const size = Math.max(region.registerSize, ROM_ALIGNMENT)
      writer.put32(regs.PCI_ROM_ADDRESS, 0, (-size | regs.PCI_ROM_ADDRESS_ENABLE) >>> 0)
      continue
    }
    const offset = regs.PCI_BASE_ADDRESS_0 + 4 * region.index
    const size = BigInt(region.registerSize)
    const mask = BigInt.asUintN(64, -size)
    const low = Number(mask & 0xffff_ffffn)
    const memory =
      (region.is64Bit ? regs.PCI_BASE_ADDRESS_MEM_TYPE_64 : 0) |
      (region.prefetchable ? regs.PCI_BASE_ADDRESS_MEM_PREFETCH : 0)
    writer.put32(offset, region.io ? regs.PCI_BASE_ADDRESS_SPACE_IO : memory, low)
    if (region.is64Bit) writer.put32(offset + 4, 0, Number(mask >> 32n))
  }
}

function putMsi(writer: Writer, vectors: number): void {
  const offset = writer.capability(regs.PCI_CAP_ID_MSI, MSI_BYTES, undefined, 'the MSI capability')
  const capable = Math.log2(vectors) << 1
  const writable = regs.PCI_MSI_FLAGS_ENABLE | regs.PCI_MSI_FLAGS_QSIZE
  writer.put16(offset + regs.PCI_MSI_FLAGS, capable | ADDRESS_64, writable)
  writer.put32(offset + regs.PCI_MSI_ADDRESS_LO, 0, 0xffff_fffc)
  writer.put32(offset + regs.PCI_MSI_ADDRESS_HI, 0, 0xffff_ffff)
  writer.put16(offset + regs.PCI_MSI_DATA_64, 0, 0xffff)
}

function putMsix(writer: Writer, { vectors, table, pba }: MsixOptions, bar: number): void {
  const offset = writer.capability(regs.PCI_CAP_ID_MSIX, MSIX_BYTES, undefined, 'the MSI-X capability')
  const writable = regs.PCI_MSIX_FLAGS_ENABLE | regs.PCI_MSIX_FLAGS_MASKALL
  writer.put16(offset + regs.PCI_MSIX_FLAGS, vectors - 1, writable)
  writer.put32(offset + regs.PCI_MSIX_TABLE, table | bar)
  writer.put32(offset + regs.PCI_MSIX_PBA, pba | bar)
}

function masked(writable: Uint8Array | undefined, size: number, name: string): Uint8Array {
  if (writable === undefined) return new Uint8Array(size)
  const mask = bytesOf(writable, name)
  if (mask.length !== size) throw new RangeError(`${name} must have ${size} bytes, as bytes has`)
  return mask
}

function putCapability(writer: Writer, capability: UserCapability, name: string): void {
  const { id, offset, onRead, onWrite } = object(capability, name)
  const bytes = bytesOf(capability.bytes, `${name}.bytes`)
  const writable = masked(capability.writable, bytes.length, `${name}.writable`)
  integer(id, `${name}.id`, 1, 0xff)
  if (offset !== undefined) {
    integer(offset, `${name}.offset`, regs.PCI_STD_HEADER_SIZEOF, regs.PCI_CFG_SPACE_SIZE - 4)
    if (offset % 4 !== 0) throw new RangeError(`${name}.offset must be a multiple of 4`)
  }
  const size = CAPABILITY_HEADER + bytes.length
  const at = writer.capability(id, size, offset, name)
  writer.bytes.set(bytes, at + CAPABILITY_HEADER)
  writer.writable.set(writable, at + CAPABILITY_HEADER)
  if (onRead === undefined && onWrite === undefined) return
  writer.hooks.push({ offset: at, size, ...(onRead && { onRead }), ...(onWrite && { onWrite }) })
}

function putExtended(writer: Writer, capabilities: readonly UserExtendedCapability[]): void {
  let at: number = regs.PCI_CFG_SPACE_SIZE
  capabilities.forEach((capability, i) => {
    const name = `extendedCapabilities[${i}]`
    const { id, version = 1 } = object(capability, name)
    const bytes = bytesOf(capability.bytes, `${name}.bytes`)
    const end = (at + 4 + bytes.length + 3) & ~3
    const last = i === capabilities.length - 1
    if (end > regs.PCI_CFG_SPACE_EXP_SIZE) throw new RangeError(`${name} has no room in configuration space`)
    integer(id, `${name}.id`, 1, 0xffff)
    integer(version, `${name}.version`, 1, 15)
    writer.put32(at, (id | (version << 16) | ((last ? 0 : end) << 20)) >>> 0)
    writer.bytes.set(bytes, at + 4)
    writer.writable.set(masked(capability.writable, bytes.length, `${name}.writable`), at + 4)
    at = end
  })
}

/** @throws TypeError, RangeError for what cannot be, or has no room */
export function layOut(contents: ConfigContents): ConfigLayout {
  const extended = contents.extendedCapabilities.length > 0
  const writer = new Writer(extended ? regs.PCI_CFG_SPACE_EXP_SIZE : regs.PCI_CFG_SPACE_SIZE)
  putIdentity(writer, contents)
  putRegions(writer, contents.regions)
  // Those with a place of their own first: the others go around them.
  const numbered = contents.capabilities.map((capability, i) => ({ capability, name: `capabilities[${i}]` }))
  const placed = numbered.filter(({ capability }) => capability.offset !== undefined)
  const others = numbered.filter(({ capability }) => capability.offset === undefined)
  for (const { capability, name } of [...placed, ...others]) putCapability(writer, capability, name)
  if (contents.msi > 0) putMsi(writer, contents.msi)
  const { msix } = contents
  if (msix !== null) {
    const bar = contents.regions.find(({ name }) => name === msix.region)?.index ?? 0
    putMsix(writer, msix, bar)
  }
  putExtended(writer, contents.extendedCapabilities)
  return { bytes: writer.bytes, writable: writer.writable, hooks: writer.hooks }
}

/** Bytes of a table of so many vectors, and of their pending bits. */
export function msixBytes(vectors: number): { readonly table: number; readonly pba: number } {
  return { table: vectors * MSIX_ENTRY_BYTES, pba: Math.ceil(vectors / 64) * 8 }
}
