// PciPassthrough: a VFIO device in a guest. Puts the parts together, keeps the order in which they come and go, and sends
// each access of the guest to the part that answers it.
import { VfioDevice } from '../../device/device.js'
import type { RegionArea } from '../../device/info.js'
import type { Region, PciRegionName } from '../../device/region.js'
import { EBADF, EBUSY, EINVAL, VfioError } from '../../errors.js'
import { type IoExit, type MmioExit, Vm } from '../../kvm/index.js'
import { addon } from '../../native.js'
import * as regs from '../../pci/registers.js'
import {
  MAX_U64,
  array,
  bigint,
  callable,
  instance,
  integer,
  object,
  options as optionsOf,
} from '../../validate.js'
import { type KernelIntxOptions, type OwnIntxOptions, checkIntx } from '../wire-intx.js'
import { Wire } from '../wire.js'
import type { BarRegister } from './bar-registers.js'
import { BarWindow } from './bar-window.js'
import type { HideCapability } from './capabilities.js'
import { GuestConfig, type MessageKind } from './guest-config.js'
import { GuestDma } from './guest-dma.js'
import { GuestInterrupts } from './interrupts.js'
import { type PassthroughPolicy, numberOf, putNumber, readByPolicy, writeByPolicy } from './policy.js'
import { planSlots } from './slot-plan.js'

/** Part of a BAR. */
export interface TrappedRange {
  /** 0 to 5. */
  bar: number
  /** Bytes from the BAR's start. */
  offset: number
  size: number
}

export interface PassthroughOptions {
  /** Where the interrupt line goes, as for `wireIntx`; without, the guest sees a device that has none. */
  intx?: KernelIntxOptions | OwnIntxOptions
  /** Capabilities that the guest shall not see, beside those that mean nothing in a guest. */
  hide?: HideCapability
  /** Parts of BARs whose every access exits, so that `policy` sees it; whole pages of them do. */
  trap?: readonly TrappedRange[]
  /** Asked about each access that exits. */
  policy?: PassthroughPolicy
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

/** Figures since the start. */
export interface PassthroughCounters {
  configReads: number
  configWrites: number
  /** Accesses to BARs and the ROM that exited. */
  mmioExits: number
  /** Accesses to I/O ports. */
  pioExits: number
  /** Accesses that the device did not take: a read gave all ones, a write was dropped. */
  failed: number
}

interface Placed {
  register: BarRegister
  window: BarWindow
}

const KIND_OF_PIO = 'io'
const ALL_ONES = 0xff

/**
 * A PCI device of VFIO given to a guest. The guest finds a configuration space that it may size, move and reset; the
 * device's registers are its memory, without exits; interrupts reach it from the kernel; its memory is the device's.
 *
 * The VMM calls `start()` before the guest runs, sends configuration accesses to `readConfig` and `writeConfig`, and offers
 * every MMIO and port exit that is not its own to `handleMmio` and `handlePio`. For drivers that want to know the guest,
 * open the device with `VfioDevice.open(id, { vm })`.
 *
 * It closes with its Vm and its device. All calls belong to the environment (thread) that made it.
 */
export class PciPassthrough extends Wire {
  readonly vm: Vm
  readonly device: VfioDevice
  readonly #config: GuestConfig
  readonly #interrupts: GuestInterrupts
  readonly #bars: readonly Placed[]
  readonly #rom: Region | null
  readonly #policy: PassthroughPolicy | null
  readonly #counters: PassthroughCounters = {
    configReads: 0,
    configWrites: 0,
    mmioExits: 0,
    pioExits: 0,
    failed: 0,
  }
  #state: 'new' | 'starting' | 'started' = 'new'

