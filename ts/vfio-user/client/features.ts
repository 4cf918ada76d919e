// DEVICE_FEATURE of a device behind a socket, and its log of DMA writes, whose data holds what the kernel's has addresses of.
import type { DmaLog } from '../../device/backend.js'
import { FEATURE_FLAG } from '../../device/features/ids.js'
import { ENOTTY, VfioError } from '../../errors.js'
import { addon } from '../../native/index.js'
import {
  REPORT_FIXED,
  bitmapBytes,
  encodeLoggingReport,
  encodeLoggingStart,
} from '../protocol/dma-logging.js'
import { FEATURE, FEATURE_DATA, encodeFeature } from '../protocol/feature.js'
import { type AskOptions, type Channel, type Reply, senseless } from './channel.js'

const CALL = 'VFIO_USER_DEVICE_FEATURE'
/** From this minor version on servers know the message; some do not even read the rest of one that they do not know. */
const SINCE_MINOR = 2
/** Bytes of a bitmap that one report asks for. */
const MOST_BITMAP = 256 << 10

/** Whether the device's server knows features at all. */
export function hasFeatures(channel: Channel): boolean {
  return channel.terms.minor >= SINCE_MINOR
}

/** One call; the data of the reply. @param room bytes of data that the reply may have, where that is more than is sent */
export function callFeature(
  channel: Channel,
  flags: number,
  data: Uint8Array,
  room = data.byteLength,
): Uint8Array {
  refuseWithout(channel)
  return dataOf(channel.ask((view) => encodeFeature(view, 0, 0, flags, data, room), roomFor(data)))
}

/** `callFeature`, off the main thread. */
export async function callFeatureLater(
  channel: Channel,
  flags: number,
  data: Uint8Array,
): Promise<Uint8Array> {
  refuseWithout(channel)
  return dataOf(await channel.askLater((view) => encodeFeature(view, 0, 0, flags, data), roomFor(data)))
}

/** As from a kernel that is older than features. */
function refuseWithout(channel: Channel): void {
  if (!hasFeatures(channel)) throw new VfioError(ENOTTY, CALL)
}

function roomFor(data: Uint8Array): AskOptions {
  return { room: FEATURE_DATA + data.byteLength }
}

function dataOf({ view, length }: Reply): Uint8Array {
  if (length < FEATURE_DATA) throw senseless(CALL)
  return new Uint8Array(view.buffer, FEATURE_DATA, length - FEATURE_DATA)
}

/** The device's log, with the pages that the server wrote by message, which not every server notes. */
export class UserDmaLog implements DmaLog {
  readonly #channel: Channel

  constructor(channel: Channel) {
    this.#channel = channel
  }

  start(pageSize: bigint, ranges: readonly bigint[]): bigint {
    const pairs = ranges.flatMap((iova, i) =>
      i % 2 === 0 ? [{ iova, length: ranges[i + 1] as bigint }] : [],
    )
    const data = encodeLoggingStart({ pageSize, ranges: pairs })
    const answer = callFeature(this.#channel, FEATURE_FLAG.set | FEATURE.dmaLoggingStart, data)
    const chosen = answer.byteLength < 8 ? pageSize : viewOf(answer).getBigUint64(0, true)
    addon().userChannelTrack(this.#channel.native, chosen === 0n ? pageSize : chosen)
    return chosen === 0n ? pageSize : chosen
  }

  report(iova: bigint, length: bigint, pageSize: bigint): Uint8Array {
    const bitmap = new Uint8Array(Number(bitmapBytes({ iova, length, pageSize })))
    const most = BigInt(MOST_BITMAP) * 8n * pageSize
    for (let done = 0n; done < length; done += most) {
      const part = { iova: iova + done, length: length - done < most ? length - done : most, pageSize }
      bitmap.set(this.#reportPart(part), Number(done / pageSize / 8n))
    }
    addon().userChannelMarks(this.#channel.native, iova, length, pageSize, bitmap)
    return bitmap
  }

  #reportPart(part: { iova: bigint; length: bigint; pageSize: bigint }): Uint8Array {
    const bytes = Number(bitmapBytes(part))
    const flags = FEATURE_FLAG.get | FEATURE.dmaLoggingReport
    const answer = callFeature(this.#channel, flags, encodeLoggingReport(part), REPORT_FIXED + bytes)
    if (answer.byteLength < REPORT_FIXED + bytes) throw senseless(CALL)
    return answer.subarray(REPORT_FIXED, REPORT_FIXED + bytes)
  }
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
