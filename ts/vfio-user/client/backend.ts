// A device behind a vfio-user socket: what stands behind a VfioDevice there. Each operation is one message, or as many as the
// protocol needs for it.
import type {
  DeviceBackend,
  DmaLog,
  IrqData,
  MigrationSession,
  RegionDoorbell,
} from '../../device/backend.js'
import { FEATURE_FLAG } from '../../device/features/ids.js'
import { MIGRATION_STATES, SAVING } from '../../device/migration/states.js'
import { EINVAL, VfioError } from '../../errors.js'
import { type NativeHandle, addon } from '../../native/index.js'
import type { DeviceInfo, IrqInfo, RegionArea, RegionInfo } from '../../uapi/vfio/device-info.js'
import {
  decodeGetInfoReply,
  decodeIrqInfoReply,
  encodeGetInfo,
  encodeGetIrqInfo,
  encodeReset,
} from '../protocol/device-info.js'
import { FEATURE } from '../protocol/feature.js'
import { Channel, type Reply, senseless, understood } from './channel.js'
import { readDoorbells } from './doorbells.js'
import { UserDmaLog, callFeature, callFeatureLater, hasFeatures } from './features.js'
import { setIrqs } from './interrupts.js'
import { UserMigrationSession } from './migration-session.js'
import { UserRegions } from './regions.js'
import { UserRegisters } from './registers.js'

/** More regions or interrupts than any device has: what a server claims is gone through one by one. */
const MOST_INDICES = 256
const LAST_BAR = 5
const ROM = 6
const STOP_LOG = FEATURE_FLAG.set | FEATURE.dmaLoggingStop
const GET_STATE = FEATURE_FLAG.get | FEATURE.migDeviceState
const SET_STATE = FEATURE_FLAG.set | FEATURE.migDeviceState

/** What the server says of its device. */
export function readInfo(reply: Reply): DeviceInfo {
  const info = understood(reply, decodeGetInfoReply)
  if (info.numRegions > MOST_INDICES || info.numIrqs > MOST_INDICES)
    throw senseless('VFIO_USER_DEVICE_GET_INFO')
  return info
}

export class UserBackend implements DeviceBackend {
  readonly kind = 'vfio-user'
  readonly dmaLog?: DmaLog
  readonly #channel: Channel
  readonly #regions: UserRegions
  readonly #known: DeviceInfo | undefined
  #session: UserMigrationSession | undefined

  /**
   * @param own gives the channel's native object; throws once the device is closed
   * @param known what the server has said of the device already
   */
  constructor(own: () => NativeHandle, known?: DeviceInfo) {
    this.#channel = new Channel(own)
    this.#regions = new UserRegions(this.#channel)
    this.#known = known
    if (hasFeatures(this.#channel)) this.dmaLog = new UserDmaLog(this.#channel)
  }

  info(): DeviceInfo {
    return this.#known ?? readInfo(this.#channel.ask((view) => encodeGetInfo(view, 0, 0)))
  }

  regionInfo(index: number): RegionInfo {
    return this.#regions.info(index)
  }

  openRegion(info: RegionInfo, areas: readonly RegionArea[], memoryLike: boolean): UserRegisters {
    const { index } = info
    return new UserRegisters(this.#channel.native, {
      info,
      areas,
      memoryLike: memoryLike || index === ROM,
      // What is mapped is not behind a write that is still on its way.
      posted: index <= LAST_BAR && areas.length === 0 && this.#channel.terms.posted,
      file: this.#regions.fileOf(index),
    })
  }

  doorbells(index: number): readonly RegionDoorbell[] {
    return readDoorbells(this.#channel, index)
  }

  irqInfo(index: number): IrqInfo {
    const info = understood(
      this.#channel.ask((view) => encodeGetIrqInfo(view, 0, 0, index)),
      decodeIrqInfoReply,
    )
    if (info.index !== index) throw senseless('VFIO_USER_DEVICE_GET_IRQ_INFO')
    return info
  }

  setIrqs(action: number, index: number, start: number, count: number, data: IrqData): void {
    setIrqs(this.#channel, action, index, start, count, data)
  }

  feature(flags: number, data: Uint8Array): Uint8Array {
    const answer = callFeature(this.#channel, flags, data)
    if (flags === STOP_LOG) addon().userChannelTrack(this.#channel.native, 0n)
    const gives = (flags & FEATURE_FLAG.get) !== 0 && (flags & FEATURE_FLAG.probe) === 0
    if (gives && answer.byteLength < data.byteLength) throw senseless('VFIO_USER_DEVICE_FEATURE')
    const same = Uint8Array.from(data)
    same.set(answer.subarray(0, same.byteLength))
    return same
  }

  async reset(): Promise<void> {
    await this.#channel.askLater((view) => encodeReset(view, 0, 0))
  }

  resetSync(): void {
    this.#channel.ask((view) => encodeReset(view, 0, 0))
  }

  async migrationSession(state: number): Promise<MigrationSession | null> {
    const to = MIGRATION_STATES[state]
    if (to === undefined) throw new VfioError(EINVAL, 'VFIO_USER_DEVICE_FEATURE')
    const current = await callFeatureLater(this.#channel, GET_STATE, new Uint8Array(8))
    const from = MIGRATION_STATES[current[0] ?? 0]
    await callFeatureLater(this.#channel, SET_STATE, Uint8Array.of(state, 0, 0, 0, 0, 0, 0, 0))
    const goesOn = from !== undefined && SAVING.includes(from) && SAVING.includes(to)
    if (goesOn) this.#session?.goOn()
    if (goesOn || (!SAVING.includes(to) && to !== 'resuming')) return null
    this.#session = new UserMigrationSession(this.#channel)
    return this.#session
  }

  close(): void {
    this.#regions.close()
  }
}
