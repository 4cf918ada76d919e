// What the report says, as types: a device, how it is shared, and what is known of its driver. It must not read or judge
// anything.

import type { ReadProblem } from '../host/attempts.js'
import type { MdevType } from '../host/mdev.js'
import type { ProbedPciDevice } from '../host/probe.js'
import type { VfMaking } from '../host/vf-making.js'
import type { HostNodes, SharedFunction } from './facts.js'
import type { JudgedIssue } from './knowledge/issues.js'
import type { Framework } from './knowledge/rule.js'
import type { Capacity, MigrationFact } from './knowledge/types.js'
import type { ParameterInForce } from './parameters.js'

export type { Framework } from './knowledge/rule.js'
export type { IssueAnswer, JudgedIssue } from './knowledge/issues.js'

/** Whether the host uses the device while guests do. */
export interface MergedState {
  /** `merged`: both, now; `possible`: the host does, guests could; `no`: the host does not, or guests cannot. */
  readonly state: 'merged' | 'possible' | 'no'
  readonly why: string
}

/** Whether what guests get can signal them from kernel to kernel. */
export interface HookFinding {
  /** Interrupts by eventfd, doorbells by eventfd, level interrupts. */
  readonly hook: 'irqfd' | 'ioeventfd' | 'level'
  readonly answer: 'yes' | 'no' | 'cannot-tell'
  readonly why: string
}

/** How many guests, as a source says. */
export type DocumentedCapacity = Pick<
  Capacity,
  'id' | 'generation' | 'guests' | 'most' | 'per' | 'limitedBy' | 'confidence' | 'sources'
>

/** Whether what guests have can move to another host while it runs. */
export interface MigrationAnswer {
  readonly answer: 'yes' | 'no' | 'cannot-tell'
  readonly why: string
  /** The row that says it; null where nothing is known. */
  readonly fact: Pick<
    MigrationFact,
    'id' | 'since' | 'flags' | 'dirtyTracking' | 'needs' | 'confidence' | 'sources'
  > | null
}

/** A framework that this device, kernel and driver have or could have. */
export interface FrameworkAnswer {
  /** Of its row in the knowledge base; the framework's own name where no row is about this device. */
  readonly id: string
  readonly framework: Exclude<Framework, 'none'>
  readonly name: string
  /** `used`: guests have something of it; `ready`: they could, now; `possible`: after what is in the way. */
  readonly state: 'used' | 'ready' | 'possible'
  readonly capacity: {
    /** What exists and what more can be made now; null for a framework that is not there. */
    readonly counted: { readonly used: number; readonly free: number } | null
    readonly documented: readonly DocumentedCapacity[]
  }
  readonly migration: MigrationAnswer
  readonly hooks: readonly HookFinding[]
  /** What it takes and is not there, in the order in which it is done. */
  readonly inTheWay: readonly string[]
  /** What it takes of which this report cannot tell whether it is there. */
  readonly unsure: readonly string[]
  readonly note: string | null
  readonly sources: readonly string[]
}

/**
 * How guests can have a virtual GPU that a process of the host makes, while the host keeps the real one: `mediated-2d`, by this
 * package (`MediatedGpu`); `virgl`, `venus` and `native-context` by QEMU's virtio-gpu with virglrenderer, for OpenGL, Vulkan and the
 * GPU's own commands.
 */
export type UserSpaceWay = 'mediated-2d' | 'virgl' | 'venus' | 'native-context'

/** Whether one of these ways is possible with what is installed, and the reason. */
export interface UserSpaceAnswer {
  readonly answer: 'yes' | 'no' | 'cannot-tell'
  readonly why: string
}

export interface UserSpaceFinding extends UserSpaceAnswer {
  readonly way: UserSpaceWay
}

/** One device that can be shared, or a GPU or accelerator that cannot. */
export interface SharedDevice {
  /** A PCI address, or another parent's name. */
  readonly name: string
  readonly bus: 'pci' | 'other'
  readonly sysfsPath: string
  /** Null unless it is on PCI. */
  readonly pci: Pick<
    ProbedPciDevice,
    'vendor' | 'device' | 'class' | 'revision' | 'names' | 'powerState'
  > | null
  readonly driver: string | null
  /** Null where neither the module nor the driver gives one. */
  readonly driverVersion: string | null
  readonly hostNodes: HostNodes
  /** The generation by its PCI id, in words; null where it is not known. */
  readonly platform: string | null
  readonly framework: Framework
  /** What shows it. */
  readonly frameworkWhy: string
  readonly merged: MergedState
  /**
   * Null for a device that has no virtual functions and cannot be given any as it is now. `free` are those that writing
   * `sriov_numvfs` may add.
   */
  readonly vfs: { readonly total: number; readonly active: number; readonly free: number } | null
  /** Whether writing `sriov_numvfs` makes virtual functions; null for a device without SR-IOV. */
  readonly vfMaking: VfMaking | null
  readonly functions: readonly SharedFunction[]
  readonly mdevTypes: readonly MdevType[]
  /** What it has or could have, the one in use first. */
  readonly frameworks: readonly FrameworkAnswer[]
  readonly parameters: readonly ParameterInForce[]
  readonly hooks: readonly HookFinding[]
  /** Empty for a device that is no GPU of the host. */
  readonly userSpace: readonly UserSpaceFinding[]
  readonly blockers: readonly string[]
  readonly notes: readonly string[]
  /** Those that concern it or may, the most relevant first. */
  readonly knownIssues: readonly JudgedIssue[]
}

export interface MergedReport {
  readonly kernelRelease: string | null
  /** GPUs, accelerators and whatever can be shared, by address; parents that are not on PCI last. */
  readonly devices: readonly SharedDevice[]
  /** What exists but could not be read. */
  readonly problems: readonly ReadProblem[]
}