  /** @throws RangeError for a device that is not a PCI endpoint */
  constructor(vm: Vm, device: VfioDevice, options?: PassthroughOptions) {
    super()
    this.vm = instance(vm, Vm, 'vm')
    this.device = instance(device, VfioDevice, 'device')
    const { intx, hide = () => false, trap = [], policy = null } = optionsOf(options, 'options')
    callable(hide, 'hide')
    if (policy !== null) callable(policy, 'policy')
    array(trap, 'trap')
    this.#policy = policy
    if (device.info.bus !== 'pci') throw new RangeError(`${device.name} is no PCI device`)
    const { config } = device
    if (config.headerType !== regs.PCI_HEADER_TYPE_NORMAL)
      throw new RangeError(`${device.name} is a bridge: only endpoints can be given to a guest`)
    const hasLine = config.interruptPin !== null && device.irq('intx').count > 0
    const line = intx === undefined || !hasLine ? null : checkIntx(vm, object(intx, 'intx'))
    this.#interrupts = new GuestInterrupts(vm, device, line)
    this.#rom = optionalRegion(device, 'rom')
    this.#config = new GuestConfig(
      config,
      {
        barSize: (index) => optionalRegion(device, barName(index))?.size ?? 0,
        romSize: this.#rom?.size ?? 0,
        hide,
        interruptLine: line === null ? null : 'gsi' in line ? line.gsi % 256 : 0,
      },
      {
        place: () => {
          this.#place()
        },
        messages: (kind, vector) => {
          this.#interrupts.follow(this.#config, kind, vector)
        },
        pending: (kind, vector) => this.#pending(kind, vector),
      },
    )
    const pageSize = addon().pageSize()
    this.#bars = this.#config.bars.map((register) => {
      const { index } = register.description
      const region = device.region(barName(index))
      const trapped = [...this.#msixRanges(index), ...checkTrap(trap, index, region.size)]
      const mapped = region.flags.read && region.flags.write ? region.mmapAreas : []
      return {
        register,
        window: new BarWindow(vm, region, planSlots(mapped, trapped, region.size, pageSize)),
      }
    })
  }

  /**
   * Resets the device where it can be reset, maps the guest's memory for its DMA (at guest addresses, and from then on as
   * slots come and go), and lets its interrupt line through. The device then is as after power-up: the guest, or the VMM in
   * its firmware's place, sets its BARs and turns it on.
   * @throws VfioError ENOMEM (`memlock-limit`) when the guest's memory cannot be pinned; RangeError when part of it lies
   *   where the IOMMU translates nothing (`addressSpace.iovaRanges`)
   */
  async start(): Promise<void> {
    this.#checkOpen()
    if (this.#state !== 'new') {
      throw new VfioError(EBUSY, 'start', {
        subject: this.device.name,
        remedy: 'The pass-through is started already; reset() begins anew.',
      })
    }
    this.#state = 'starting'
    const { vm, device } = this
    try {
      this.closeWith(vm)
      this.closeWith(device)
      if (device.vm !== vm) {
        const fd = device.vfioFileFd
        vm.vfio.add(fd)
        this.undoLater(() => {
          if (!vm.closed) vm.vfio.remove(fd)
        })
      }
      await this.#powerUp()
      this.#checkOpen()
      const dma = GuestDma.of(vm, device.addressSpace)
      await dma.join()
      this.undoLater(() => {
        dma.leave()
      })
      this.#checkOpen()
      this.undoLater(() => {
        for (const { window } of this.#bars) window.remove()
      })
      this.undoLater(() => {
        this.#interrupts.close()
      })
      this.undoLater(() => {
        device.stopDma()
      })
      this.#interrupts.start()
      this.#state = 'started'
    } catch (error) {
      this.close()
      throw error
    }
  }

  /** The BARs, for a VMM that lays out the guest's addresses. */
  get bars(): GuestBar[] {
    return this.#config.bars.map((register) => ({
      index: register.description.index,
      kind: register.description.kind,
      is64Bit: register.description.is64Bit,
      prefetchable: register.description.prefetchable,
      size: register.decoded,
      address: this.#config.addressOf(register),
    }))
  }

  /** Which interrupt the guest has on. */
  get interruptMode(): 'off' | 'intx' | 'msi' | 'msix' {
    return this.#interrupts.mode
  }

  /** Bytes of the configuration space: 256, or 4096 for PCI Express. */
  get configSize(): number {
    return this.#config.size
  }

  get counters(): Readonly<PassthroughCounters> {
    return { ...this.#counters }
  }

  /**
   * The guest reads its configuration space.
   * @param width 1, 2 or 4 bytes
   * @returns all ones beyond the end
   */
  readConfig(offset: number, width: number): number {
    checkConfigAccess(offset, width)
    this.#checkOpen()
    this.#counters.configReads++
    const bytes = new Uint8Array(width)
    if (readByPolicy(this.#policy, 'config', offset, bytes)) return Number(numberOf(bytes))
    return this.#config.read(offset, width)
  }

  /**
   * The guest writes its configuration space.
   * @throws VfioError when the host cannot follow: no interrupt vectors left (ENOSPC), for example
   */
  writeConfig(offset: number, width: number, value: number): void {
    checkConfigAccess(offset, width)
    integer(value, 'value', 0, 2 ** (8 * width) - 1)
    this.#checkStarted()
    this.#counters.configWrites++
    const bytes = new Uint8Array(width)
    putNumber(bytes, BigInt(value))
    const allowed = writeByPolicy(this.#policy, 'config', offset, bytes)
    if (allowed !== null) this.#config.write(offset, width, Number(numberOf(allowed)))
  }

  /** Puts a BAR somewhere, as firmware does: for a guest that finds it set up. The command register turns it on. */
  setBar(index: number, address: bigint): void {
    const bar = this.bars.find((each) => each.index === index)
    if (bar === undefined) throw new RangeError(`${this.device.name} has no BAR ${String(index)}`)
    bigint(address, 'address', 0n, bar.is64Bit ? MAX_U64 : 0xffff_ffffn)
    if (address % BigInt(bar.size) !== 0n)
      throw new RangeError(`address must be a multiple of ${String(bar.size)}, the BAR's size`)
    const register = regs.PCI_BASE_ADDRESS_0 + 4 * index
    this.writeConfig(register, 4, Number(address & 0xffff_ffffn))
    if (bar.is64Bit) this.writeConfig(register + 4, 4, Number(address >> 32n))
  }

  /**
   * Answers an MMIO exit: an access to a BAR's trapped pages, the MSI-X table, or the ROM.
   * @returns false when the address is none of the device's
   */
  handleMmio(exit: Pick<MmioExit, 'address' | 'length' | 'isWrite' | 'data'>): boolean {
    const { address, length, isWrite, data } = exit
    const found = this.#find('memory', address)
    if (found !== undefined) {
      this.#counters.mmioExits++
      this.#accessBar(found, Number(address - found.start), data.subarray(0, length), isWrite)
      return true
    }
    return this.#accessRom(address, data.subarray(0, length), isWrite)
  }

  /**
   * Answers a port exit.
   * @returns false when the port is none of the device's
   */
  handlePio(exit: Pick<IoExit, 'port' | 'direction' | 'size' | 'count' | 'data'>): boolean {
    const { port, direction, size, count, data } = exit
    const found = this.#find(KIND_OF_PIO, BigInt(port))
    if (found === undefined) return false
    this.#counters.pioExits++
    const offset = port - Number(found.start)
    // A string instruction's elements all go to the one port.
    for (let i = 0; i < count; i++)
      this.#accessBar(found, offset, data.subarray(i * size, (i + 1) * size), direction === 'out')
    return true
  }

  /** The guest's end of interrupt (KVM_EXIT_IOAPIC_EOI) for the pin, when `intx` is `{ onAssert, onEoi }`. */
  eoi(): void {
    this.#interrupts.eoi()
  }

  /** Resets the device with the guest, as its reset button does. */
  async reset(): Promise<void> {
    this.#checkStarted()
    this.#config.clear()
    this.#interrupts.close()
    await this.#powerUp()
    this.#checkOpen()
    this.#interrupts.start()
  }

  /**
   * Says more about an error of `vcpu.run()`: EFAULT, where the guest touched a BAR that does not answer, because the
   * device was reset, put to sleep or unplugged behind the pass-through's back.
   * @returns the error with the BAR in it, or as it was
   */
  explain(error: unknown, guestAddress?: bigint): unknown {
    if (!(error instanceof VfioError) || error.code !== 'EFAULT') return error
    const touched = this.#bars.flatMap(({ window }) =>
      window.slots
        .filter(
          (slot) =>
            guestAddress === undefined ||
            (guestAddress >= slot.guestAddress && guestAddress < slot.guestAddress + BigInt(slot.size)),
        )
        .map((slot) => `${window.region.name} at guest address 0x${slot.guestAddress.toString(16)}`),
    )
    if (touched.length === 0 || this.device.closed || this.device.config.command.memorySpace) return error
    return error.with({
      subject: `${touched.join(' or ')} of ${this.device.name}`,
      reason: 'memory-decoding-off',
      remedy:
        'The device does not answer: it was reset, slept or lost its decoding without the pass-through. Use reset() and writeConfig() of the pass-through.',
    })
  }

  async #powerUp(): Promise<void> {
    const { device } = this
    device.stopDma()
    if (device.info.resettable) await device.reset()
    if (!device.closed) device.config.command.raw = 0
  }

  #place(): void {
    for (const { register, window } of this.#bars) {
      if (register.description.kind === 'memory') window.place(this.#config.addressOf(register))
    }
  }

  #msixRanges(bar: number): RegionArea[] {
    const { msixCapability } = this.#config
    if (msixCapability === null) return []
    return [msixCapability.table, msixCapability.pba].filter((range) => range.bar === bar)
  }

  #pending(kind: MessageKind, vector: number): boolean {
    const known = this.#interrupts.pending(kind, vector)
    const { msixCapability } = this.#config
    if (known !== null || kind === 'msi' || msixCapability === null) return known ?? false
    const { bar, offset } = msixCapability.pba
    const region = optionalRegion(this.device, barName(bar))
    return region !== null && ((region.read8(offset + (vector >> 3)) >> (vector % 8)) & 1) === 1
  }

  #find(kind: 'memory' | 'io', address: bigint): (Placed & { start: bigint }) | undefined {
    if (this.#state !== 'started' || this.closed) return undefined
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
    const { msix, msixCapability } = this.#config
    if (msix !== null && msixCapability !== null) {
      const { table, pba } = msixCapability
      if (isIn(table, region.index, offset, target.length)) {
        msix.read(offset - table.offset, target)
        return
      }
      if (isIn(pba, region.index, offset, target.length)) {
        msix.readPending(offset - pba.offset, target)
        return
      }
    }
    this.#tolerate(
      () => {
        region.read(offset, target)
      },
      () => target.fill(ALL_ONES),
    )
  }

  #writeBar(region: Region, offset: number, source: Uint8Array): void {
    const { msix, msixCapability } = this.#config
    if (msix !== null && msixCapability !== null) {
      const { table, pba } = msixCapability
      if (isIn(table, region.index, offset, source.length)) {
        msix.write(offset - table.offset, source)
        return
      }
      // Never the device's own: its messages are the host's.
      if (touches(table, region.index, offset, source.length)) return
      if (touches(pba, region.index, offset, source.length)) return
    }
    this.#tolerate(
      () => {
        region.write(offset, source)
      },
      () => undefined,
    )
  }

  #accessRom(address: bigint, bytes: Uint8Array, isWrite: boolean): boolean {
    const start = this.#state === 'started' && !this.closed ? this.#config.romAddress : null
    const size = this.#config.rom?.decoded ?? 0
    if (this.#rom === null || start === null || address < start || address >= start + BigInt(size))
      return false
    this.#counters.mmioExits++
    const rom = this.#rom
    const offset = Number(address - start)
    if (isWrite || readByPolicy(this.#policy, rom.name, offset, bytes)) return true
    this.#tolerate(
      () => {
        rom.read(offset, bytes)
      },
      () => bytes.fill(ALL_ONES),
    )
    return true
  }

  /** A guest can make no access that a bus would not survive. */
  #tolerate(access: () => void, otherwise: () => void): void {
    try {
      access()
    } catch (error) {
      if (!(error instanceof VfioError) && !(error instanceof RangeError)) throw error
      this.#counters.failed++
      otherwise()
    }
  }

  #checkOpen(): void {
    if (this.closed)
      throw new VfioError(EBADF, 'closed', { subject: `PciPassthrough of ${this.device.name}` })
  }

  #checkStarted(): void {
    this.#checkOpen()
    if (this.#state === 'started') return
    throw new VfioError(EINVAL, 'start', {
      subject: this.device.name,
      remedy: 'The pass-through is not started: await start() first.',
    })
  }
}

