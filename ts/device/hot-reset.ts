// HotReset: the reset of a whole PCI bus or slot (VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, VFIO_DEVICE_PCI_HOT_RESET).
import { type VfioError, type VfioErrorContext, attempt, attemptAsync } from '../errors.js'
import { array } from '../validate.js'
import type { KernelDevice } from './backend.js'
import { type DeviceCore, kernelOf } from './core.js'
import { finishReset, refused } from './reset.js'

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
const RESET = 'VFIO_DEVICE_PCI_HOT_RESET'

function addressOf(view: DataView, at: number): string {
  const hex = (value: number, digits: number): string => value.toString(16).padStart(digits, '0')
  const devfn = view.getUint8(at + 7)
  return `${hex(view.getUint16(at + 4, true), 4)}:${hex(view.getUint8(at + 6), 2)}:${hex(devfn >> 3, 2)}.${String(devfn & 7)}`
}

function ownershipOf(id: number): IommufdDependent['ownership'] {
  if (id === DEVID_OWNED) return 'owned'
  return id === DEVID_NOT_OWNED ? 'not-owned' : 'bound'
}

/** Reads the flags and the entries of vfio_pci_hot_reset_info. Pure. */
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

/** Groups allow the reset where there are any; with none given, the kernel looks at the iommufd. */
function owners(devices: readonly DeviceCore[]): KernelDevice[] {
  return devices.map((device) => kernelOf(device, RESET)).filter(({ hasGroup }) => hasGroup)
}

/**
 * The hot reset of the bus or slot that a PCI device is on: for a device without a reset of its own, or for several at
 * once. Everything on the bus is reset, so all of it must be this process's. Devices on a root bus have none.
 */
export class HotReset {
  readonly #device: DeviceCore
  readonly #check: (device: unknown, name: string) => DeviceCore

  /**
   * @param check throws what is no device
   * @internal
   */
  constructor(device: DeviceCore, check: (device: unknown, name: string) => DeviceCore) {
    this.#device = device
    this.#check = check
  }

  /**
   * What the reset takes with it, the device itself included (VFIO_DEVICE_GET_PCI_HOT_RESET_INFO).
   * @throws VfioError ENODEV where the bus or slot has no reset; EPERM where a device on it is on no vfio driver; ENOTTY for
   *   a device that is not PCI
   */
  info(): HotResetInfo {
    const { flags, devices } = attempt(
      (error) => this.#context(error),
      () => kernelOf(this.#device, 'VFIO_DEVICE_GET_PCI_HOT_RESET_INFO').hotResetInfo(),
    )
    return decodeHotResetInfo(flags, devices)
  }

  /**
   * Resets the bus or slot (VFIO_DEVICE_PCI_HOT_RESET) and checks that the devices came back. Registers are then as
   * after power-up; the kernel puts the configuration spaces back. What any of the devices would have sent meanwhile, messages
   * and transfers, is lost.
   * @param others the other open devices by which the reset is allowed: one at least of each group in `info()`. Devices
   *   opened as cdevs have none to give: they must share this one's iommufd.
   * @throws VfioError EINVAL when a group in `info()` is not among them, ENODEV as `info`; `device-lost` (EIO where the kernel
   *   says that all went well), `powered-down`
   */
  async run(others: readonly DeviceCore[] = []): Promise<void> {
    const devices = this.#together(others)
    await this.#device.running(() =>
      attemptAsync(
        (error) => this.#context(error),
        () => kernelOf(this.#device, RESET).hotReset(owners(devices)),
      ),
    )
    finishReset(RESET, ...devices)
  }

  /** `run`, blocking. */
  runSync(others: readonly DeviceCore[] = []): void {
    const devices = this.#together(others)
    attempt(
      (error) => this.#context(error),
      () => {
        kernelOf(this.#device, RESET).hotResetSync(owners(devices))
      },
    )
    finishReset(RESET, ...devices)
  }

  #together(others: readonly DeviceCore[]): DeviceCore[] {
    const checked = array(others, 'others').map((each, i) => this.#check(each, `others[${String(i)}]`))
    return [this.#device, ...checked]
  }

  #context({ code, syscall }: VfioError): VfioErrorContext {
    const known = refused(this.#device)
    if (known.reason !== undefined) return known
    const subject = this.#device.label
    if (code === 'ENODEV') return { subject, remedy: 'The device is on a root bus, which has no reset.' }
    if (code === 'EPERM')
      return { subject, remedy: 'A device on the bus is on a host driver: bind all of them to vfio-pci.' }
    if (code === 'EINVAL' && syscall === RESET)
      return { subject, remedy: `All of these must be this process's: ${this.#dependents()}.` }
    return { subject }
  }

  #dependents(): string {
    const info = this.info()
    return info.by === 'group'
      ? info.devices.map(({ address, group }) => `${address} (group ${String(group)})`).join(', ')
      : info.devices.map(({ address, ownership }) => `${address} (${ownership})`).join(', ')
  }
}
