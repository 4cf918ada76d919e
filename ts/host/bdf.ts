// PCI addresses as text: domain, bus, device, function. It must not know whether a device has that address.

import { integer, object, string } from '../validate.js'

/** The four parts of a PCI address. */
export interface PciAddress {
  /** 0 to 0xffffffff; more than 0xffff only behind host bridges that the kernel numbers itself (VMD). */
  readonly domain: number
  /** 0 to 0xff. */
  readonly bus: number
  /** 0 to 0x1f. */
  readonly device: number
  /** 0 to 7. */
  readonly function: number
}

const LARGEST: PciAddress = { domain: 0xffff_ffff, bus: 0xff, device: 0x1f, function: 7 }

function checkAddress(value: PciAddress, name: string): PciAddress {
  const address = object(value, name)
  const part = (key: keyof PciAddress): number => integer(address[key], `${name}.${key}`, 0, LARGEST[key])
  return { domain: part('domain'), bus: part('bus'), device: part('device'), function: part('function') }
}

const PATTERN = /^(?:([0-9a-f]{4,8}):)?([0-9a-f]{2}):([0-9a-f]{2})\.([0-9a-f])$/i

function hex(value: number, digits: number): string {
  return value.toString(16).padStart(digits, '0')
}

/** Whether text has the form of a PCI address; its parts may still be out of range. */
export function isBdf(text: string): boolean {
  return PATTERN.test(string(text, 'text'))
}

/**
 * Reads `0000:00:10.0`, or `00:10.0` for domain 0, in either case.
 * @throws TypeError if the text has another form
 * @throws RangeError if the device number is above 0x1f or the function above 7
 */
export function parseBdf(text: string): PciAddress {
  const match = PATTERN.exec(string(text, 'address'))
  if (match === null) {
    throw new TypeError(
      `${JSON.stringify(text)} is not a PCI address: it must look like 0000:00:10.0 or 00:10.0`,
    )
  }
  const [, domain = '0', bus = '', device = '', fn = ''] = match
  const address = {
    domain: Number.parseInt(domain, 16),
    bus: Number.parseInt(bus, 16),
    device: Number.parseInt(device, 16),
    function: Number.parseInt(fn, 16),
  }
  if (address.device > 0x1f) throw new RangeError(`device number ${device} in ${text} is above 1f`)
  if (address.function > 7) throw new RangeError(`function number ${fn} in ${text} is above 7`)
  return address
}

/**
 * The form that the kernel uses: `0000:00:10.0`, in lower case.
 * @throws TypeError or RangeError if a part is missing or out of its range
 */
export function formatBdf(address: PciAddress): string {
  const { domain, bus, device, function: fn } = checkAddress(address, 'address')
  return `${hex(domain, 4)}:${hex(bus, 2)}:${hex(device, 2)}.${fn}`
}

/** Orders addresses as the kernel does: by domain, bus, device, function. */
export function compareBdf(a: PciAddress, b: PciAddress): number {
  const first = checkAddress(a, 'a')
  const second = checkAddress(b, 'b')
  return (
    first.domain - second.domain ||
    first.bus - second.bus ||
    first.device - second.device ||
    first.function - second.function
  )
}
