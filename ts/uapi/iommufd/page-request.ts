// The records of a fault queue: page requests of devices, and the answers to them.

/** A page that a device asks for (struct iommu_hwpt_pgfault). */
export interface PageRequest {
  /** The device's number in the iommufd. */
  readonly deviceId: number
  /** The PASID of the request, null for one without. */
  readonly pasid: number | null
  /** Requests of one group are answered together, once the last has come. */
  readonly group: number
  readonly last: boolean
  readonly read: boolean
  readonly write: boolean
  readonly execute: boolean
  readonly privileged: boolean
  readonly address: bigint
  /** What to answer with. */
  readonly cookie: number
}

const SIZE = 40 // struct iommu_hwpt_pgfault

/** Whole requests; what is cut short is passed over. */
export function decodePageRequests(bytes: Uint8Array): PageRequest[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const found: PageRequest[] = []
  for (let at = 0; at + SIZE <= bytes.length; at += SIZE) {
    const flags = view.getUint32(at, true)
    const permissions = view.getUint32(at + 16, true)
    found.push({
      deviceId: view.getUint32(at + 4, true),
      pasid: flags & 1 ? view.getUint32(at + 8, true) : null, // IOMMU_PGFAULT_FLAGS_PASID_VALID
      group: view.getUint32(at + 12, true),
      last: (flags & 2) !== 0, // IOMMU_PGFAULT_FLAGS_LAST_PAGE
      read: (permissions & 1) !== 0, // IOMMU_PGFAULT_PERM_READ
      write: (permissions & 2) !== 0, // IOMMU_PGFAULT_PERM_WRITE
      execute: (permissions & 4) !== 0, // IOMMU_PGFAULT_PERM_EXEC
      privileged: (permissions & 8) !== 0, // IOMMU_PGFAULT_PERM_PRIV
      address: view.getBigUint64(at + 24, true),
      cookie: view.getUint32(at + 36, true),
    })
  }
  return found
}

/** struct iommu_hwpt_page_response. */
export function encodePageResponse(cookie: number, answer: 'success' | 'invalid'): Uint8Array {
  const bytes = new Uint8Array(8)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, cookie, true)
  view.setUint32(4, answer === 'success' ? 0 : 1, true) // IOMMUFD_PAGE_RESP_SUCCESS, IOMMUFD_PAGE_RESP_INVALID
  return bytes
}
