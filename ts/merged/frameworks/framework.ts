// What a framework's file says of a device: whether it is shared so, how much guests have, and how they are signalled. The files
// beside this one are the frameworks, ./index.ts is their table. It must not know any vendor.

import type { MdevType } from '../../host/mdev.js'
import type { SharedFunction } from '../facts.js'
import type { Framework, HookFinding, MergedState, SharedDevice } from '../types.js'

/** What the rules of a framework look at. */
export interface SharingFacts {
  readonly mdevTypes: readonly MdevType[]
  /** The virtual functions that exist. */
  readonly functions: readonly SharedFunction[]
  /** How many virtual functions exist or can be created, and are of use on VFIO's own drivers. */
  readonly usableVfs: number
  readonly activeVfs: number
  /** Whether writing `sriov_numvfs` may create more. */
  readonly maySet: boolean
  /** The vendor's own tool, if it creates virtual functions and none exist yet. */
  readonly tool: string | null
}

export interface FrameworkRules {
  readonly name: Framework
  /** What guests get. */
  readonly words: string
  /** What was found that makes a device shared so; null if it is not. */
  readonly why: (facts: SharingFacts) => string | null
  /** Whether guests can have anything of the device. */
  readonly offers: (facts: SharingFacts) => boolean
  /**
   * What guests have while the host uses the device.
   * @param driver that serves the host; null for a parent that is no device of a driver
   */
  readonly state: (driver: string | null, facts: SharingFacts) => MergedState
  /** Whether what guests get can signal them from kernel to kernel. */
  readonly hooks: (facts: SharingFacts) => HookFinding[]
  /** What guests have of it and VFIO can open, by path below /sys/bus. */
  readonly openable: (device: SharedDevice) => string[]
}

const HOOKS = ['irqfd', 'ioeventfd', 'level'] as const

/** One answer for all hooks. */
export const sameHooks = (answer: HookFinding['answer'], why: string): HookFinding[] =>
  HOOKS.map((hook) => ({ hook, answer, why }))

/** The answer where sysfs does not have it. */
export const unknownHooks = (): HookFinding[] =>
  sameHooks('cannot-tell', 'only the opened device itself tells')

/** The state by how many guests have, and whether they could have more. */
export function stateOf(driver: string | null, given: number, more: boolean): MergedState {
  const serves = driver === null ? '' : `${driver} serves the host, and `
  if (given > 0) return { state: 'merged', why: `${serves}guests have ${given}` }
  if (more) return { state: 'possible', why: `${serves}guests could have some` }
  return { state: 'no', why: 'guests have none, and none is left' }
}

/** Virtual functions on a VFIO driver, and mediated devices. */
export const openableOf = ({ functions, mdevTypes }: SharedDevice): string[] => [
  ...functions.filter(({ onVfio }) => onVfio).map(({ address }) => `pci/devices/${address}`),
  ...mdevTypes.flatMap(({ devices }) => devices.map((uuid) => `mdev/devices/${uuid}`)),
]
