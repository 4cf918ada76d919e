// English names of PCI classes and of the vendors this project meets. It must not grow into a pci.ids: what
// is not here is shown by number.

import { integer } from '../validate.js'

const VENDORS: Readonly<Record<number, string>> = {
  0x1002: 'AMD/ATI',
  0x1022: 'AMD',
  0x10de: 'NVIDIA',
  0x1234: 'QEMU',
  0x144d: 'Samsung',
  0x14e4: 'Broadcom',
  0x15ad: 'VMware',
  0x15b3: 'Mellanox',
  0x1af4: 'Red Hat (virtio)',
  0x1b36: 'Red Hat (QEMU)',
  0x8086: 'Intel',
}

/** Base classes, by the top 8 bits of the class code. */
const BASE_CLASSES: Readonly<Record<number, string>> = {
  0x00: 'Unclassified device',
  0x01: 'Mass storage controller',
  0x02: 'Network controller',
  0x03: 'Display controller',
  0x04: 'Multimedia controller',
  0x05: 'Memory controller',
  0x06: 'Bridge',
  0x07: 'Communication controller',
  0x08: 'System peripheral',
  0x09: 'Input device controller',
  0x0a: 'Docking station',
  0x0b: 'Processor',
  0x0c: 'Serial bus controller',
  0x0d: 'Wireless controller',
  0x0e: 'Intelligent I/O controller',
  0x0f: 'Satellite communication controller',
  0x10: 'Encryption controller',
  0x11: 'Signal processing controller',
  0x12: 'Processing accelerator',
  0x13: 'Non-essential instrumentation',
  0xff: 'Unassigned class',
}

/** Subclasses, by the top 16 bits of the class code. */
const SUBCLASSES: Readonly<Record<number, string>> = {
  0x0001: 'VGA-compatible unclassified device',
  0x0100: 'SCSI storage controller',
  0x0101: 'IDE interface',
  0x0104: 'RAID bus controller',
  0x0105: 'ATA controller',
  0x0106: 'SATA controller',
  0x0107: 'Serial Attached SCSI controller',
  0x0108: 'Non-Volatile memory controller',
  0x0180: 'Mass storage controller',
  0x0200: 'Ethernet controller',
  0x0207: 'InfiniBand controller',
  0x0280: 'Network controller',
  0x0300: 'VGA compatible controller',
  0x0301: 'XGA compatible controller',
  0x0302: '3D controller',
  0x0380: 'Display controller',
  0x0400: 'Multimedia video controller',
  0x0401: 'Multimedia audio controller',
  0x0403: 'Audio device',
  0x0500: 'RAM memory',
  0x0502: 'CXL memory',
  0x0580: 'Memory controller',
  0x0600: 'Host bridge',
  0x0601: 'ISA bridge',
  0x0604: 'PCI bridge',
  0x0607: 'CardBus bridge',
  0x0680: 'Bridge',
  0x0700: 'Serial controller',
  0x0780: 'Communication controller',
  0x0800: 'PIC',
  0x0801: 'DMA controller',
  0x0805: 'SD host controller',
  0x0806: 'IOMMU',
  0x0880: 'System peripheral',
  0x0b40: 'Co-processor',
  0x0c03: 'USB controller',
  0x0c05: 'SMBus',
  0x0d80: 'Wireless controller',
  0x1080: 'Encryption controller',
  0x1180: 'Signal processing controller',
  0x1200: 'Processing accelerator',
}

/** Name of a vendor id that this project knows, null for any other. */
export function vendorName(vendorId: number): string | null {
  return VENDORS[integer(vendorId, 'vendorId', 0, 0xffff)] ?? null
}

/**
 * Name of a 24-bit class code: its subclass where it is known, else its base class, null if neither is.
 */
export function className(classCode: number): string | null {
  integer(classCode, 'classCode', 0, 0xff_ffff)
  return SUBCLASSES[classCode >>> 8] ?? BASE_CLASSES[classCode >>> 16] ?? null
}
