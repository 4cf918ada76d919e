// The records of a vIOMMU's event queue: a header of the kernel's, and data of the driver's kind.

/** Something that the guest's IOMMU is to be told. */
export interface IommuEvent {
  /** Counts up; a gap is what was lost. */
  readonly sequence: number
  /** Events before this one were lost because the queue was full. */
  readonly lost: boolean
  /** Of the driver's kind; empty for the note that events were lost. */
  readonly data: Uint8Array
}

const HEADER_SIZE = 8 // struct iommufd_vevent_header

/** @param entryLength the bytes of an event's data */
export function decodeIommuEvents(bytes: Uint8Array, entryLength: number): IommuEvent[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const found: IommuEvent[] = []
  for (let at = 0; at + HEADER_SIZE <= bytes.length;) {
    const lost = (view.getUint32(at, true) & 1) !== 0 // IOMMU_VEVENTQ_FLAG_LOST_EVENTS
    const start = at + HEADER_SIZE
    const end = lost ? start : start + entryLength
    found.push({ sequence: view.getUint32(at + 4, true), lost, data: bytes.slice(start, end) })
    at = end
  }
  return found
}
