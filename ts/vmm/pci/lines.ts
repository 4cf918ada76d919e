// Which line of the IOAPIC a slot's interrupt pin is on, as the ACPI tables say and the devices are wired. Numbers only.
import { integer } from '../../validate.js'

/** Slots of a bus. */
export const SLOTS = 32

/** The lines of the IOAPIC above those of the ISA bus. */
const FIRST_LINE = 16
const LINES = 8

/**
 * The GSI of a pin.
 * @param slot 0 to 31
 * @param pin 1 (INTA#) to 4 (INTD#)
 */
export function lineOf(slot: number, pin: number): number {
  integer(slot, 'slot', 0, SLOTS - 1)
  integer(pin, 'pin', 1, 4)
  return FIRST_LINE + ((slot + pin - 1) % LINES)
}
