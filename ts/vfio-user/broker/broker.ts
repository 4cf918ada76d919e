// DeviceBroker: a device of the kernel's, handed on to vfio-user clients one after the other. Puts the parts together, and keeps the
// order in which a client comes and goes; what each part does is beside it.
import { totalmem } from 'node:os'

import { VfioDevice } from '../../device/device.js'
import { planMmapAreas } from '../../device/mmap-plan.js'
import { PCI_REGIONS, type PciRegionName } from '../../device/names.js'
import { kernelOf } from '../../device/core.js'
import { EBUSY, EINVAL, ENODEV, ENOTTY, EPERM, VfioError } from '../../errors.js'
import { pageSize } from '../../memory/page.js'
import * as regs from '../../pci/registers.js'
import type { RegionArea } from '../../uapi/vfio/device-info.js'
import { array, callable, instance, integer, oneOf, options as optionsOf } from '../../validate.js'
import { AbsentRegion, type ServedRegion } from '../server/region.js'
import { type ClientLink, type RegionFile, Servable, type ServedDevice } from '../server/served.js'
import { type AccessEvent, type BrokerEvent, type Tell, teller } from './events.js'
import { FirstState } from './first-state.js'
import { BrokeredInterrupts } from './interrupts.js'
import { BrokeredMemory } from './memory.js'
import type { BrokerPolicy } from './policy.js'
import { BrokeredRegion, type Watch } from './registers.js'

const CONNECT = 'VFIO_USER_VERSION'
const LAST_BAR = 5
const LAST_SERVED = 7

/** The regions that clients may be let map. */
export type BrokerBar = Extract<PciRegionName, `bar${number}`>

const BARS = PCI_REGIONS.slice(0, LAST_BAR + 1) as readonly BrokerBar[]

export interface DeviceBrokerOptions {
  /** Asked for every access to configuration space, a BAR or the ROM. */
  readonly policy?: BrokerPolicy
  /** Told of every access, once it is done. */
  readonly onAccess?: (access: AccessEvent) => unknown
  /** Told of clients, and of what else they do. */
  readonly onEvent?: (event: BrokerEvent) => unknown
  /**
   * BARs that clients map, so that their accesses cost nothing, and neither `policy` nor `onAccess` sees them (default: none). **The
   * client gets the device's own descriptor**, with which it can do whatever this process could, for as long as it keeps it, also
   * when it is disconnected. So only one client is served then. For clients that you would give the device to as it is.
   */
  readonly map?: readonly BrokerBar[]
  /** How many bytes a client may show to the device; the host pins them (default: three quarters of the machine's memory). */
  readonly memoryLimit?: number
}

function checked(options: DeviceBrokerOptions | undefined): {
  watch: Watch
  tell: Tell | null
  map: readonly BrokerBar[]
  limit: bigint
} {
  const { policy, onAccess, onEvent, map = [], memoryLimit } = optionsOf(options, 'options')
  array(map, 'map').forEach((bar, i) => oneOf(bar, `map[${i}]`, BARS))
  const limit = memoryLimit ?? Math.floor(totalmem() * 0.75)
  return {
    watch: {
      policy: policy === undefined ? null : callable(policy, 'policy'),
      tell: onAccess === undefined ? null : teller(callable(onAccess, 'onAccess')),
    },
    tell: onEvent === undefined ? null : teller(callable(onEvent, 'onEvent')),
    map,
    limit: BigInt(integer(limit, 'memoryLimit', 0, Number.MAX_SAFE_INTEGER)),
  }
}

/** The MSI-X table, where it lies in a BAR. */
function tableIn(device: VfioDevice, bar: number): RegionArea | null {
  const table = device.config.capability('msix')?.table
  return table?.bar === bar ? { offset: table.offset, size: table.size } : null
}

function neverAgain(device: string, errno: number, remedy: string): VfioError {
  return new VfioError(errno, CONNECT, { subject: device, remedy })
}

/**
 * A device of the kernel's VFIO for `UserDeviceServer`: an unprivileged VMM gets it over a socket. Registers go through this process,
 * which can trace and change them; interrupts go from the kernel to the client's eventfds, and DMA from the device to the client's
 * memory, without it. Clients come one after the other, each to a device that was reset.
 *
 * Open the device with `guard: false`: nothing of it is mapped here then, and the kernel sees to each access. The device stays
 * yours: close the server first, then the broker, then the device.
 */
