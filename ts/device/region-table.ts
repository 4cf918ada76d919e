// The regions of a device: each is asked for once, with what the device's configuration space says about it.
import { VfioError, attempt } from '../errors.js'
import { PciConfig } from '../pci/index.js'
import { troubleError } from './condition.js'
import type { DeviceCore } from './core.js'
import type { RegionArea } from './info.js'
import { PCI_REGIONS, type PciRegionName, regionIndex, regionName } from './names.js'
import { Region } from './region.js'

const LAST_BAR = 5
const CONFIG = PCI_REGIONS.indexOf('config')

export class RegionTable {
  readonly #device: DeviceCore
  readonly #guard: boolean
  readonly #open = new Map<number, Region>()
  #config: PciConfig | undefined

  /** @param guard whether what can be mapped is mapped, and guarded */
  constructor(device: DeviceCore, guard: boolean) {
    this.#device = device
    this.#guard = guard
  }

  /** The configuration space, typed. */
  get config(): PciConfig {
    return (this.#config ??= new PciConfig(this.get('config')))
  }

  /** The same object at every call. */
  get(id: PciRegionName | number): Region {
    const { info, backend, label: device } = this.#device
    const index = regionIndex(id, info.bus)
    const held = this.#open.get(index)
    if (held !== undefined) return held
    // Not checked against info.numRegions: device-specific regions may lie beyond it.
    const name = regionName(index, info.bus)
    const label = `${name} of ${device}`
    const found = attempt({ subject: label }, () => backend.regionInfo(index))
    const region = new Region(found, {
      label,
      name,
      backend,
      msixTable: index <= LAST_BAR && found.flags.mmap ? this.#msixTableIn(index) : null,
      memoryLike: index <= LAST_BAR && this.#prefetchable(index),
      guard: this.#guard && index !== CONFIG,
      decodes: () => this.#decodes(label),
      owner: this.#device,
    })
    this.#open.set(index, region)
    return region
  }

  /** Those that have a size. */
  all(): Region[] {
    const found: Region[] = []
    for (let index = 0; index < this.#device.info.numRegions; index++) {
      try {
        const region = this.get(index)
        if (region.size > 0) found.push(region)
      } catch (error) {
        // An index without a region (VGA on most devices) is EINVAL.
        if (!(error instanceof VfioError) || error.code !== 'EINVAL') throw error
      }
    }
    return found
  }

  closeWithDevice(): void {
    for (const region of this.#open.values()) region.closeWithDevice()
  }

  #decodes(label: string): boolean {
    const { condition } = this.#device
    if (condition === 'device-lost' || condition === 'powered-down')
      throw troubleError('mmap', label, condition)
    return condition === 'ready'
  }

  #msixTableIn(bar: number): RegionArea | null {
    if (this.#device.info.bus !== 'pci') return null
    const table = this.config.capability('msix')?.table
    return table?.bar === bar ? { offset: table.offset, size: table.size } : null
  }

  #prefetchable(bar: number): boolean {
    if (this.#device.info.bus !== 'pci') return false
    return this.config.bars.some((each) => each.index === bar && 'prefetchable' in each && each.prefetchable)
  }
}
