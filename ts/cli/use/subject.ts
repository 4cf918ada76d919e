// What a tool that runs guests has to be told of a device, as it is now. It must not know any tool.
import { basename, dirname, join } from 'node:path'
import {
  type HostOptions,
  type IommuGroup,
  readIommuGroup,
  readPciDevice,
  resolveDevice,
  type VfioDev,
} from '../../host/index.js'
import { linkName, readText, resolvePath } from '../../host/sysfs.js'
import { CliError } from '../format.js'
import { given } from '../given.js'

/** A mediated device. */
export interface MediatedSubject {
  readonly parent: string
  readonly type: string | null
  /** Of the type; null where the driver gives none. */
  readonly typeName: string | null
}

/** A device, and what is around it. */
export interface UseSubject {
  /** A PCI address, or a UUID. */
  readonly name: string
  readonly driver: string | null
  /** Whether VFIO has it, so that a guest can be given it. */
  readonly onVfio: boolean
  readonly vfioDev: VfioDev | null
  readonly group: IommuGroup | null
  /** Null if the platform does not tell. */
  readonly numaNode: number | null
  /** Of a device on PCI. */
  readonly pci: {
    readonly vendor: number
    readonly device: number
    readonly class: number
    readonly physfn: string | null
    readonly virtfns: readonly string[]
    /** Of the physical function. */
    readonly physfnDriver: string | null
  } | null
  readonly mdev: MediatedSubject | null
  /** `nvidia/current_vgpu_type`; null for any but a virtual function of NVIDIA's vGPU driver. */
  readonly vgpuType: string | null
}

function mediated(path: string): MediatedSubject {
  const type = linkName(path, 'mdev_type')
  const folder = resolvePath(path, 'mdev_type')
  return {
    parent: basename(dirname(path)),
    type,
    typeName: folder === null ? null : readText(folder, 'name'),
  }
}

/** @throws CliError if there is no such device, or it is neither on PCI nor mediated */
export function readSubject(id: string, host: HostOptions): UseSubject {
  const found = given(() => resolveDevice(id, host))
  if (found === null) throw new CliError(`there is no device ${id}: vfio ls lists them`)
  if (found.kind !== 'pci' && found.kind !== 'mdev')
    throw new CliError(`${found.name} is neither a PCI device nor a mediated device`)
  const { name, driver, vfioDev, sysfsPath, iommuGroup } = found
  const pci = found.kind === 'pci' ? readPciDevice(name, host) : null
  const physfn = pci?.physfn ?? null
  const pf = physfn === null ? null : readPciDevice(physfn, host)
  const vgpuType = readText(sysfsPath, 'nvidia', 'current_vgpu_type')
  const isVfio = driver?.replaceAll('_', '-').includes('vfio') === true
  return {
    name,
    driver,
    vfioDev,
    onVfio: vfioDev !== null || isVfio || found.kind === 'mdev' || (vgpuType ?? '0') !== '0',
    group: iommuGroup === null ? null : readIommuGroup(iommuGroup, host),
    numaNode: found.kind === 'pci' ? (pci?.numaNode ?? null) : parentNode(sysfsPath),
    pci:
      pci === null
        ? null
        : {
            vendor: pci.vendor,
            device: pci.device,
            class: pci.class,
            physfn: pci.physfn,
            virtfns: pci.virtfns,
            physfnDriver: pf?.driver ?? null,
          },
    mdev: found.kind === 'mdev' ? mediated(sysfsPath) : null,
    vgpuType,
  }
}

/** A mediated device is where its parent is. */
function parentNode(path: string): number | null {
  const text = readText(join(dirname(path), 'numa_node'))
  return text === null || !/^\d+$/.test(text) ? null : Number(text)
}