export class DeviceBroker extends Servable {
  readonly name: string
  readonly device: VfioDevice
  /** @internal */
  readonly served: ServedDevice
  readonly #tell: Tell | null
  readonly #map: readonly BrokerBar[]
  readonly #interrupts: BrokeredInterrupts
  readonly #memory: BrokeredMemory
  readonly #first: FirstState
  readonly #forget: () => void
  // What a new client waits for: that the last one's traces are gone.
  #ready: Promise<void> = Promise.resolve()
  #resetting: Promise<void> = Promise.resolve()
  #refusal: VfioError | null = null
  // Counts clients, so that one that went before it was served is known.
  #clients = 0
  #connected = false

  /**
   * @throws RangeError for a device that is not a PCI endpoint
   * @throws VfioError EPERM (`no-iommu`) for one that no IOMMU confines; EOPNOTSUPP for `map` and a device that is not the kernel's
   */
  constructor(device: VfioDevice, options?: DeviceBrokerOptions) {
    super()
    this.device = instance(device, VfioDevice, 'device')
    const { watch, tell, map, limit } = checked(options)
    const { name } = device
    this.name = name
    if (!device.addressSpace.backend.confines)
      throw new VfioError(EPERM, 'DeviceBroker', {
        subject: name,
        reason: 'no-iommu',
        remedy:
          'Nothing confines its DMA: whoever has the device would have all of the memory of this machine.',
      })
    if (device.info.bus !== 'pci') throw new RangeError(`${name} is no PCI device`)
    if (device.config.headerType !== regs.PCI_HEADER_TYPE_NORMAL)
      throw new RangeError(`${name} is a bridge: only endpoints can be served`)
    if (map.length > 0) kernelOf(device, 'mmap')
    this.#tell = tell
    this.#map = map
    this.#interrupts = new BrokeredInterrupts(device, tell)
    this.#memory = new BrokeredMemory(name, device.addressSpace, limit, tell)
    this.#first = new FirstState(device)
    this.served = {
      name,
      resettable: device.info.resettable,
      regions: this.#regions(watch),
      bells: [],
      interrupts: this.#interrupts,
      memory: this.#memory,
      migration: null,
      told: {},
      file: (index) => this.#file(index),
      connect: (link) => this.#connect(link),
      disconnect: () => {
        this.#disconnect()
      },
      reset: () => this.#resetByClient(),
      feature: () => {
        throw new VfioError(ENOTTY, 'VFIO_USER_DEVICE_FEATURE', { subject: name, reason: 'no-feature' })
      },
    }
    this.#forget = this.#listen()
  }

  /** Whether a client has the device. */
  get connected(): boolean {
    return this.#connected
  }

  /** Why no client is served any more; null while the next one may come. */
  get refusal(): VfioError | null {
    return this.#refusal
  }

  /** Bytes of the client's memory that the device reaches. */
  get mappedBytes(): bigint {
    return this.#memory.bytes
  }

  /** Takes the device from its client, and waits until nothing is left of that. The device stays open. Idempotent. */
  async close(): Promise<void> {
    this.#refusal ??= neverAgain(this.name, ENODEV, 'The broker is closed.')
    this.#disconnect()
    this.#forget()
    await this.#ready
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  #regions(watch: Watch): ServedRegion[] {
    const { device } = this
    return PCI_REGIONS.map((name, index) => {
      if (index > LAST_SERVED) return new AbsentRegion()
      const region = device.region(name)
      if (region.size === 0) return new AbsentRegion()
      return new BrokeredRegion(region, index <= LAST_BAR ? tableIn(device, index) : null, watch)
    })
  }

