// A PCI device that is bytes, for passing through to a real machine of the host's KVM: its configuration space is a dump of a
// real one, its BARs are memory, and its interrupts are told. What the host can spare, and when, is the test's to say.
import {
  type EventFd,
  GuestMemory,
  InterruptIndex,
  PciConfig,
  Region,
  type RegionDoorbell,
  VfioDevice,
  VfioError,
} from '../../ts/index.js'
import { type DeviceBackend, IRQ_ACTION } from '../../ts/device/backend.js'
import type { VmVfio } from '../../ts/kvm/index.js'
import { coreOf } from '../fakes/device-core.js'
import { BufferConfig, parseDump } from '../unit/pci/dump.js'

const PAGE = 4096
export const ENOSPC = 28
const EIO = 5

/** An address space that notes what is mapped in it; `gate` holds each mapping up. */
export class FakeSpace {
  readonly mapped = new Map<bigint, number>()
  closed = false
  gate: (() => Promise<void>) | undefined
  /** Mappings that were begun. */
  started = 0

  async map(_memory: unknown, { iova, size }: { iova: bigint; size: number }): Promise<bigint> {
    this.started++
    await this.gate?.()
    return this.mapSync(_memory, { iova, size })
  }

  mapSync(_memory: unknown, { iova, size }: { iova: bigint; size: number }): bigint {
    if (this.mapped.has(iova)) throw new VfioError(17, 'VFIO_IOMMU_MAP_DMA', { subject: iova.toString(16) })
    this.mapped.set(iova, size)
    return iova
  }

  unmapSync(iova: bigint): bigint {
    const size = this.mapped.get(iova) ?? 0
    this.mapped.delete(iova)
    return BigInt(size)
  }
}

export interface FakeOptions {
  dump: string
  /** Bytes of configuration space. */
  size?: number
  /** Bytes of each BAR. */
  bars?: Record<number, number>
  /** Writes to each BAR that it takes by eventfd. */
  doorbells?: Record<number, readonly RegionDoorbell[]>
  msi?: number
  msix?: number
  /** Vectors that the host can spare. */
  spare?: number
  /** Whether the refusal says how many. */
  says?: boolean
  space?: FakeSpace
  vm: { readonly vfio: VmVfio }
  /** What reset() waits for; without, the device has none. */
  reset?: () => Promise<void>
}

/** A configuration space that can go away. */
class LosableConfig extends BufferConfig {
  lost = false
  override read8(offset: number): number {
    this.#check()
    return super.read8(offset)
  }
  override read16(offset: number): number {
    this.#check()
    return super.read16(offset)
  }
  override read32(offset: number): number {
    this.#check()
    return super.read32(offset)
  }
  override write8(offset: number, value: number): void {
    this.#check()
    super.write8(offset, value)
  }
  override write16(offset: number, value: number): void {
    this.#check()
    super.write16(offset, value)
  }
  override write32(offset: number, value: number): void {
    this.#check()
    super.write32(offset, value)
  }
  #check(): void {
    if (this.lost) throw new VfioError(EIO, 'pread')
  }
}

export class FakeDevice {
  readonly device: VfioDevice
  readonly space: FakeSpace
  readonly config: LosableConfig
  /** The memory behind each BAR. */
  readonly memory = new Map<number, GuestMemory>()
  /** Eventfds by vector, of the interrupt that is on. */
  eventfds: (EventFd | null)[] = []
  /** The numbers of vectors that were asked for at once. */
  readonly asked: number[] = []
  spare: number
  closed = false
  readonly #undo = new Set<() => void>()

  constructor(options: FakeOptions) {
    const { dump, size = 4096, bars = {}, vm, says = true } = options
    this.spare = options.spare ?? Infinity
    this.space = options.space ?? new FakeSpace()
    const source = parseDump(size, dump)
    this.config = new LosableConfig(Uint8Array.from({ length: size }, (_, i) => source.read8(i)))
    const config = new PciConfig(this.config)
    const setIrqs: DeviceBackend['setIrqs'] = (action, _index, start, count, data) => {
      if (action !== IRQ_ACTION.trigger) return
      if (data === null) {
        this.eventfds = []
        return
      }
      this.asked.push(count)
      if (start + count > this.spare) {
        const available: object = says && this.spare > 0 ? { available: this.spare } : {}
        throw new VfioError(ENOSPC, 'VFIO_DEVICE_SET_IRQS', available)
      }
      ;(data as (EventFd | null)[]).forEach((eventfd, i) => (this.eventfds[start + i] = eventfd))
    }
    const owner = coreOf({ setIrqs })
    const flags = { eventfd: true, maskable: false, automasked: false, noresize: false, raw: 0 }
    const irqs = new Map(
      [0, options.msi ?? 0, options.msix ?? 0].map((count, index) => [
        ['intx', 'msi', 'msix'][index] as string,
        new InterruptIndex({ index, count, flags }, owner),
      ]),
    )
    const bar = ([index, bytes]: [string, number]): [string, Region] =>
      this.#bar(Number(index), bytes, options.doorbells?.[Number(index)])
    const regions = new Map(Object.entries(bars).map(bar))
    const property = (value: unknown): PropertyDescriptor => ({ value })
    const readClosed = (): boolean => this.closed
    this.device = Object.create(VfioDevice.prototype, {
      name: property('the fake'),
      label: property('the fake'),
      info: property({ bus: 'pci', resettable: options.reset !== undefined }),
      config: property(config),
      addressSpace: property(this.space),
      vm: property(vm),
      vfioFileFd: property(-1),
      closed: { get: readClosed },
      irq: property((name: string) => irqs.get(name)),
      region: property((name: string) => {
        const region = regions.get(name)
        if (region === undefined) throw new VfioError(22, 'VFIO_DEVICE_GET_REGION_INFO')
        return region
      }),
      reset: property(options.reset ?? ((): Promise<void> => Promise.resolve())),
      stopDma: property(() => false),
      beforeClose: property((undo: () => void) => {
        this.#undo.add(undo)
        return () => this.#undo.delete(undo)
      }),
    }) as VfioDevice
  }

  /** Closes it as the real one closes: what hangs on it goes first. */
  close(): void {
    for (const undo of [...this.#undo].reverse()) undo()
    this.closed = true
    for (const memory of this.memory.values()) memory.close()
  }

  #bar(index: number, size: number, doorbells: readonly RegionDoorbell[] = []): [string, Region] {
    const name = `bar${String(index)}`
    const memory = GuestMemory.create(Math.max(size, PAGE))
    this.memory.set(index, memory)
    const bytes = new Uint8Array(memory.buffer)
    const check = (offset: number, length: number): void => {
      if (offset + length > size) throw new RangeError(`offset must be below ${String(size - length)}`)
    }
    const region = Object.create(Region.prototype, {
      name: { value: name },
      index: { value: index },
      size: { value: size },
      flags: { value: { read: true, write: true, mmap: true, caps: false, raw: 7 } },
      mmapAreas: { value: size >= PAGE ? [{ offset: 0, size }] : [] },
      native: { get: () => memory.native },
      doorbells: { value: doorbells },
      read: {
        value: (offset: number, target: Uint8Array): void => {
          check(offset, target.length)
          target.set(bytes.subarray(offset, offset + target.length))
        },
      },
      read8: { value: (offset: number) => bytes[offset] },
      write: {
        value: (offset: number, source: Uint8Array): void => {
          check(offset, source.length)
          bytes.set(source, offset)
        },
      },
    }) as Region
    return [name, region]
  }
}
