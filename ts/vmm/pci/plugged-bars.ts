// The BARs of a plugged-in device: on the guest's bus wherever the guest puts them, with their doorbells in the kernel. Whatever the
// guest writes, a BAR that has no place is simply not there.
import { VfioError } from '../../errors.js'
import type { SignalPoller } from '../../event/poller.js'
import type { Vm } from '../../kvm/index.js'
import * as regs from '../../pci/registers.js'
import { wireDoorbell } from '../../signalling/wire-doorbell.js'
import type { Bell } from '../../vfio-user/server/doorbell.js'
import type { ServedRegion } from '../../vfio-user/server/region.js'
import type { ServedDevice } from '../../vfio-user/server/served.js'
import type { Bus, BusDevice } from '../bus.js'
import { answer, CONFIG_REGION } from './plugged-region.js'

export interface PluggedBarsOptions {
  readonly poller: SignalPoller
  readonly onError: (error: unknown) => void
  /** Told of each write to a BAR, once it is done. */
  readonly written: (region: number, offset: number) => void
}

interface Bar {
  readonly index: number
  readonly region: ServedRegion
  readonly bells: readonly Bell[]
  readonly device: BusDevice
  /** Where it is; undefined while it does not decode. */
  address: bigint | undefined
  undo: (() => void)[]
}

const BARS = 6
const IO_MASK = 0xffff_fffc
const MEMORY_MASK = 0xffff_fff0

export class PluggedBars {
  readonly #vm: Vm
  readonly #bus: Bus
  readonly #options: PluggedBarsOptions
  readonly #config: ServedRegion | undefined
  readonly #bars: readonly Bar[]
  #reported = false

  constructor(vm: Vm, bus: Bus, device: ServedDevice, options: PluggedBarsOptions) {
    this.#vm = vm
    this.#bus = bus
    this.#options = options
    this.#config = device.regions[CONFIG_REGION]
    this.#bars = device.regions.slice(0, BARS).flatMap((region, index): Bar[] => {
      if (region.size === 0) return []
      const bells = device.bells.filter((part) => part.index === index).flatMap((part) => part.bells)
      return [{ index, region, bells, device: this.#onBus(index, region), address: undefined, undo: [] }]
    })
  }

  /** Puts the BARs where the configuration space says. */
  follow(): void {
    const command = this.#register(regs.PCI_COMMAND) & 0xffff
    const moved = this.#bars.filter((bar) => bar.address !== this.#wanted(bar, command))
    // All away before the first comes: they may have changed places.
    for (const bar of moved) this.#remove(bar)
    for (const bar of moved) this.#place(bar, this.#wanted(bar, command))
  }

  close(): void {
    for (const bar of this.#bars) this.#remove(bar)
  }

  #register(offset: number): number {
    return this.#config === undefined ? 0 : answer(this.#config.read(offset, 4), 4)
  }

  #isPorts({ index }: Bar): boolean {
    return (this.#register(regs.PCI_BASE_ADDRESS_0 + 4 * index) & regs.PCI_BASE_ADDRESS_SPACE_IO) !== 0
  }

  /** Where a BAR is to be; undefined for nowhere. */
  #wanted(bar: Bar, command: number): bigint | undefined {
    const register = regs.PCI_BASE_ADDRESS_0 + 4 * bar.index
    const low = this.#register(register)
    if ((low & regs.PCI_BASE_ADDRESS_SPACE_IO) !== 0)
      return (command & regs.PCI_COMMAND_IO) === 0 ? undefined : BigInt((low & IO_MASK) >>> 0)
    if ((command & regs.PCI_COMMAND_MEMORY) === 0) return undefined
    const wide = (low & regs.PCI_BASE_ADDRESS_MEM_TYPE_MASK) === regs.PCI_BASE_ADDRESS_MEM_TYPE_64
    const high = wide ? BigInt(this.#register(register + 4)) : 0n
    return (high << 32n) | BigInt((low & MEMORY_MASK) >>> 0)
  }

  #place(bar: Bar, address: bigint | undefined): void {
    bar.address = address
    if (address === undefined) return
    const ports = this.#isPorts(bar)
    try {
      bar.undo.push(
        ports
          ? this.#bus.attachPorts(Number(address), bar.region.size, bar.device)
          : this.#bus.attachMemory(address, bar.region.size, bar.device),
      )
    } catch (error) {
      // The guest has put it over another device, or where nothing can be.
      if (error instanceof RangeError) return
      throw error
    }
    for (const bell of bar.bells) this.#wire(bar, ports, address, bell)
  }

  /** A write that rings need not leave the kernel. Where the kernel refuses, the write comes by the bus. */
  #wire(bar: Bar, ports: boolean, address: bigint, { offset, width, match, onRing }: Bell): void {
    const { poller } = this.#options
    const at = address + BigInt(offset)
    const length = width as 0 | 1 | 2 | 4 | 8
    const handler = (count: number): void => {
      try {
        onRing(count)
      } catch (error) {
        this.#report(error)
      }
    }
    try {
      const wire = wireDoorbell(
        this.#vm,
        { ...(ports ? { pio: Number(at) } : { mmio: at }), length, ...(match !== null && { match }) },
        { handler, poller },
      )
      bar.undo.push(() => {
        wire.close()
      })
    } catch (error) {
      // Where the guest has memory, or another doorbell: it has put the BAR there itself.
      if (!(error instanceof VfioError && ['EFAULT', 'EEXIST'].includes(error.code))) this.#report(error)
    }
  }

  /** Once: a guest must not be able to fill a log. */
  #report(error: unknown): void {
    if (this.#reported) return
    this.#reported = true
    this.#options.onError(error)
  }

  #remove(bar: Bar): void {
    for (const undo of bar.undo.reverse()) undo()
    bar.undo = []
    bar.address = undefined
  }

  #onBus(index: number, region: ServedRegion): BusDevice {
    return {
      read: (offset, width) => answer(region.read(offset, width), width),
      write: (offset, width, value) => {
        const later = region.write(offset, width, value)
        if (later instanceof Promise)
          later.catch((error: unknown) => {
            this.#report(error)
          })
        this.#options.written(index, offset)
      },
    }
  }
}