  /** The device's own descriptor, for a BAR that may be mapped: without the MSI-X table's pages. */
  #file(index: number): RegionFile | null {
    const { device } = this
    const name = BARS[index]
    if (name === undefined || !this.#map.includes(name)) return null
    const { size, flags, fileOffset, capabilities } = device.backend.regionInfo(index)
    const sparse = capabilities.find((each) => each.name === 'sparseMmap')
    const areas = planMmapAreas({
      size,
      mmap: flags.mmap,
      sparseAreas: sparse?.areas ?? null,
      msixTable: tableIn(device, index),
      msixMappable: false,
      pageSize: pageSize(),
    })
    return areas.length === 0 ? null : { fd: kernelOf(device, 'mmap').fd, offset: fileOffset, areas }
  }

  // -- clients --

  async #connect(link: ClientLink): Promise<void> {
    const client = ++this.#clients
    await this.#ready
    if (client !== this.#clients) return
    if (this.#refusal !== null) throw this.#refusal
    if (this.device.closed) throw neverAgain(this.name, ENODEV, 'The device is closed.')
    this.#memory.attach(link)
    this.#connected = true
    this.#tell?.({ what: 'connected' })
  }

  /** At once: no DMA and no interrupts. Then: nothing mapped, and a reset, before the next client is let in. */
  #disconnect(): void {
    this.#clients++
    if (!this.#connected) return
    this.#connected = false
    this.#tell?.({ what: 'gone' })
    const steps = [
      () => this.device.stopDma(),
      () => {
        this.#interrupts.release()
      },
    ]
    let refused: unknown
    for (const step of steps) {
      try {
        step()
      } catch (error) {
        refused = error
      }
    }
    this.#ready = this.#cleanUp(this.#memory.release(), refused)
  }

  async #cleanUp(released: Promise<void>, refused: unknown): Promise<void> {
    try {
      await this.#resetting.catch(() => undefined)
      await released
      if (refused !== undefined) throw refused as Error
      if (this.device.info.resettable) {
        await this.device.reset()
        this.#first.restore()
        this.#tell?.({ what: 'reset', by: 'broker' })
      }
      this.#refuse(this.#onlyOnce())
    } catch (error) {
      const errno = error instanceof VfioError ? error.errno : EINVAL
      const why = error instanceof Error ? error.message : String(error)
      this.#refuse(neverAgain(this.name, errno, `What the last client left could not be removed: ${why}`))
    }
  }

  /** What makes the first client the only one. */
  #onlyOnce(): VfioError | null {
    if (this.#map.length > 0) {
      const remedy =
        'The last client may still have the device, whose descriptor it was given (map): close the device and open it again, which the kernel refuses as long as somebody has it.'
      return neverAgain(this.name, EBUSY, remedy)
    }
    if (this.device.info.resettable) return null
    const remedy =
      'The device has no reset, so that what the last client left in it would be there for the next: close it and open it again if you trust them both.'
    return neverAgain(this.name, ENOTTY, remedy)
  }

  #refuse(refusal: VfioError | null): void {
    if (refusal === null || this.#refusal !== null) return
    this.#refusal = refusal
    this.#tell?.({ what: 'refusing', error: refusal })
  }

  async #resetByClient(): Promise<void> {
    if (!this.device.info.resettable)
      throw new VfioError(ENOTTY, 'VFIO_USER_DEVICE_RESET', {
        subject: this.name,
        remedy: 'The device has no reset of its own (info.resettable is false).',
      })
    this.#resetting = this.device.reset()
    await this.#resetting
    this.#tell?.({ what: 'reset', by: 'client' })
  }

  // -- what the kernel says of the device --

  /** Answers where nobody else does; gives what undoes that. */
  #listen(): () => void {
    const { device } = this
    const requested = (): Promise<void> => this.#giveBack()
    const broken = (): void => {
      this.#tell?.({ what: 'bus-error' })
      device.stopDma()
      this.#interrupts.signal('err')
    }
    device.onRequest ??= requested
    device.onError ??= broken
    return () => {
      if (device.onRequest === requested) device.onRequest = null
      if (device.onError === broken) device.onError = null
    }
  }

  /** The kernel waits: the client finds a device that does not answer. */
  async #giveBack(): Promise<void> {
    this.#interrupts.signal('req')
    this.#tell?.({ what: 'requested' })
    this.#refuse(neverAgain(this.name, ENODEV, 'The kernel has asked for the device back.'))
    this.#disconnect()
    await this.#ready
    await this.device.close()
  }
}
