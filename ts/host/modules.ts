// Kernel modules and their parameters, as sysfs shows them. It must not load any.

import { join } from 'node:path'
import { string } from '../validate.js'
import { checkHostOptions, type HostOptions, listNames, readText, sysfsRoot } from './sysfs.js'

/** A module that the kernel has. */
export interface KernelModule {
  /** With underscores, as the kernel spells it: `vfio_pci`. */
  readonly name: string
  /**
   * `live`, or `coming` and `going` while it is loaded and unloaded; `builtin` if it is part of the kernel
   * image.
   */
  readonly state: 'live' | 'coming' | 'going' | 'builtin'
  /** Values by name; null where this process may not read one. Flags read `Y` or `N`. */
  readonly parameters: Readonly<Record<string, string | null>>
}

function readParameter(path: string): string | null {
  try {
    return readText(path)
  } catch (error) {
    // Write-only parameters and those for root alone are common; they exist, but their value is not to be
    // had.
    if (error instanceof Error && 'code' in error && (error.code === 'EACCES' || error.code === 'EPERM'))
      return null
    throw error
  }
}

/**
 * Reads one module.
 * @param name with dashes or underscores
 * @returns null if the kernel does not have it. A built-in one without parameters and version has no entry in
 * sysfs, and cannot be told from one that is absent.
 * @throws TypeError if `name` is no module name
 */
export function readModule(name: string, options: HostOptions = {}): KernelModule | null {
  checkHostOptions(options)
  if (!/^[\w-]+$/.test(string(name, 'name')))
    throw new TypeError(`${JSON.stringify(name)} is not the name of a kernel module`)
  const kernelName = name.replaceAll('-', '_')
  const path = join(sysfsRoot(options), 'module', kernelName)
  if (listNames(path) === null) return null
  const initstate = readText(path, 'initstate')
  const state =
    initstate === 'live' || initstate === 'coming' || initstate === 'going' ? initstate : 'builtin'
  const parameters: Record<string, string | null> = {}
  for (const parameter of (listNames(path, 'parameters') ?? []).sort()) {
    parameters[parameter] = readParameter(join(path, 'parameters', parameter))
  }
  return { name: kernelName, state, parameters }
}
