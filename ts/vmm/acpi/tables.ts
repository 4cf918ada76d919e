// The tables of ACPI that a PC of this package has (ACPI 6.5, chapter 5), byte by byte. Pure: no address is looked up here, and nobody
// is asked.
import { PM, RESET_VALUE, SCI } from '../devices/power.js'
import { CENTURY } from '../devices/rtc.js'
import type { AddressRange } from '../layout.js'
import { type Term } from './aml.js'
import { checksum, joined, little } from './bytes.js'

const OEM = 'NODEVM'
const OEM_TABLE = 'NODEVFIO'
const CREATOR = 'NVIO'
const HEADER_BYTES = 36
const CHECKSUM_AT = 9

/** Where the chips of a PC lie. */
export const IOAPIC_ADDRESS = 0xfec0_0000
export const LOCAL_APIC_ADDRESS = 0xfee0_0000

/** A table: its header in front of its contents, with the sum of all right. */
export function table(signature: string, revision: number, contents: Uint8Array): Uint8Array {
  const bytes = joined(
    signature,
    little(4, HEADER_BYTES + contents.length),
    revision,
    0,
    OEM,
    OEM_TABLE,
    little(4, 1),
    CREATOR,
    little(4, 1),
    contents,
  )
  bytes[CHECKSUM_AT] = checksum(bytes)
  return bytes
}

/** The pointer to all others. */
export function rootPointer(xsdt: bigint): Uint8Array {
  const bytes = joined('RSD PTR ', 0, OEM, 2, little(4, 0), little(4, 36), little(8, xsdt), 0, 0, 0, 0)
  bytes[8] = checksum(bytes.subarray(0, 20))
  bytes[32] = checksum(bytes)
  return bytes
}

export function rootTable(tables: readonly bigint[]): Uint8Array {
  return table('XSDT', 1, joined(...tables.map((address) => little(8, address))))
}

export function systemDescription(terms: readonly Term[]): Uint8Array {
  return table('DSDT', 2, joined(...terms))
}

/** A structure of the firmware's that has no checksum. */
export function firmwareControl(): Uint8Array {
  const bytes = new Uint8Array(64)
  bytes.set(joined('FACS', little(4, bytes.length)))
  bytes[32] = 2
  return bytes
}

// Offsets in the FADT.
const FADT = {
  bytes: 276,
  firmwareControl: 36,
  dsdt: 40,
  sci: 46,
  pm1Event: 56,
  pm1Control: 64,
  timer: 76,
  pm1EventLength: 88,
  pm1ControlLength: 89,
  timerLength: 91,
  c2Latency: 96,
  c3Latency: 98,
  century: 108,
  bootArchitecture: 109,
  flags: 112,
  resetRegister: 116,
  resetValue: 128,
  minorVersion: 131,
  longDsdt: 140,
  longPm1Event: 148,
  longPm1Control: 172,
  longTimer: 208,
} as const

const NO_C2 = 101
const NO_C3 = 1001
const REVISION = 6
const MINOR_REVISION = 5
/** Legacy devices are there, a VGA screen is not. */
const BOOT_ARCHITECTURE = 0x0001 | 0x0004
/** WBINVD works, C1 is there, no sleep button, no wake by the clock, a timer of 32 bits, a reset register. */
const FLAGS = (1 << 0) | (1 << 2) | (1 << 5) | (1 << 6) | (1 << 8) | (1 << 10)

/** A register in I/O space: its kind, bits, first bit, access size, address. */
function port(first: number, bits: number, accessSize: number): Uint8Array {
  return joined(1, bits, 0, accessSize, little(8, first))
}

/** The fixed registers: power management, reset. */
export function fixedDescription(addresses: { facs: bigint; dsdt: bigint }): Uint8Array {
  const bytes = new Uint8Array(FADT.bytes - HEADER_BYTES)
  const put = (offset: number, part: Uint8Array): void => {
    bytes.set(part, offset - HEADER_BYTES)
  }
  put(FADT.firmwareControl, little(4, addresses.facs))
  put(FADT.dsdt, little(4, addresses.dsdt))
  put(FADT.sci, little(2, SCI))
  put(FADT.pm1Event, little(4, PM.event))
  put(FADT.pm1Control, little(4, PM.control))
  put(FADT.timer, little(4, PM.timer))
  put(FADT.pm1EventLength, little(1, 4))
  put(FADT.pm1ControlLength, little(1, 2))
  put(FADT.timerLength, little(1, 4))
  put(FADT.c2Latency, little(2, NO_C2))
  put(FADT.c3Latency, little(2, NO_C3))
  put(FADT.century, little(1, CENTURY))
  put(FADT.bootArchitecture, little(2, BOOT_ARCHITECTURE))
  put(FADT.flags, little(4, FLAGS))
  put(FADT.resetRegister, port(PM.reset, 8, 1))
  put(FADT.resetValue, little(1, RESET_VALUE))
  put(FADT.minorVersion, little(1, MINOR_REVISION))
  put(FADT.longDsdt, little(8, addresses.dsdt))
  put(FADT.longPm1Event, port(PM.event, 32, 2))
  put(FADT.longPm1Control, port(PM.control, 16, 2))
  put(FADT.longTimer, port(PM.timer, 32, 3))
  return table('FACP', REVISION, bytes)
}

const ENTRY = { localApic: 0, ioapic: 1, override: 2, x2apic: 9 } as const
const ENABLED = 1
const HAS_PICS = 1
/** Level, active high. */
const SCI_FLAGS = 0x000d
/** Ids from here on have no room in a byte. */
const FIRST_X2APIC = 255

function processor(apicId: number, uid: number): Uint8Array {
  if (apicId < FIRST_X2APIC) return joined(ENTRY.localApic, 8, uid & 0xff, apicId, little(4, ENABLED))
  return joined(ENTRY.x2apic, 16, 0, 0, little(4, apicId), little(4, ENABLED), little(4, uid))
}

/** The interrupt controllers: one local APIC for each id, one IOAPIC. */
export function interruptControllers(apicIds: readonly number[]): Uint8Array {
  const contents = joined(
    little(4, LOCAL_APIC_ADDRESS),
    little(4, HAS_PICS),
    ...apicIds.map(processor),
    joined(ENTRY.ioapic, 12, 0, 0, little(4, IOAPIC_ADDRESS), little(4, 0)),
    joined(ENTRY.override, 10, 0, SCI, little(4, SCI), little(2, SCI_FLAGS)),
  )
  return table('APIC', 5, contents)
}

/** Where the configuration space of bus 0 lies. */
export function configurationSpace({ start }: AddressRange): Uint8Array {
  return table('MCFG', 1, joined(new Uint8Array(8), little(8, start), little(2, 0), 0, 0, new Uint8Array(4)))
}
