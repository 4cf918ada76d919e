// Dirty tracking of the address space of a device behind a socket: the device's own log (VFIO_DEVICE_FEATURE_DMA_LOGGING_*) of
// everything that was mapped when it began, and what the server wrote by message. What was mapped later counts as written.
import { EINVAL, EOPNOTSUPP, VfioError, attempt } from '../../errors.js'
import { FEATURE_FLAG } from '../../device/features/ids.js'
import { type DirtyTracking, checkBitmapRange } from '../../iommu/dirty-tracking.js'
import { DirtyBitmap } from '../../memory/dirty-bitmap.js'
import { pageSize as machinePage } from '../../memory/page.js'
import { addon } from '../../native/index.js'
import { MOST_RANGES } from '../protocol/dma-logging.js'
import { FEATURE } from '../protocol/feature.js'
import type { Channel } from './channel.js'
import { UserDmaLog, callFeature, hasFeatures } from './features.js'

interface Range {
  readonly start: bigint
  readonly end: bigint
}

export class UserDirtyTracking implements DirtyTracking {
  readonly #channel: Channel
  readonly #unmap: (iova: bigint, size: bigint) => void
  /** What the log covers, while there is one. */
  #ranges: readonly Range[] | undefined

  constructor(channel: Channel, unmap: (iova: bigint, size: bigint) => void) {
    this.#channel = channel
    this.#unmap = unmap
  }

  start(): void {
    if (!hasFeatures(this.#channel)) {
      throw new VfioError(EOPNOTSUPP, 'VFIO_USER_DEVICE_FEATURE', {
        reason: 'no-feature',
        remedy: 'The server speaks version 0.0 or 0.1 of the protocol, which have no log of DMA writes.',
      })
    }
    if (this.#ranges !== undefined) return
    const ranges = joined(addon().userChannelRanges(this.#channel.native))
    const flat = ranges.flatMap(({ start, end }) => [start, end - start])
    new UserDmaLog(this.#channel).start(BigInt(machinePage()), flat)
    this.#ranges = ranges
  }

  stop(): void {
    if (this.#ranges === undefined) return
    this.#ranges = undefined
    callFeature(this.#channel, FEATURE_FLAG.set | FEATURE.dmaLoggingStop, new Uint8Array())
    addon().userChannelTrack(this.#channel.native, 0n)
  }

  bitmap(iova: bigint, size: number, pageSize: number): DirtyBitmap {
    const subject = checkBitmapRange(iova, size, pageSize)
    const ranges = this.#ranges
    if (ranges === undefined) {
      throw new VfioError(EINVAL, 'VFIO_USER_DEVICE_FEATURE', {
        subject,
        remedy: 'Nothing is tracked: start() first.',
      })
    }
    const bytes = attempt({ subject }, () =>
      new UserDmaLog(this.#channel).report(iova, BigInt(size), BigInt(pageSize)),
    )
    for (let page = 0; page < size / pageSize; page++) {
      const at = iova + BigInt(page * pageSize)
      const known = ranges.some(({ start, end }) => at >= start && at + BigInt(pageSize) <= end)
      if (!known) bytes[page >> 3] = (bytes[page >> 3] ?? 0) | (1 << (page & 7))
    }
    return new DirtyBitmap(bytes, iova, size / pageSize, pageSize)
  }

  unmap(iova: bigint, size: number, pageSize: number): DirtyBitmap {
    const marks = this.bitmap(iova, size, pageSize)
    this.#unmap(iova, BigInt(size))
    return marks
  }
}

/** Ranges side by side made one; all of them in one where there are more than a message has. */
function joined(flat: BigUint64Array): Range[] {
  const ranges: Range[] = []
  for (let i = 0; i < flat.length; i += 2) {
    const start = flat[i] as bigint
    const end = start + (flat[i + 1] as bigint)
    const last = ranges.at(-1)
    if (last !== undefined && last.end === start) ranges[ranges.length - 1] = { start: last.start, end }
    else ranges.push({ start, end })
  }
  const [first] = ranges
  const last = ranges.at(-1)
  if (first === undefined || last === undefined || ranges.length <= MOST_RANGES) return ranges
  return [{ start: first.start, end: last.end }]
}
