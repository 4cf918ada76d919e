// Which module parameters that matter for sharing are in force: those that the loaded module has. What the kernel's command line
// or modprobe.d ask for in addition is reported as asked for without effect. It must not know any parameter.

import { join } from 'node:path'
import { commandLineWords } from '../host/machine.js'
import { type KernelModule, readModule } from '../host/modules.js'
import type { Attempts } from '../host/attempts.js'
import { etcRoot, type HostOptions, listNames, readText } from '../host/sysfs.js'
import { knowledge } from './knowledge/load.js'
import type { Parameter } from './knowledge/types.js'

/** A module parameter that matters for sharing. */
export interface ParameterInForce extends Omit<
  Parameter,
  'vendor' | 'place' | 'path' | 'modules' | 'note' | 'verified' | 'checked'
> {
  /** The module that has it; null if none of those that may have it shows it. */
  readonly module: string | null
  /** As sysfs has it; null if no loaded module has the parameter, or this user may not read it. */
  readonly value: string | null
  /** Whether the loaded module has it. */
  readonly inForce: boolean
  /** What the kernel's command line or else modprobe.d asks for; null if neither does. */
  readonly asked: string | null
  readonly read: string
}

interface Asked {
  readonly value: string
  /** Where, in words. */
  readonly where: string
}

const sameName = (a: string, b: string): boolean => a.replaceAll('-', '_') === b.replaceAll('-', '_')

/** `options MODULE NAME=VALUE ...` of each file, the last of the last file. */
function ofModprobe(module: string, name: string, options: HostOptions): Asked | null {
  const folder = join(etcRoot(options), 'modprobe.d')
  let found: Asked | null = null
  for (const file of (listNames(folder) ?? []).filter((each) => each.endsWith('.conf')).sort()) {
    for (const line of (readText(folder, file) ?? '').replaceAll('\\\n', ' ').split('\n')) {
      const [verb, of = '', ...words] = line.trim().split(/\s+/)
      if (verb !== 'options' || !sameName(of, module)) continue
      const word = words.findLast((each) => sameName(each.split('=')[0] ?? '', name))
      if (word !== undefined)
        found = { value: word.slice(word.indexOf('=') + 1), where: `${join(folder, file)} has ${word}` }
    }
  }
  return found
}

/** modprobe puts what the kernel's command line has behind what its own files have, so that it wins. */
function askedFor(
  module: string,
  name: string,
  commandLine: string | null,
  options: HostOptions,
): Asked | null {
  const word = commandLineWords(commandLine).findLast((each) =>
    sameName(each.split('=')[0] ?? '', `${module}.${name}`),
  )
  return word === undefined
    ? ofModprobe(module, name, options)
    : { value: word.slice(word.indexOf('=') + 1), where: `the command line has ${word}` }
}

/** What a reader wants of a row. */
function toldOf({
  vendor: _vendor,
  place: _place,
  path: _path,
  note: _note,
  verified: _verified,
  checked: _checked,
  ...told
}: Omit<Parameter, 'modules'>): Omit<ParameterInForce, 'module' | 'value' | 'inForce' | 'asked' | 'read'> {
  return told
}

/** The parameters of a driver of a vendor's, each with its state. */
export function parametersOf(
  { vendor, driver }: { readonly vendor: number; readonly driver: string | null },
  commandLine: string | null,
  attempts: Attempts,
  options: HostOptions,
): ParameterInForce[] {
  const rows = knowledge().parameters.filter(
    (each) => each.place === 'module' && each.vendor === vendor && each.modules.includes(driver ?? ''),
  )
  return rows.map(({ modules, ...row }) => {
    const told = toldOf(row)
    const loaded = modules
      .map((name) => attempts.run(`module ${name}`, () => readModule(name, options), null))
      .filter((each): each is KernelModule => each !== null)
    const asked = modules
      .map((name) =>
        attempts.run(`modprobe.d of ${name}`, () => askedFor(name, told.name, commandLine, options), null),
      )
      .find((each) => each !== null)
    const value = asked?.value ?? null
    const found = loaded.find(({ parameters }) => Object.hasOwn(parameters, told.name))
    if (found !== undefined) {
      const now = found.parameters[told.name] ?? null
      const path = `/sys/module/${found.name}/parameters`
      const read = now === null ? `${path}, which this user may not read` : path
      return { ...told, module: found.name, value: now, inForce: true, asked: value, read }
    }
    const names = modules.join(' and ')
    const why =
      loaded.length === 0
        ? `the module ${names} is not loaded`
        : asked === undefined
          ? `the module ${names} has no such parameter`
          : `the module ${names} has no such parameter: unknown parameter ignored`
    const read = asked === undefined ? why : `${asked.where}, but ${why}`
    return { ...told, module: null, value: null, inForce: false, asked: value, read }
  })
}
