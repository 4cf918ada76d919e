// What a session serves: a device as messages ask for it. One that is written in TypeScript is such a device (UserDevice), and so is
// one of the kernel's that is handed on (DeviceBroker). Knows neither; what both have in common is that one server has them.
import { EBUSY, VfioError } from '../../errors.js'
import type { EventFd } from '../../event/eventfd.js'
import type { RegionArea } from '../../uapi/vfio/device-info.js'
import type { DmaMap, DmaUnmap } from '../protocol/dma.js'
import type { FeatureCall } from '../protocol/feature.js'
import type { Windows } from '../windows.js'
import type { MessageTransfer } from './dma.js'
import type { EventWatch } from './interrupts.js'
import type { MigrationMachine } from './migration.js'
import type { UserDeviceHandlers } from './options.js'
import type { ServedRegion } from './region.js'
import type { BelledPart } from './region-kinds.js'

type Later<T> = T | Promise<T>

/** What belongs to a client as long as it is connected. */
export interface ClientLink {
  /** A table for the memory that it shows. */
  readonly windows: () => Windows
  readonly messages: MessageTransfer
  readonly mostMaps: number
}

/** What of a region a client may map, and by which file. */
export interface RegionFile {
  readonly fd: number
  /** Where in the file the region begins. */
  readonly offset: number
  /** Null for all of the region. */
  readonly areas: readonly RegionArea[] | null
}

/** What a client may do about interrupts. What it asks for was checked against `count()`. */
export interface ServedInterrupts {
  count(index: number): number
  flags(index: number): number
  /** Gives vectors from `start` on their eventfds, or (null) takes them away. They are the interrupts' from here on. */
  assign(index: number, start: number, eventfds: readonly (EventFd | null)[]): void
  /** Switches an index off. */
  disable(index: number): void
  /** Whether one of an index's vectors has an eventfd. */
  taken(index: number): boolean
  /** Signals as the device would. */
  trigger(index: number, vector: number): void
  mask(): void
  unmask(): void
  /** The eventfd whose signals unmask the pin. */
  setUnmask(eventfd: EventFd | null, watcher: EventWatch): void
  /** Whether somebody in this process waits for that eventfd. */
  readonly watchesUnmask: boolean
  /** Signals sent since the device was made. */
  readonly signals: number
}

/** The client's memory, as it shows it. */
export interface ServedMemory {
  /** @param fd is the memory's from here on, also when this throws */
  map(map: DmaMap, fd: number | undefined): Later<void>
  /** @returns how many bytes that were */
  unmap(unmap: DmaUnmap): Later<bigint>
  /** Whether a log of dirty pages is kept. */
  readonly logging: boolean
  takeDirty(iova: bigint, size: bigint, pageSize: bigint): Uint8Array
}

/** A device, as a session asks it. */
export interface ServedDevice {
  readonly name: string
  /** Whether clients are told that it can be reset. */
  readonly resettable: boolean
  /** By index. */
  readonly regions: readonly ServedRegion[]
  readonly bells: readonly BelledPart[]
  readonly interrupts: ServedInterrupts
  readonly memory: ServedMemory
  readonly migration: MigrationMachine | null
  /** Told of what a client does to the device as a whole, once it is answered. */
  readonly told: Pick<UserDeviceHandlers, 'onConnect' | 'onDisconnect' | 'onMemory' | 'onCommand'>
  /** What of a region may be mapped; null for nothing. */
  file(index: number): RegionFile | null
  /** A client has come. @throws for one that is not to be served */
  connect(link: ClientLink): Later<void>
  /** The client is gone, and with it what it gave. Also called for one that `connect()` has refused. */
  disconnect(): void
  reset(): Later<unknown>
  feature(call: FeatureCall, data: Uint8Array): Later<Uint8Array>
}

/** What a UserDeviceServer can show to clients: a UserDevice, or a DeviceBroker. */
export abstract class Servable {
  /** What errors call it. */
  abstract readonly name: string
  #server: object | null = null

  /** What a session works on. @internal */
  abstract get served(): ServedDevice

  /** Makes a server the only one. @internal */
  claim(server: object): () => void {
    if (this.#server !== null) {
      throw new VfioError(EBUSY, 'listen', {
        subject: this.name,
        remedy: 'Another server has the device: close that one, or make another device.',
      })
    }
    this.#server = server
    return () => {
      this.#server = null
    }
  }
}

/** An access that is refused, for clients that can be told so: the others read all ones, and have their writes dropped. */
export class Denial extends Error {
  override readonly name = 'Denial'
  readonly errno: number

  /** @param cause what is reported; undefined for what was meant to be denied */
  constructor(errno: number, cause?: unknown) {
    super('the access was denied', { cause })
    this.errno = errno
  }
}