function barName(index: number): PciRegionName {
  return `bar${String(index)}` as PciRegionName
}

/** A region that has a size; null for one that the device does not have. */
function optionalRegion(device: VfioDevice, name: PciRegionName): Region | null {
  try {
    const region = device.region(name)
    return region.size > 0 ? region : null
  } catch (error) {
    if (error instanceof VfioError && error.code === 'EINVAL') return null
    throw error
  }
}

interface BarRange extends RegionArea {
  readonly bar: number
}

function isIn(range: BarRange, bar: number, offset: number, length: number): boolean {
  return bar === range.bar && offset >= range.offset && offset + length <= range.offset + range.size
}

function touches(range: BarRange, bar: number, offset: number, length: number): boolean {
  return bar === range.bar && offset < range.offset + range.size && offset + length > range.offset
}

function checkTrap(trap: readonly TrappedRange[], index: number, size: number): RegionArea[] {
  return trap
    .filter(({ bar }) => integer(bar, 'trap.bar', 0, 5) === index)
    .map(({ offset, size: length }) => {
      integer(offset, 'trap.offset', 0, size - 1)
      return { offset, size: integer(length, 'trap.size', 1, size - offset) }
    })
}

function checkConfigAccess(offset: number, width: number): void {
  if (![1, 2, 4].includes(width)) throw new RangeError(`width must be 1, 2 or 4, not ${String(width)}`)
  integer(offset, 'offset', 0, regs.PCI_CFG_SPACE_EXP_SIZE - width)
}
