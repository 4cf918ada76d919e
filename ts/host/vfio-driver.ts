// Which driver gives a PCI device to VFIO: a variant driver made for it, or vfio-pci. It must not bind anything, nor load a
// module.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { string } from '../validate.js'
import {
  checkHostOptions,
  readText,
  listNames,
  sysfsRoot,
  type HostOptions,
  modulesRoot,
  procRoot,
} from './sysfs.js'

/** The driver to choose. */
export interface VfioDriverChoice {
  /** Its name in `/sys/bus/pci/drivers`; the module's name where it is not loaded. */
  readonly driver: string
  readonly module: string
  /** The alias that matched, `vfio_pci:v...`; null for plain vfio-pci. */
  readonly alias: string | null
  /** Whether the kernel has it now. */
  readonly loaded: boolean
}

const PREFIX = 'vfio_pci:'

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    // No modules at all, as on a kernel with everything built in.
    return ''
  }
}

/** Lines `alias vfio_pci:v... module` of modules.alias, and `module.alias=vfio_pci:...` of what is built in. */
function* aliases(folder: string): Generator<{ alias: string; module: string }> {
  for (const [, alias = '', module = ''] of read(join(folder, 'modules.alias')).matchAll(
    /^alias (vfio_pci:\S+) (\S+)$/gm,
  ))
    yield { alias, module }
  for (const entry of read(join(folder, 'modules.builtin.modinfo')).split('\0')) {
    const match = /^([^.]+)\.alias=(vfio_pci:\S+)$/.exec(entry)
    if (match !== null) yield { module: match[1] ?? '', alias: match[2] ?? '' }
  }
}

/** Whether a module alias, in which `*` stands for anything, matches a device's modalias. */
export function aliasMatches(alias: string, modalias: string): boolean {
  const parts = alias.split('*').map((part) => part.replace(/[.+?^${}()|[\]\\]/g, '\\$&'))
  return new RegExp(`^${parts.join('.*')}$`).test(modalias)
}

/** The driver that a module registered on PCI; null if it is not loaded. */
function registered(module: string, options: HostOptions): string | null {
  const names = listNames(sysfsRoot(options), 'module', module, 'drivers') ?? []
  return names.find((name) => name.startsWith('pci:'))?.slice(4) ?? null
}

/**
 * The variant driver whose `vfio_pci:` alias matches the device in directory `path` most closely, or else vfio-pci, which
 * has an alias for every device.
 */
export function chooseVfioDriver(path: string, options: HostOptions = {}): VfioDriverChoice {
  checkHostOptions(options)
  string(path, 'path')
  const modalias = readText(path, 'modalias')
  const release = readText(procRoot(options), 'sys', 'kernel', 'osrelease')
  const wanted = modalias?.replace(/^pci:/, PREFIX)
  if (wanted !== undefined && release !== null) {
    const matching = [...aliases(join(modulesRoot(options), release))]
      .filter(({ alias, module }) => module !== 'vfio_pci' && aliasMatches(alias, wanted))
      .map((each) => ({ ...each, wildcards: each.alias.split('*').length }))
      .sort((a, b) => a.wildcards - b.wildcards)
    const [best] = matching
    if (best !== undefined) {
      const driver = registered(best.module, options)
      return {
        driver: driver ?? best.module,
        module: best.module,
        alias: best.alias,
        loaded: driver !== null,
      }
    }
  }
  const loaded = listNames(sysfsRoot(options), 'bus', 'pci', 'drivers', 'vfio-pci') !== null
  return { driver: 'vfio-pci', module: 'vfio_pci', alias: null, loaded }
}
