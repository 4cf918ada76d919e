// PciPassthrough: a VFIO device in a guest. Puts the parts together, and keeps the order in which they come and go.
import { VfioDevice } from '../../device/device.js'
import { EBADF, EBUSY, EINVAL, VfioError } from '../../errors.js'
import { type IoExit, type MmioExit, Vm } from '../../kvm/index.js'
import { PciConfig } from '../../pci/config.js'
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
import type { HideCapability } from './capabilities.js'
import { type GuestBar, GuestBars, type TrappedRange, barName, optionalRegion } from './guest-bars.js'
import { GuestConfig, type MessageKind } from './guest-config.js'
import { GuestDma } from './guest-dma.js'
import { GuestInterrupts } from './interrupts.js'
import { type PassthroughPolicy, numberOf, putNumber, readByPolicy, writeByPolicy } from './policy.js'
import { type ShortfallCounters, Shortfalls } from './shortfalls.js'
import { TolerantSpace } from './tolerant-space.js'

export type { GuestBar, TrappedRange } from './guest-bars.js'
export type { ShortfallCounters } from './shortfalls.js'

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

/** Figures since the start. */
export interface PassthroughCounters extends ShortfallCounters {
  configReads: number
  configWrites: number
  /** Accesses to BARs and the ROM that exited. */
  mmioExits: number
  /** Accesses to I/O ports. */
  pioExits: number
  /** Accesses that the device did not take: a read gave all ones, a write was dropped. */
  failed: number
}

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
  readonly #bars: GuestBars
  readonly #policy: PassthroughPolicy | null
  readonly #shortfalls: Shortfalls
  #configReads = 0
  #configWrites = 0
  #configFailed = 0
  #resetting: Promise<void> | undefined
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
    this.#shortfalls = new Shortfalls(device.name)
    this.#interrupts = new GuestInterrupts(vm, device, line, this.#shortfalls)
    const space = new TolerantSpace(config.space, () => this.#configFailed++)
    this.#config = new GuestConfig(
      new PciConfig(space),
      {
        barSize: (index) => optionalRegion(device, barName(index))?.size ?? 0,
        romSize: optionalRegion(device, 'rom')?.size ?? 0,
        hide,
        interruptLine: line === null ? null : 'gsi' in line ? line.gsi % 256 : 0,
      },
      {
        place: () => {
          this.#bars.place()
        },
        messages: (kind, vector) => {
          this.#interrupts.follow(this.#config, kind, vector)
        },
        pending: (kind, vector) => this.#pending(kind, vector),
      },
    )
    this.#bars = new GuestBars(vm, device, this.#config, { trap, policy, shortfalls: this.#shortfalls })
  }

  /**
   * Resets the device where it can be reset, maps the guest's memory for its DMA (at guest addresses, and from then on as
   * slots come and go), and lets its interrupt line through. The device then is as after power-up: the guest, or the VMM in
   * its firmware's place, sets its BARs and turns it on. When it is closed meanwhile, by itself, its Vm or its device, what was
   * done is undone before the promise rejects.
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
      // KVM knows of the kernel's devices only.
      const fd = device.vm === vm ? null : device.vfioFileFd
      if (fd !== null) {
        vm.vfio.add(fd)
        this.undoLater(() => {
          if (!vm.closed) vm.vfio.remove(fd)
        })
      }
      await this.#powerUp()
      this.#checkOpen()
      const dma = GuestDma.of(vm, device.addressSpace)
      // First, so that a close() meanwhile finds it.
      this.undoLater(() => {
        dma.leave(this)
      })
      await dma.join(this)
      this.#checkOpen()
      this.undoLater(() => {
        this.#bars.remove()
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
    return this.#bars.descriptions
  }

  /** Which interrupt of the device is on, as the guest has it; `off` too when the host could not turn on what it wants. */
  get interruptMode(): 'off' | 'intx' | 'msi' | 'msix' {
    return this.#interrupts.mode
  }

  /** Bytes of the configuration space: 256, or 4096 for PCI Express. */
  get configSize(): number {
    return this.#config.size
  }

  get counters(): Readonly<PassthroughCounters> {
    const { failed, ...exits } = this.#bars.counters
    return {
      configReads: this.#configReads,
      configWrites: this.#configWrites,
      ...exits,
      failed: failed + this.#configFailed,
      ...this.#shortfalls.counters,
    }
  }

  /**
   * The guest reads its configuration space. Nothing that a guest can ask makes it throw.
   * @param offset 0 to 4095
   * @param width 1 to 4 bytes, aligned or not
   * @returns all ones beyond the end, and while `reset()` is under way
   */
  readConfig(offset: number, width: number): number {
    checkConfigAccess(offset, width)
    this.#checkOpen()
    this.#configReads++
    const bytes = new Uint8Array(width)
    if (readByPolicy(this.#policy, 'config', offset, bytes)) return Number(numberOf(bytes))
    return this.#resetting === undefined ? this.#config.read(offset, width) : 2 ** (8 * width) - 1
  }

  /**
   * The guest writes its configuration space. Nothing that a guest can write makes it throw: what the host refuses is as on
   * hardware that does not do it, and in `counters`. Beyond the end, and while `reset()` is under way, it goes nowhere.
   */
  writeConfig(offset: number, width: number, value: number): void {
    checkConfigAccess(offset, width)
    integer(value, 'value', 0, 2 ** (8 * width) - 1)
    this.#checkStarted()
    this.#configWrites++
    const bytes = new Uint8Array(width)
    putNumber(bytes, BigInt(value))
    const allowed = writeByPolicy(this.#policy, 'config', offset, bytes)
    if (allowed !== null && this.#resetting === undefined)
      this.#config.write(offset, width, Number(numberOf(allowed)))
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
    return this.#answers && this.#bars.handleMmio(exit)
  }

  /**
   * Answers a port exit.
   * @returns false when the port is none of the device's
   */
  handlePio(exit: Pick<IoExit, 'port' | 'direction' | 'size' | 'count' | 'data'>): boolean {
    return this.#answers && this.#bars.handlePio(exit)
  }

  /** The guest's end of interrupt (KVM_EXIT_IOAPIC_EOI) for the pin, when `intx` is `{ onAssert, onEoi }`. */
  eoi(): void {
    this.#interrupts.eoi()
  }

  /** Resets the device with the guest, as its reset button does. The guest reaches nothing of it until that is done. */
  async reset(): Promise<void> {
    this.#checkStarted()
    this.#resetting ??= this.#reset()
    try {
      await this.#resetting
    } finally {
      this.#resetting = undefined
    }
  }

  async #reset(): Promise<void> {
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
    const touched = this.#bars.windows.flatMap((window) =>
      window.slots
        .filter(
          (slot) =>
            guestAddress === undefined ||
            (guestAddress >= slot.guestAddress && guestAddress < slot.guestAddress + BigInt(slot.size)),
        )
        .map((slot) => `${window.region.name} at guest address 0x${slot.guestAddress.toString(16)}`),
    )
    if (touched.length === 0 || this.device.closed) return error
    const { condition } = this.device
    if (condition === 'ready') return error
    return error.with({
      subject: `${touched.join(' or ')} of ${this.device.name}`,
      reason: condition,
      remedy:
        condition === 'device-lost'
          ? 'The device is gone: it was unplugged, or did not come back from a reset.'
          : 'The device does not answer: it was reset, slept or lost its decoding without the pass-through. Use reset() and writeConfig() of the pass-through.',
    })
  }

  async #powerUp(): Promise<void> {
    const { device } = this
    device.stopDma()
    if (device.info.resettable) await device.reset()
    if (!device.closed) device.config.command.raw = 0
  }

  #pending(kind: MessageKind, vector: number): boolean {
    const known = this.#interrupts.pending(kind, vector)
    const { msixCapability } = this.#config
    if (known !== null || kind === 'msi' || msixCapability === null) return known ?? false
    const { bar, offset } = msixCapability.pba
    const region = optionalRegion(this.device, barName(bar))
    if (region === null) return false
    const byte = new Uint8Array(1)
    this.#bars.readDevice(region, offset + (vector >> 3), byte)
    return (((byte[0] as number) >> (vector % 8)) & 1) === 1
  }

  get #answers(): boolean {
    return this.#state === 'started' && !this.closed && this.#resetting === undefined
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

function checkConfigAccess(offset: number, width: number): void {
  integer(width, 'width', 1, 4)
  integer(offset, 'offset', 0, regs.PCI_CFG_SPACE_EXP_SIZE - 1)
}
