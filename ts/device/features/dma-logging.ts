// A device's own log of what it wrote by DMA (VFIO_DEVICE_FEATURE_DMA_LOGGING_*).
import { ENOTTY, VfioError } from '../../errors.js'
import { DirtyBitmap } from '../../memory/dirty-bitmap.js'
import { MAX_U64, array, bigint, integer, object } from '../../validate.js'
import type { DmaLog } from '../backend.js'
import type { DeviceCore } from '../core.js'
import { asFeature, callFeature } from './call.js'
import type { FeatureName } from './ids.js'

/** A range of IOVAs. */
export interface DmaRange {
  /** The first address, a multiple of the page size. */
  readonly iova: bigint
  /** Bytes, a multiple of the page size. */
  readonly size: number | bigint
}

export interface DmaLoggingOptions {
  /** What is to be logged: at least one range; they must not overlap. Drivers take a page of them (256) at least. */
  ranges: readonly DmaRange[]
  /** The granularity that is wished for, in bytes: a power of two from 4096 (the default) to 2^40. */
  pageSize?: number
}

const LEAST_PAGE = 4096
const MOST_PAGE = 2 ** 40

function pageSizeOf(value: unknown): number {
  const size = integer(value, 'pageSize', LEAST_PAGE, MOST_PAGE)
  if (!Number.isInteger(Math.log2(size))) throw new RangeError('pageSize must be a power of two')
  return size
}

function sizeOf(value: unknown, name: string): bigint {
  return typeof value === 'number'
    ? BigInt(integer(value, name, 1, Number.MAX_SAFE_INTEGER))
    : bigint(value, name, 1n, MAX_U64)
}

function checkRange(range: DmaRange, name: string, page: bigint): [bigint, bigint] {
  const { iova, size } = object(range, name)
  const bytes = sizeOf(size, `${name}.size`)
  bigint(iova, `${name}.iova`, 0n, MAX_U64 - bytes)
  if (iova % page !== 0n || bytes % page !== 0n)
    throw new RangeError(`${name}.iova and ${name}.size must be multiples of pageSize, ${String(page)}`)
  return [iova, bytes]
}

/**
 * The device's own record of the pages that it wrote to by DMA (Linux 6.1): dirty tracking that needs no IOMMU which can
 * do it. One log at a time; it ends with `stop()` and with the device.
 */
export class DmaLogging {
  readonly #device: DeviceCore
  #started = false

  /** @internal */
  constructor(device: DeviceCore) {
    this.#device = device
  }

  /**
   * Begins to log (VFIO_DEVICE_FEATURE_DMA_LOGGING_START).
   * @returns the page size that the device chose, in bytes
   * @throws VfioError EBUSY or EINVAL when it logs already, E2BIG for too many ranges, `no-feature` where there is none
   */
  start(options: DmaLoggingOptions): number {
    const { ranges, pageSize = LEAST_PAGE } = object(options, 'options')
    const page = BigInt(pageSizeOf(pageSize))
    if (array(ranges, 'ranges').length === 0) throw new RangeError('ranges must not be empty')
    const flat = ranges.flatMap((range, i) => checkRange(range, `ranges[${String(i)}]`, page))
    const chosen = this.#call('dmaLoggingStart', (log) => log.start(page, flat))
    this.#started = true
    return Number(chosen)
  }

  /** Ends it (VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP). @throws VfioError EINVAL when nothing is logged */
  stop(): void {
    callFeature(this.#device, 'dmaLoggingStop', 'set', new Uint8Array())
    this.#started = false
  }

  /**
   * The pages in [iova, iova + size) that the device wrote to since the log began or was last read, cleared by reading
   * (VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT). After an error, take every page for dirty.
   * @param iova start of the range, a multiple of `pageSize`
   * @param size bytes, a multiple of `pageSize`
   * @param pageSize of the bitmap, a power of two from 4096 (the default); need not be the log's
   */
  report(iova: bigint, size: number, pageSize: number = LEAST_PAGE): DirtyBitmap {
    const page = pageSizeOf(pageSize)
    const [start, bytes] = checkRange(
      { iova, size: integer(size, 'size', 1, Number.MAX_SAFE_INTEGER) },
      'range',
      BigInt(page),
    )
    const bitmap = this.#call('dmaLoggingReport', (log) => log.report(start, bytes, BigInt(page)))
    return new DirtyBitmap(bitmap, iova, size / page, page)
  }

  /** The device goes: a log does not end with its file. @internal */
  stopWithDevice(): void {
    if (this.#started) this.stop()
  }

  #call<T>(name: FeatureName, call: (log: DmaLog) => T): T {
    const { backend, label } = this.#device
    return asFeature(name, label, () => {
      const { dmaLog } = backend
      if (dmaLog === undefined) throw new VfioError(ENOTTY, 'VFIO_DEVICE_FEATURE')
      return call(dmaLog)
    })
  }
}
