// The DSDT of a PC that this package lays out: how to turn it off, its PCI bus with windows and interrupt lines, its serial port and
// clock. Says what is where; who answers there are the devices.
import type { GuestLayout } from '../layout.js'
import { PCI_PORTS } from '../layout.js'
import { POWER_BYTES, POWER_PORTS, SLEEP_TYPE_OFF } from '../devices/power.js'
import { RTC_BYTES, RTC_IRQ, RTC_PORT } from '../devices/rtc.js'
import { SERIAL_BYTES, SERIAL_IRQ, SERIAL_PORT } from '../devices/serial.js'
import { SLOTS, lineOf } from '../pci/lines.js'
import * as aml from './aml.js'
import * as use from './resources.js'

const PINS = 4
/** Stands for every function of a slot. */
const ANY_FUNCTION = 0xffff
const CONFIG_PORT = 0xcf8
const CONFIG_PORTS = 8

/** Which line of the IOAPIC each pin of each slot is on. */
function interruptLines(): aml.Term {
  const entries = Array.from({ length: SLOTS * PINS }, (_, i) => {
    const [slot, pin] = [Math.floor(i / PINS), i % PINS]
    return aml.packageOf(
      aml.number((slot << 16) | ANY_FUNCTION),
      aml.number(pin),
      aml.number(0),
      aml.number(lineOf(slot, pin + 1)),
    )
  })
  return aml.packageOf(...entries)
}

function pciBus({ pci32, pci64 }: GuestLayout): aml.Term {
  return aml.device(
    'PCI0',
    aml.name('_HID', aml.eisaId('PNP0A08')),
    aml.name('_CID', aml.eisaId('PNP0A03')),
    aml.name('_UID', aml.number(0)),
    aml.name('_SEG', aml.number(0)),
    aml.name('_BBN', aml.number(0)),
    aml.name(
      '_CRS',
      use.resourceTemplate(
        use.busWindow(0, 1),
        use.ports(CONFIG_PORT, CONFIG_PORTS),
        use.portWindow(PCI_PORTS.start, PCI_PORTS.size),
        use.memoryWindow32(pci32),
        use.memoryWindow64(pci64),
      ),
    ),
    aml.name('_PRT', interruptLines()),
  )
}

/** Addresses that no driver may give away: kernels believe in ECAM only where they are named so. */
function takenAddresses({ ecam }: GuestLayout): aml.Term {
  return aml.device(
    'RSVD',
    aml.name('_HID', aml.eisaId('PNP0C02')),
    aml.name('_CRS', use.resourceTemplate(use.memory32(ecam), use.ports(POWER_PORTS, POWER_BYTES))),
  )
}

function isaDevice(at: string, id: string, first: number, count: number, irq: number): aml.Term {
  return aml.device(
    at,
    aml.name('_HID', aml.eisaId(id)),
    aml.name('_UID', aml.number(0)),
    aml.name('_CRS', use.resourceTemplate(use.ports(first, count), use.isaInterrupt(irq))),
  )
}

/** The terms of the DSDT. */
export function machineDescription(layout: GuestLayout): aml.Term[] {
  const off = aml.number(SLEEP_TYPE_OFF)
  return [
    aml.name('\\_S5', aml.packageOf(off, off, aml.number(0), aml.number(0))),
    aml.scope(
      '\\_SB',
      pciBus(layout),
      takenAddresses(layout),
      isaDevice('COM1', 'PNP0501', SERIAL_PORT, SERIAL_BYTES, SERIAL_IRQ),
      isaDevice('RTC', 'PNP0B00', RTC_PORT, RTC_BYTES, RTC_IRQ),
    ),
  ]
}
