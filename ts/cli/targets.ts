// What `vfio watch` is asked to watch: registers and interrupts, by name.
import { InvalidArgumentError } from 'commander'
import type { PciIrqName } from '../device/interrupts.js'
import type { PciRegionName } from '../device/region.js'
import { IRQ_NAMES, number, REGION_NAMES } from './arguments.js'
import type { Width } from './register.js'

export interface RegisterTarget {
  readonly kind: 'register'
  readonly label: string
  readonly region: PciRegionName | number
  readonly offset: number
  readonly width: Width
}

export interface IrqTarget {
  readonly kind: 'irq'
  readonly label: string
  readonly name: PciIrqName
}

export type WatchTarget = RegisterTarget | IrqTarget

/** Reads `bar0+0x10`, `bar0+0x10/8` or `msix`. */
export function watchTarget(text: string): WatchTarget {
  if ((IRQ_NAMES as readonly string[]).includes(text))
    return { kind: 'irq', label: text, name: text as PciIrqName }
  const [, name = '', at = '', width = '4'] = /^(\w+)\+(\w+)(?:\/([1248]))?$/.exec(text) ?? []
  if (!REGION_NAMES.includes(name) && !/^\d+$/.test(name))
    throw new InvalidArgumentError(
      'It must be REGION+OFFSET such as bar0+0x10, with /1, /2, /4 or /8 for the width, or an interrupt such as msix.',
    )
  const region = /^\d+$/.test(name) ? Number(name) : (name as PciRegionName)
  return { kind: 'register', label: text, region, offset: number(at), width: Number(width) as Width }
}

/** One more of them, for an argument that takes several. */
export function watchTargets(text: string, before: readonly WatchTarget[] = []): WatchTarget[] {
  return [...before, watchTarget(text)]
}
