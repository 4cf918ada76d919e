// The data of DEVICE_FEATURE_DMA_LOGGING_START and _REPORT. Other than the kernel's, these hold the ranges and the bitmap
// themselves, since an address of one process says nothing to another.

/** More than any device keeps apart. */
export const MOST_RANGES = 1024
const RANGE_BYTES = 16
const START_FIXED = 16
export const REPORT_FIXED = 24

export interface LoggingRange {
  readonly iova: bigint
  readonly length: bigint
}

export interface LoggingStart {
  readonly pageSize: bigint
  readonly ranges: readonly LoggingRange[]
}

export interface LoggingReport extends LoggingRange {
  readonly pageSize: bigint
}

const MAX_U64 = 0xffff_ffff_ffff_ffffn

function viewOf(data: Uint8Array): DataView {
  return new DataView(data.buffer, data.byteOffset, data.byteLength)
}

function isPageSize(size: bigint): boolean {
  return size !== 0n && (size & (size - 1n)) === 0n
}

function isRange({ iova, length }: LoggingRange): boolean {
  return length !== 0n && iova + length - 1n <= MAX_U64
}

export function encodeLoggingStart({ pageSize, ranges }: LoggingStart): Uint8Array {
  const data = new Uint8Array(START_FIXED + ranges.length * RANGE_BYTES)
  const view = viewOf(data)
  view.setBigUint64(0, pageSize, true)
  view.setUint32(8, ranges.length, true)
  ranges.forEach(({ iova, length }, i) => {
    view.setBigUint64(START_FIXED + i * RANGE_BYTES, iova, true)
    view.setBigUint64(START_FIXED + i * RANGE_BYTES + 8, length, true)
  })
  return data
}

/** Null for what is too short, or cannot be right. */
export function decodeLoggingStart(data: Uint8Array): LoggingStart | null {
  if (data.byteLength < START_FIXED) return null
  const view = viewOf(data)
  const pageSize = view.getBigUint64(0, true)
  const count = view.getUint32(8, true)
  if (!isPageSize(pageSize) || count > MOST_RANGES || data.byteLength < START_FIXED + count * RANGE_BYTES)
    return null
  const ranges = Array.from({ length: count }, (_, i) => ({
    iova: view.getBigUint64(START_FIXED + i * RANGE_BYTES, true),
    length: view.getBigUint64(START_FIXED + i * RANGE_BYTES + 8, true),
  }))
  return ranges.every(isRange) ? { pageSize, ranges } : null
}

export function encodeLoggingReport({ iova, length, pageSize }: LoggingReport): Uint8Array {
  const data = new Uint8Array(REPORT_FIXED)
  const view = viewOf(data)
  view.setBigUint64(0, iova, true)
  view.setBigUint64(8, length, true)
  view.setBigUint64(16, pageSize, true)
  return data
}

/** Null for what is too short, or cannot be right. */
export function decodeLoggingReport(data: Uint8Array): LoggingReport | null {
  if (data.byteLength < REPORT_FIXED) return null
  const view = viewOf(data)
  const report = {
    iova: view.getBigUint64(0, true),
    length: view.getBigUint64(8, true),
    pageSize: view.getBigUint64(16, true),
  }
  return isPageSize(report.pageSize) && isRange(report) ? report : null
}

/** The bytes of a report's bitmap, which follow its fixed part: one bit per page, in whole 8 bytes. */
export function bitmapBytes({ length, pageSize }: LoggingReport): bigint {
  const pages = (length + pageSize - 1n) / pageSize
  return ((pages + 63n) / 64n) * 8n
}
