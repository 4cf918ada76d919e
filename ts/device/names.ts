// What the regions and interrupts of a device are called, by its bus: the kernel numbers them per bus. Pure.
import { integer, oneOf } from '../validate.js'
import type { DeviceBus } from '../uapi/vfio/device-info.js'

/**
 * The regions of PCI devices, by index: VFIO_PCI_BAR0_REGION_INDEX to VFIO_PCI_BAR5_REGION_INDEX,
 * VFIO_PCI_ROM_REGION_INDEX, VFIO_PCI_CONFIG_REGION_INDEX, VFIO_PCI_VGA_REGION_INDEX.
 */
export const PCI_REGIONS = ['bar0', 'bar1', 'bar2', 'bar3', 'bar4', 'bar5', 'rom', 'config', 'vga'] as const
export type PciRegionName = (typeof PCI_REGIONS)[number]

/** VFIO_CCW_CONFIG_REGION_INDEX */
const CCW_REGIONS = ['config'] as const

/**
 * The interrupts of PCI devices, by index: VFIO_PCI_INTX_IRQ_INDEX, VFIO_PCI_MSI_IRQ_INDEX, VFIO_PCI_MSIX_IRQ_INDEX,
 * VFIO_PCI_ERR_IRQ_INDEX, VFIO_PCI_REQ_IRQ_INDEX.
 */
export const PCI_IRQS = ['intx', 'msi', 'msix', 'err', 'req'] as const
export type PciIrqName = (typeof PCI_IRQS)[number]

/** Those of channel devices: VFIO_CCW_IO_IRQ_INDEX, VFIO_CCW_CRW_IRQ_INDEX, VFIO_CCW_REQ_IRQ_INDEX. */
const CCW_IRQS = ['io', 'crw', 'req'] as const

/** Those of adjunct processors: VFIO_AP_REQ_IRQ_INDEX, VFIO_AP_CFG_CHG_IRQ_INDEX. */
const AP_IRQS = ['req', 'cfgChg'] as const

export type IrqName = PciIrqName | (typeof CCW_IRQS)[number] | (typeof AP_IRQS)[number]

/** The other buses number what their firmware tables list, without names. */
const NAMES: Partial<Record<DeviceBus, { regions: readonly string[]; irqs: readonly string[] }>> = {
  pci: { regions: PCI_REGIONS, irqs: PCI_IRQS },
  ccw: { regions: CCW_REGIONS, irqs: CCW_IRQS },
  ap: { regions: [], irqs: AP_IRQS },
}

function indexOf(id: unknown, what: string, names: readonly string[], bus: DeviceBus): number {
  if (typeof id === 'number') return integer(id, what, 0, 0xffff)
  if (names.length === 0)
    throw new TypeError(`${what} must be an index: those of ${bus} devices have no names`)
  return names.indexOf(oneOf(id, what, names))
}

/** Turns a name or a number into a region index. */
export function regionIndex(id: unknown, bus: DeviceBus = 'pci'): number {
  return indexOf(id, 'region', NAMES[bus]?.regions ?? [], bus)
}

export function regionName(index: number, bus: DeviceBus): string {
  return NAMES[bus]?.regions[index] ?? `region${String(index)}`
}

/** Turns a name or a number into an interrupt index. */
export function irqIndex(id: unknown, bus: DeviceBus = 'pci'): number {
  return indexOf(id, 'irq', NAMES[bus]?.irqs ?? [], bus)
}

export function irqName(index: number, bus: DeviceBus): string {
  return NAMES[bus]?.irqs[index] ?? `irq${String(index)}`
}

/** Whether a bus has an interrupt of a name. */
export function hasIrq(name: IrqName, bus: DeviceBus): boolean {
  return NAMES[bus]?.irqs.includes(name) ?? false
}
