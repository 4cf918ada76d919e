// What a host shows of itself to the rules: each file is read when a rule first asks for it, once for all devices. It must not
// know any rule.

import { join } from 'node:path'
import { readKernelLog } from '../../host/kernel-log.js'
import { commandLineWords } from '../../host/machine.js'
import { type KernelModule, readModule } from '../../host/modules.js'
import { devRoot, type HostOptions, listNames, procRoot, readText, sysfsRoot } from '../../host/sysfs.js'
import { knowledge } from './load.js'
import type { Evidence, Framework, SeenParameter } from './rule.js'
import { hasId } from './rules/device.js'

/** A device, as far as rules look at it. */
export interface SeenDevice {
  readonly sysfsPath: string
  readonly driver: string | null
  readonly driverVersion: string | null
  readonly framework: Framework
  readonly functionDrivers: readonly (string | null)[]
  readonly hostNodes: readonly ('card' | 'render' | 'accel')[]
  /** Null for a device that is not on PCI. */
  readonly pci: {
    readonly vendor: number
    readonly device: number
    readonly class: number
    readonly resources: readonly { readonly index: number; readonly size: bigint }[]
  } | null
}

/** What is the same for all devices of a host. */
export interface SeenHost {
  readonly kernelRelease: string | null
  readonly commandLine: string | null
  readonly hasQemu: () => boolean
}

/** Remembers what a reader gave for a text; `undefined` for what could not be read. */
function remembered<T>(read: (name: string) => T): (name: string) => T | undefined {
  const known = new Map<string, T | undefined>()
  return (name) => {
    if (!known.has(name)) {
      let value: T | undefined
      try {
        value = read(name)
      } catch {
        value = undefined
      }
      known.set(name, value)
    }
    return known.get(name)
  }
}

function readAny(path: string): string | null {
  if (path.endsWith('/*')) return (listNames(path.slice(0, -2)) ?? []).length > 0 ? '' : null
  try {
    return readText(path)
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EISDIR') return ''
    throw error
  }
}

/** Bits 21 to 16 of VT-d's capability register: how many bits of an address it translates, less one. */
const widthOf = (capability: string): number => Number((BigInt(`0x${capability}`) >> 16n) & 0x3fn) + 1

function readWidths(options: HostOptions): number[] {
  const folder = join(sysfsRoot(options), 'class', 'iommu')
  const units = (listNames(folder) ?? []).filter((name) => /^dmar\d/.test(name))
  const texts = units.map((name) => readText(folder, name, 'intel-iommu', 'cap'))
  return texts.filter((text) => text !== null).map(widthOf)
}

/** The evidence of a host's devices, one after the other. */
export class HostEvidence {
  readonly #host: SeenHost
  readonly #options: HostOptions
  readonly #module: (name: string) => KernelModule | null | undefined
  readonly #file = remembered(readAny)
  readonly #once: (what: string) => unknown

  constructor(host: SeenHost, options: HostOptions) {
    this.#host = host
    this.#options = options
    this.#module = remembered((name) => readModule(name, options))
    const readers: Readonly<Record<string, () => unknown>> = {
      log: () => readKernelLog(options) ?? undefined,
      widths: () => readWidths(options),
      flavour: () => this.#readFlavour(),
    }
    this.#once = remembered((what) => readers[what]?.())
  }

  #readFlavour(): 'open' | 'proprietary' | null | undefined {
    const text = readText(procRoot(this.#options), 'driver', 'nvidia', 'version')
    if (text === null) return this.#module('nvidia') === null ? null : undefined
    return text.includes('Open Kernel Module') ? 'open' : 'proprietary'
  }

  #path(path: string, device: string): string {
    if (path.startsWith('DEVICE/')) return join(device, path.slice('DEVICE/'.length))
    if (path.startsWith('/sys/')) return join(sysfsRoot(this.#options), path.slice('/sys/'.length))
    return join(devRoot(this.#options), path.slice('/dev/'.length))
  }

  #parameter(name: string, parameter: string): SeenParameter | undefined {
    const module = this.#module(name)
    if (module === undefined) return undefined
    if (module === null) return { loaded: false, exists: false, value: null }
    const exists = Object.hasOwn(module.parameters, parameter)
    return { loaded: true, exists, value: module.parameters[parameter] ?? null }
  }

  of(device: SeenDevice): Evidence {
    const { kernelRelease, commandLine, hasQemu } = this.#host
    const { pci, sysfsPath } = device
    const bars = (pci?.resources ?? []).filter(({ index }) => index <= 5)
    return {
      kernelRelease: kernelRelease ?? undefined,
      driver: device.driver,
      driverVersion: device.driverVersion,
      functionDrivers: device.functionDrivers,
      framework: device.framework,
      id: pci ?? undefined,
      class: pci?.class,
      platforms: pci === null ? [] : platformsOf(pci),
      bars: new Map(bars.map(({ index, size }) => [index, size])),
      hostNodes: device.hostNodes,
      commandLine: commandLine === null ? undefined : commandLineWords(commandLine),
      flavour: () => this.#once('flavour') as ReturnType<Evidence['flavour']>,
      module: (name) => {
        const found = this.#module(name)
        return found === undefined ? undefined : found !== null
      },
      parameter: (module, name) => this.#parameter(module, name),
      file: (path) => this.#file(this.#path(path, sysfsPath)),
      log: () => this.#once('log') as ReturnType<Evidence['log']>,
      feature: () => undefined,
      iommuWidths: () => this.#once('widths') as ReturnType<Evidence['iommuWidths']>,
      toolVersion: (name) => (name === 'qemu' && !hasQemu() ? null : undefined),
    }
  }
}

/** The platforms that a device belongs to. */
export function platformsOf(id: { readonly vendor: number; readonly device: number }): string[] {
  const found = knowledge().platforms.filter(({ ids }) => ids.some((pattern) => hasId(id, pattern)))
  return found.map((platform) => platform.id)
}
