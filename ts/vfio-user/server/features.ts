// DEVICE_FEATURE: which features a device has, in which direction, and what they do.
import { FEATURES, FEATURE_FLAG } from '../../device/features/ids.js'
import { EINVAL, ENOTTY, VfioError } from '../../errors.js'
import { MOST_DATA } from '../protocol/constants.js'
import {
  REPORT_FIXED,
  bitmapBytes,
  decodeLoggingReport,
  decodeLoggingStart,
} from '../protocol/dma-logging.js'
import type { FeatureCall } from '../protocol/feature.js'
import type { DeviceDma } from './dma.js'
import type { MigrationMachine } from './migration.js'

const E2BIG = 7

/** What features are about. */
export interface FeaturedDevice {
  readonly dma: DeviceDma
  readonly migration: MigrationMachine | null
}

type Run = (device: FeaturedDevice, data: Uint8Array) => Uint8Array | Promise<Uint8Array>

interface Feature {
  readonly get?: Run
  readonly set?: Run
  /** Whether only a device that migrates has it. */
  readonly migrates?: boolean
}

const NOTHING = new Uint8Array()

function u64(value: number): Uint8Array {
  const bytes = new Uint8Array(8)
  new DataView(bytes.buffer).setUint32(0, value, true)
  return bytes
}

function u32At(data: Uint8Array, at: number): number {
  if (data.byteLength < at + 4) throw new VfioError(EINVAL, 'VFIO_USER_DEVICE_FEATURE')
  return new DataView(data.buffer, data.byteOffset, data.byteLength).getUint32(at, true)
}

function report({ dma }: FeaturedDevice, data: Uint8Array): Uint8Array {
  const request = decodeLoggingReport(data)
  const call = FEATURES.dmaLoggingReport.uapi
  if (request === null || !dma.logging) throw new VfioError(EINVAL, call)
  const bytes = bitmapBytes(request)
  if (bytes > BigInt(MOST_DATA - REPORT_FIXED)) throw new VfioError(E2BIG, call)
  const reply = new Uint8Array(REPORT_FIXED + Number(bytes))
  reply.set(data.subarray(0, REPORT_FIXED))
  const { iova, length, pageSize } = request
  reply.set(dma.takeDirty(iova, length, pageSize), REPORT_FIXED)
  return reply
}

function start({ dma }: FeaturedDevice, data: Uint8Array): Uint8Array {
  const request = decodeLoggingStart(data)
  if (request === null) throw new VfioError(EINVAL, FEATURES.dmaLoggingStart.uapi)
  dma.startLog(request.pageSize)
  return data.slice()
}

async function setState({ migration }: FeaturedDevice, data: Uint8Array): Promise<Uint8Array> {
  await migration?.go(u32At(data, 0))
  return u64(migration?.number ?? 0)
}

/** By number. */
const TABLE: Readonly<Record<number, Feature>> = {
  [FEATURES.migration.id]: {
    migrates: true,
    // VFIO_MIGRATION_STOP_COPY, VFIO_MIGRATION_PRE_COPY
    get: ({ migration }) => u64(1 | (migration?.capabilities.preCopy === true ? 4 : 0)),
  },
  [FEATURES.migDeviceState.id]: {
    migrates: true,
    get: ({ migration }) => u64(migration?.number ?? 0),
    set: setState,
  },
  [FEATURES.migDataSize.id]: { migrates: true, get: ({ migration }) => u64(migration?.size ?? 0) },
  [FEATURES.dmaLoggingStart.id]: { set: start },
  [FEATURES.dmaLoggingStop.id]: {
    set: ({ dma }) => {
      dma.stopLog()
      return NOTHING
    },
  },
  [FEATURES.dmaLoggingReport.id]: { get: report },
}

/** Calls a feature, or only asks for it. @throws VfioError ENOTTY (`no-feature`), EINVAL for a direction that it has not */
export function callFeature(
  device: FeaturedDevice,
  call: FeatureCall,
  data: Uint8Array,
): Uint8Array | Promise<Uint8Array> {
  const found = TABLE[call.flags & FEATURE_FLAG.mask]
  const get = (call.flags & FEATURE_FLAG.get) !== 0
  const set = (call.flags & FEATURE_FLAG.set) !== 0
  if (found === undefined || (found.migrates === true && device.migration === null))
    throw new VfioError(ENOTTY, 'VFIO_USER_DEVICE_FEATURE', { reason: 'no-feature' })
  const has = (!get || found.get !== undefined) && (!set || found.set !== undefined)
  if (!has) throw new VfioError(EINVAL, 'VFIO_USER_DEVICE_FEATURE', { reason: 'no-feature' })
  if ((call.flags & FEATURE_FLAG.probe) !== 0) return NOTHING
  const run = get === set ? undefined : get ? found.get : found.set
  if (run === undefined) throw new VfioError(EINVAL, 'VFIO_USER_DEVICE_FEATURE')
  return run(device, data)
}
