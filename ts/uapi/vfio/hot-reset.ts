// Reads the flags and the entries of vfio_pci_hot_reset_info: which devices a hot reset takes with it.

/** A device that is reset along, where VFIO knows devices by their groups. */
export interface GroupDependent {
  /** The BDF. */
  readonly address: string
  /** The number of its IOMMU group. */
  readonly group: number
}

/** A device that is reset along, where VFIO knows devices by the iommufd that they are bound to. */
export interface IommufdDependent {
  /** The BDF. */
  readonly address: string
  /**
   * Whether whoever holds the iommufd of the asking device owns this one: `bound` to the iommufd; `owned`
   * (VFIO_PCI_DEVID_OWNED) without being open, as its group is; `not-owned` (VFIO_PCI_DEVID_NOT_OWNED).
   */
  readonly ownership: 'bound' | 'owned' | 'not-owned'
  /** Its id in the iommufd; null where it is not bound to it. */
  readonly id: number | null
}

/** What a hot reset takes with it, in the terms in which the device was opened. */
export type HotResetInfo =
  | { readonly by: 'group'; readonly devices: readonly GroupDependent[] }
  | {
      readonly by: 'iommufd'
      /** All of them are owned (VFIO_PCI_HOT_RESET_FLAG_DEV_ID_OWNED): the reset is allowed. */
      readonly owned: boolean
      readonly devices: readonly IommufdDependent[]
    }

/** VFIO_PCI_HOT_RESET_FLAG_DEV_ID, VFIO_PCI_HOT_RESET_FLAG_DEV_ID_OWNED */
const FLAG = { devId: 1, devIdOwned: 2 } as const
const DEVID_OWNED = 0 // VFIO_PCI_DEVID_OWNED
const DEVID_NOT_OWNED = -1 // VFIO_PCI_DEVID_NOT_OWNED
const ENTRY_SIZE = 8

function addressOf(view: DataView, at: number): string {
  const hex = (value: number, digits: number): string => value.toString(16).padStart(digits, '0')
  const devfn = view.getUint8(at + 7)
  return `${hex(view.getUint16(at + 4, true), 4)}:${hex(view.getUint8(at + 6), 2)}:${hex(devfn >> 3, 2)}.${String(devfn & 7)}`
}

function ownershipOf(id: number): IommufdDependent['ownership'] {
  if (id === DEVID_OWNED) return 'owned'
  return id === DEVID_NOT_OWNED ? 'not-owned' : 'bound'
}

export function decodeHotResetInfo(flags: number, bytes: Uint8Array): HotResetInfo {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const offsets = Array.from({ length: Math.floor(bytes.byteLength / ENTRY_SIZE) }, (_, i) => i * ENTRY_SIZE)
  if ((flags & FLAG.devId) === 0) {
    const devices = offsets.map((at) => ({ address: addressOf(view, at), group: view.getUint32(at, true) }))
    return { by: 'group', devices }
  }
  const devices = offsets.map((at) => {
    const id = view.getInt32(at, true)
    const ownership = ownershipOf(id)
    return { address: addressOf(view, at), ownership, id: ownership === 'bound' ? id : null }
  })
  return { by: 'iommufd', owned: (flags & FLAG.devIdOwned) !== 0, devices }
}
