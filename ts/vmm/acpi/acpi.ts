// Puts the tables of ACPI together for one guest, with the addresses by which they find each other. Where the bytes go is its caller's
// business.
import { array, integer, object } from '../../validate.js'
import { ACPI_TABLES, type GuestLayout, checkedLayout } from '../layout.js'
import { machineDescription } from './machine-description.js'
import * as tables from './tables.js'

/** The FACS wants the most: 64 bytes. */
const ALIGNMENT = 64
const MOST_CPUS = 1024

export interface AcpiOptions {
  readonly layout: GuestLayout
  /** The APIC id of each processor, the first one's first. */
  readonly apicIds: readonly number[]
}

/** Tables, and where in the guest they are to be. */
export interface AcpiTables {
  /** The address of the root pointer, which is the first of them. */
  readonly address: bigint
  readonly bytes: Uint8Array
}

/** @throws RangeError for more processors than the tables have room for */
export function acpiTables(options: AcpiOptions): AcpiTables {
  const { layout: given, apicIds } = object(options, 'options')
  const layout = checkedLayout(given)
  integer(array(apicIds, 'apicIds').length, 'apicIds.length', 1, MOST_CPUS)
  apicIds.forEach((id, i) => integer(id, `apicIds[${i}]`, 0, 0xffff_fffe))
  const { start, size } = ACPI_TABLES
  const bytes = new Uint8Array(Number(size))
  // Behind the root pointer, which is written last.
  let next = ALIGNMENT
  const place = (table: Uint8Array): bigint => {
    const at = next
    if (at + table.length > bytes.length) throw new RangeError(`the tables have no room in ${size} bytes`)
    bytes.set(table, at)
    next = Math.ceil((at + table.length) / ALIGNMENT) * ALIGNMENT
    return start + BigInt(at)
  }
  const facs = place(tables.firmwareControl())
  const dsdt = place(tables.systemDescription(machineDescription(layout)))
  const listed = [
    tables.fixedDescription({ facs, dsdt }),
    tables.interruptControllers(apicIds),
    tables.configurationSpace(layout.ecam),
  ].map(place)
  const xsdt = place(tables.rootTable(listed))
  bytes.set(tables.rootPointer(xsdt))
  return { address: start, bytes: bytes.slice(0, next) }
}
