// GuestBars: the device's BARs and its ROM as the guest reaches them. Places them in the guest's memory, and answers each
// access that exits: by the policy, by the MSI-X emulation, or by the device. Knows nothing of when a pass-through starts.
import type { VfioDevice } from '../../device/device.js'
import type { RegionArea } from '../../uapi/vfio/device-info.js'
import type { PciRegionName, Region } from '../../device/region.js'
import { VfioError } from '../../errors.js'
import type { IoExit, MmioExit, Vm } from '../../kvm/index.js'
import { pageSize } from '../../memory/page.js'
import { MAX_U64, bigint, boolean, instance, integer, object, oneOf } from '../../validate.js'
import type { BarRegister } from './bar-registers.js'
import { BarWindow } from './bar-window.js'
import type { GuestConfig } from './guest-config.js'
import { type PassthroughPolicy, readByPolicy, writeByPolicy } from './policy.js'
import { type Shortfalls, isRefusal } from './shortfalls.js'
import { planSlots } from './slot-plan.js'

/** Part of a BAR. */
export interface TrappedRange {
  /** 0 to 5. */
  bar: number
  /** Bytes from the BAR's start. */
  offset: number
  size: number
}

/** A BAR as the guest sees it. */
export interface GuestBar {
  /** 0 to 5. */
  readonly index: number
  readonly kind: 'memory' | 'io'
  readonly is64Bit: boolean
  readonly prefetchable: boolean
  /** Bytes that it decodes, a power of two: its alignment too. */
  readonly size: number
  /** Where it answers; null while it does not. */
  readonly address: bigint | null
}

/** What is counted of the accesses that exit. */
export interface AccessCounters {
  mmioExits: number
  pioExits: number
  failed: number
}

interface Placed {
  register: BarRegister
  window: BarWindow
}

interface BarRange extends RegionArea {
  readonly bar: number
}

interface MsixPlaces {
  readonly table: BarRange
  readonly pba: BarRange
}

/** Some bytes of an access, `at` from the start of what they belong to. */
interface Piece {
  readonly part: 'device' | 'table' | 'pending'
  readonly at: number
  bytes: Uint8Array
}

const ALL_ONES = 0xff
/** What one exit of KVM has at most: bytes of memory, bytes and elements of a port, within the page behind kvm_run. */
const MOST_MMIO = 8
const MOST_PIO = 4
const MOST_ELEMENTS = 4096
const MOST_PORT = 0xffff

/** The bytes of an exit that the guest's access is about, where KVM has them. */
function accessed(data: Uint8Array, size: number): Uint8Array {
  instance(data, Uint8Array, 'exit.data')
  if (data.length < size)
    throw new RangeError(`exit.data must have ${String(size)} bytes, not ${String(data.length)}`)
  return data.subarray(0, size)
}

export class GuestBars {
  readonly counters: AccessCounters = { mmioExits: 0, pioExits: 0, failed: 0 }
  readonly #config: GuestConfig
  readonly #policy: PassthroughPolicy | null
  readonly #rom: Region | null
  readonly #bars: readonly Placed[]
  readonly #vm: Vm
  /** Where the device's own MSI-X table and pending bits lie, whether the guest sees the capability or not. */
  readonly #msix: MsixPlaces | null
  #placing = false
  #roomSubscription: (() => void) | undefined

