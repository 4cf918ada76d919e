// What the report says, as types: a device, how it is shared, and what is known of its driver. It must not read or judge
// anything.

import type { ReadProblem } from '../host/attempts.js'
import type { MdevType } from '../host/mdev.js'
import type { ProbedPciDevice } from '../host/probe.js'
import type { VfMaking } from '../host/vf-making.js'
import type { HostNodes, SharedFunction } from './facts.js'
import type { KnownIssue } from './known-issues.js'
import type { ParameterInForce } from './parameters.js'

/**
 * How a device is shared, judged by what it has: mediated devices; virtual functions for VFIO's drivers; virtual
 * functions that stay with NVIDIA's driver; not at all.
 */
export type Framework = 'mdev' | 'sriov' | 'vendor-vfio' | 'none'

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

export type IssueAnswer = 'applies' | 'fixed' | 'cannot-tell' | 'other-driver'

/** A known issue, with what it means for one device. */
export interface JudgedIssue {
  readonly id: string
  readonly symptom: string
  readonly affected: string
  readonly fixedIn: string | null
  readonly mitigation: string | null
  /** What gives guests elsewhere what the driver lacks; null where nothing is known to. */
  readonly suppliedBy: string | null
  readonly provenance: string
  readonly guarantee: KnownIssue['guarantee']
  readonly answer: IssueAnswer
  /** What was read to decide, in words. */
  readonly read: string
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
  readonly parameters: readonly ParameterInForce[]
  readonly hooks: readonly HookFinding[]
  /** Empty for a device that is no GPU of the host. */
  readonly userSpace: readonly UserSpaceFinding[]
  readonly blockers: readonly string[]
  readonly notes: readonly string[]
  readonly knownIssues: readonly JudgedIssue[]
}

export interface MergedReport {
  readonly kernelRelease: string | null
  /** GPUs, accelerators and whatever can be shared, by address; parents that are not on PCI last. */
  readonly devices: readonly SharedDevice[]
  /** What exists but could not be read. */
  readonly problems: readonly ReadProblem[]
}
