// The rules about the device itself: its driver, its ids, its BARs, and how it is shared.

import type { Evidence, RuleOf, Verdict } from '../rule.js'
import { applies, fixed, other, unknown, when } from './verdicts.js'

/** Modules and drivers are the same name, spelled either way. */
const spelled = (name: string): string => name.replaceAll('_', '-')
const among = (names: readonly string[], name: string): boolean =>
  names.some((each) => spelled(each) === spelled(name))

export function driver(rule: RuleOf<'driver'>, evidence: Evidence): Verdict {
  const name = evidence.driver
  if (name === undefined) return unknown('which driver has the device is not known')
  if (name === null) return other('no driver has the device')
  return when(among(rule.in, name), `driver ${name}`)
}

export function functionDriver(rule: RuleOf<'function-driver'>, { functionDrivers }: Evidence): Verdict {
  if (functionDrivers === undefined) return unknown('which drivers have its virtual functions is not known')
  const names = [...new Set(functionDrivers.filter((name) => name !== null))]
  const found = names.filter((name) => among(rule.in, name))
  if (found.length > 0) return applies(`virtual functions on ${found.join(', ')}`)
  return other(
    names.length === 0
      ? 'no driver has a virtual function of it'
      : `virtual functions on ${names.join(', ')}`,
  )
}

export function framework(rule: RuleOf<'framework'>, evidence: Evidence): Verdict {
  const found = evidence.framework
  if (found === undefined) return unknown('how the device is shared is not known')
  const read = `framework ${found}`
  if (rule.in.includes(found)) return applies(read)
  return rule.fixed?.includes(found) === true ? fixed(read) : other(read)
}

const hex4 = (value: number): string => value.toString(16).padStart(4, '0')

/** Whether a device is `8086:e20b`, or in `10de:2340-237f`. */
export function hasId({ vendor, device }: { vendor: number; device: number }, pattern: string): boolean {
  const [, of, first, last = first] = /^([0-9a-f]{4}):([0-9a-f]{4})(?:-([0-9a-f]{4}))?$/.exec(pattern) ?? []
  if (of === undefined || first === undefined || last === undefined) return false
  return hex4(vendor) === of && hex4(device) >= first && hex4(device) <= last
}

export function pciId({ ids }: RuleOf<'pci-id'>, { id }: Evidence): Verdict {
  if (id === undefined) return unknown('which device it is is not known')
  return when(
    ids.some((pattern) => hasId(id, pattern)),
    `PCI id ${hex4(id.vendor)}:${hex4(id.device)}`,
  )
}

export function platform(rule: RuleOf<'platform'>, { platforms }: Evidence): Verdict {
  if (platforms === undefined) return unknown('which platform it is is not known')
  const found = platforms.find((name) => rule.in.includes(name))
  return found === undefined ? other(platforms.join(', ') || 'another device') : applies(found)
}

export function pciClass({ class: digits }: RuleOf<'pci-class'>, evidence: Evidence): Verdict {
  if (evidence.class === undefined) return unknown("the device's class is not known")
  const code = evidence.class.toString(16).padStart(6, '0')
  return when(code.startsWith(digits), `class ${code}`)
}

export function bar({ index, equals, atLeast }: RuleOf<'bar'>, { bars }: Evidence): Verdict {
  if (bars === undefined) return unknown("the sizes of the device's BARs are not known")
  const sizes = [...bars].filter(([number]) => index === undefined || number === index)
  const fits = (size: bigint): boolean =>
    (equals === undefined || size === BigInt(equals)) && (atLeast === undefined || size >= BigInt(atLeast))
  const found = sizes.find(([, size]) => fits(size)) ?? sizes[0]
  if (found === undefined) return other(`it has no BAR${index === undefined ? '' : ` ${index}`}`)
  const [number, size] = found
  return when(fits(size), `BAR ${number} has ${String(size)} bytes`)
}

export function hostNode({ is }: RuleOf<'host-node'>, { hostNodes }: Evidence): Verdict {
  if (hostNodes === undefined) return unknown('which nodes the host has of it is not known')
  const there = hostNodes.includes(is)
  return when(there, `the host has ${there ? 'a' : 'no'} ${is} node of it`)
}

export function feature({ number, present }: RuleOf<'feature'>, evidence: Evidence): Verdict {
  const there = evidence.feature(number)
  if (there === undefined)
    return unknown(`only the opened device tells whether it has VFIO_DEVICE_FEATURE ${number}`)
  return when(there === present, `the device has ${there ? '' : 'no '}VFIO_DEVICE_FEATURE ${number}`)
}