  /** @param trap parts whose every access exits */
  constructor(
    vm: Vm,
    device: VfioDevice,
    config: GuestConfig,
    {
      trap,
      policy,
      shortfalls,
    }: { trap: readonly TrappedRange[]; policy: PassthroughPolicy | null; shortfalls: Shortfalls },
  ) {
    this.#vm = vm
    this.#msix = device.config.capability('msix')
    this.#config = config
    this.#policy = policy
    this.#rom = optionalRegion(device, 'rom')
    this.#bars = config.bars.map((register) => {
      const { index } = register.description
      const region = device.region(barName(index))
      const trapped = [...this.#msixRanges(index), ...checkTrap(trap, index, region.size)]
      const mapped = region.flags.read && region.flags.write ? region.mmapAreas : []
      return {
        register,
        window: new BarWindow(
          vm,
          region,
          planSlots(mapped, trapped, region.size, pageSize()),
          trapped,
          shortfalls,
        ),
      }
    })
  }

  get descriptions(): GuestBar[] {
    return this.#config.bars.map((register) => ({
      index: register.description.index,
      kind: register.description.kind,
      is64Bit: register.description.is64Bit,
      prefetchable: register.description.prefetchable,
      size: register.decoded,
      address: this.#config.addressOf(register),
    }))
  }

  /** The windows that are part of the guest's memory. */
  get windows(): readonly BarWindow[] {
    return this.#bars.map(({ window }) => window)
  }

  /**
   * Puts each where the configuration space says, or takes it away. All leave before the first comes: two may change places.
   * One whose place is taken comes when whatever is there has gone, another device's BAR too.
   */
  place(): void {
    // Each slot that goes makes room, which brings us here again.
    if (this.#placing) return
    this.#placing = true
    try {
      const wanted = this.#bars
        .filter(({ register }) => register.description.kind === 'memory')
        .map(({ register, window }) => ({ window, address: this.#config.addressOf(register) }))
      for (const { window, address } of wanted) if (window.address !== address) window.remove()
      for (const { window, address } of wanted) if (address !== null) window.place(address)
    } finally {
      this.#placing = false
    }
    this.#awaitRoom(this.windows.some(({ covered }) => covered))
  }

  /** Takes all away. */
  remove(): void {
    this.#awaitRoom(false)
    const errors: unknown[] = []
    this.#placing = true
    for (const { window } of this.#bars) {
      try {
        window.remove()
      } catch (error) {
        // The others still have to go.
        errors.push(error)
      }
    }
    this.#placing = false
    if (errors.length > 0) throw errors[0]
  }

  #awaitRoom(needed: boolean): void {
    if (needed) {
      this.#roomSubscription ??= this.#vm.onMemoryRoom(() => {
        this.place()
      })
    } else {
      this.#roomSubscription?.()
      this.#roomSubscription = undefined
    }
  }

  /** Answers an MMIO exit; false when the address is none of theirs. */
  handleMmio(exit: Pick<MmioExit, 'address' | 'length' | 'isWrite' | 'data'>): boolean {
    const { address, isWrite } = object(exit, 'exit')
    bigint(address, 'exit.address', 0n, MAX_U64)
    boolean(isWrite, 'exit.isWrite')
    const data = accessed(exit.data, integer(exit.length, 'exit.length', 1, MOST_MMIO))
    const found = this.#find('memory', address)
    if (found === undefined) return this.#accessRom(address, data, isWrite)
    this.counters.mmioExits++
    this.#accessBar(found, Number(address - found.start), data, isWrite)
    return true
  }

  /** Answers a port exit; false when the port is none of theirs. */
  handlePio(exit: Pick<IoExit, 'port' | 'direction' | 'size' | 'count' | 'data'>): boolean {
    const { port, direction } = object(exit, 'exit')
    integer(port, 'exit.port', 0, MOST_PORT)
    oneOf(direction, 'exit.direction', ['in', 'out'])
    const size = integer(exit.size, 'exit.size', 1, MOST_PIO)
    const count = integer(exit.count, 'exit.count', 1, MOST_ELEMENTS)
    const data = accessed(exit.data, size * count)
    const found = this.#find('io', BigInt(port))
    if (found === undefined) return false
    this.counters.pioExits++
    const offset = port - Number(found.start)
    // A string instruction's elements all go to the one port.
    for (let i = 0; i < count; i++)
      this.#accessBar(found, offset, data.subarray(i * size, (i + 1) * size), direction === 'out')
    return true
  }

  #msixRanges(bar: number): RegionArea[] {
    if (this.#msix === null) return []
    return [this.#msix.table, this.#msix.pba].filter((range) => range.bar === bar)
  }

  #find(kind: 'memory' | 'io', address: bigint): (Placed & { start: bigint }) | undefined {
    for (const placed of this.#bars) {
      if (placed.register.description.kind !== kind) continue
      const start = this.#config.addressOf(placed.register)
      if (start !== null && address >= start && address < start + BigInt(placed.register.decoded))
        return { ...placed, start }
    }
    return undefined
  }

  #accessBar({ window: { region } }: Placed, offset: number, bytes: Uint8Array, isWrite: boolean): void {
    if (isWrite) {
      const allowed = writeByPolicy(this.#policy, region.name, offset, bytes)
      if (allowed !== null) this.#writeBar(region, offset, allowed)
    } else if (!readByPolicy(this.#policy, region.name, offset, bytes)) {
      this.#readBar(region, offset, bytes)
    }
  }

  #readBar(region: Region, offset: number, target: Uint8Array): void {
    for (const { part, at, bytes } of this.#split(region.index, offset, target)) {
      const { msix } = this.#config
      if (part === 'device') {
        this.readDevice(region, at, bytes)
      } else if (msix === null) {
        // Of a capability that is hidden there is nothing to see.
        bytes.fill(0)
      } else if (part === 'table') {
        msix.read(at, bytes)
      } else {
        msix.readPending(at, bytes)
      }
    }
  }

  #writeBar(region: Region, offset: number, source: Uint8Array): void {
    for (const { part, at, bytes } of this.#split(region.index, offset, source)) {
      // Never the device's own table: its messages are the host's.
      if (part === 'table') this.#config.msix?.write(at, bytes)
      if (part !== 'device') continue
      this.#tolerate(
        () => {
          region.write(at, bytes)
        },
        () => undefined,
      )
    }
  }

  /** An access by what its bytes belong to: one that begins beside the table or ends so is two. */
  #split(bar: number, offset: number, bytes: Uint8Array): Piece[] {
    if (this.#msix === null) return [{ part: 'device', at: offset, bytes }]
    const { table, pba } = this.#msix
    const partAt = (at: number): Omit<Piece, 'bytes'> => {
      if (isIn(table, bar, at)) return { part: 'table', at: at - table.offset }
      if (isIn(pba, bar, at)) return { part: 'pending', at: at - pba.offset }
      return { part: 'device', at }
    }
    const pieces: Piece[] = []
    for (let i = 0; i < bytes.length; i++) {
      const { part, at } = partAt(offset + i)
      const last = pieces.at(-1)
      if (last?.part === part) last.bytes = bytes.subarray(i - last.bytes.length, i + 1)
      else pieces.push({ part, at, bytes: bytes.subarray(i, i + 1) })
    }
    return pieces
  }

  /** Reads from the device itself; all ones where it does not answer. */
  readDevice(region: Region, offset: number, target: Uint8Array): void {
    this.#tolerate(
      () => {
        region.read(offset, target)
      },
      () => target.fill(ALL_ONES),
    )
  }

  #accessRom(address: bigint, bytes: Uint8Array, isWrite: boolean): boolean {
    const start = this.#config.romAddress
    const size = this.#config.rom?.decoded ?? 0
    if (this.#rom === null || start === null || address < start || address >= start + BigInt(size))
      return false
    this.counters.mmioExits++
    const rom = this.#rom
    const offset = Number(address - start)
    if (isWrite || readByPolicy(this.#policy, rom.name, offset, bytes)) return true
    this.readDevice(rom, offset, bytes)
    return true
  }

  /** A guest can make no access that a bus would not survive. */
  #tolerate(access: () => void, otherwise: () => void): void {
    try {
      access()
    } catch (error) {
      if (!isRefusal(error)) throw error
      this.counters.failed++
      otherwise()
    }
  }
}

/** @internal */
export function barName(index: number): PciRegionName {
  return `bar${String(index)}` as PciRegionName
}

/** A region that has a size; null for one that the device does not have. @internal */
export function optionalRegion(device: VfioDevice, name: PciRegionName): Region | null {
  try {
    const region = device.region(name)
    return region.size > 0 ? region : null
  } catch (error) {
    if (error instanceof VfioError && error.code === 'EINVAL') return null
    throw error
  }
}

function isIn(range: BarRange, bar: number, offset: number): boolean {
  return bar === range.bar && offset >= range.offset && offset < range.offset + range.size
}

function checkTrap(trap: readonly TrappedRange[], index: number, size: number): RegionArea[] {
  return trap
    .filter(({ bar }) => integer(bar, 'trap.bar', 0, 5) === index)
    .map(({ offset, size: length }) => {
      integer(offset, 'trap.offset', 0, size - 1)
      return { offset, size: integer(length, 'trap.size', 1, size - offset) }
    })
}
