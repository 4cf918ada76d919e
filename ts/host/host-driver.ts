// Which driver of the host a PCI device belongs to, and which drivers only hold a device for user space or a guest. It must
// not bind anything, nor load a module.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { string } from '../validate.js'
import {
  checkHostOptions,
  type HostOptions,
  listNames,
  modulesRoot,
  procRoot,
  readText,
  sysfsRoot,
} from './sysfs.js'
import { aliasMatches } from './vfio-driver.js'

/** Beside those of VFIO, which have it in their names. `pciback` is what xen-pciback registers. */
const HOLDERS: ReadonlySet<string> = new Set([
  'pci-stub',
  'pciback',
  'xen-pciback',
  'uio_pci_generic',
  'igb_uio',
])

/** Whether a driver only holds devices, for user space or a guest: none of the host's own uses it. */
export function isHolder(driver: string): boolean {
  return driver.includes('vfio') || HOLDERS.has(driver)
}

/** The drivers of that kind that the kernel has now. */
export function registeredHolders(options: HostOptions): string[] {
  return (listNames(sysfsRoot(options), 'bus', 'pci', 'drivers') ?? []).filter(isHolder).sort()
}

/** A driver of the host that is made for a device. */
export interface HostDriver {
  readonly module: string
  /** What it is called in `/sys/bus/pci/drivers`; null where the module is not loaded. */
  readonly driver: string | null
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    // A kernel without modules.
    return ''
  }
}

/** Modules whose aliases match, of modules.alias and of what is built in. */
function* matchingModules(folder: string, modalias: string): Generator<string> {
  // A host has some 15,000 aliases: those of other vendors are told by their beginning.
  const vendor = modalias.slice(0, 'pci:v'.length + 8)
  const matches = (alias: string): boolean =>
    (alias.startsWith(vendor) || alias.startsWith('pci:v*')) && aliasMatches(alias, modalias)
  for (const [, alias = '', module = ''] of read(join(folder, 'modules.alias')).matchAll(
    /^alias (pci:\S+) (\S+)$/gm,
  ))
    if (matches(alias)) yield module
  for (const entry of read(join(folder, 'modules.builtin.modinfo')).split('\0')) {
    const [, module = '', alias = ''] = /^([^.]+)\.alias=(pci:\S+)$/.exec(entry) ?? []
    if (matches(alias)) yield module
  }
}

/** The drivers of the host that are made for the device in directory `path`, by the aliases of their modules. */
export function hostDrivers(path: string, options: HostOptions = {}): HostDriver[] {
  checkHostOptions(options)
  const modalias = readText(string(path, 'path'), 'modalias')
  const release = readText(procRoot(options), 'sys', 'kernel', 'osrelease')
  if (modalias === null || release === null) return []
  const modules = new Set(matchingModules(join(modulesRoot(options), release), modalias))
  return [...modules].flatMap((module): HostDriver[] => {
    if (isHolder(module) || isHolder(module.replaceAll('_', '-'))) return []
    const names = listNames(sysfsRoot(options), 'module', module, 'drivers') ?? []
    const own = names.filter((name) => name.startsWith('pci:')).map((name) => name.slice(4))
    return own.length === 0 ? [{ module, driver: null }] : own.map((driver) => ({ module, driver }))
  })
}
