// What each command prints with --json: the public, versioned form. The number in `schema` changes when a field goes or
// means something else; new fields do not change it. The schemas in schema/ are made of this file (npm run docs:schema).
import type { Row } from '../measure/harness.js'
import type { VfioDevice } from '../device/device.js'
import type { InterruptIndex } from '../device/interrupts.js'
import type { Region } from '../device/region.js'
import type { IommuGroup, Mdev, MdevType, PciDevice, ReadProblem, SriovState } from '../host/index.js'
import type {
  DamagedJournal,
  FoundIssue,
  IssueSearch,
  JournalEntry,
  MergedReport,
  Plan,
} from '../merged/index.js'
import type {
  Capability,
  ConfigProblem,
  ExtendedCapability,
  InterruptPin,
  PciBar,
  PciClassCode,
  PciStatus,
} from '../pci/index.js'
import type { Openable } from './openable.js'

/** A line of `vfio ls`. */
export interface ListedDevice {
  /** A PCI address, an mdev's UUID, or another device's name on its bus. */
  readonly name: string
  readonly bus: string
  /** Null unless it is on PCI; so are the next two. */
  readonly vendor: number | null
  readonly device: number | null
  readonly class: number | null
  readonly driver: string | null
  readonly iommuGroup: number | null
  readonly open: Openable
}

/** `vfio ls --json`. */
export interface LsOutput {
  readonly schema: 'vfio-ls/1'
  /** By IOMMU group; those without come last. */
  readonly devices: readonly ListedDevice[]
  /** What exists but could not be read; only that field is missing. */
  readonly problems: readonly ReadProblem[]
}

/** What the host knows of a device. */
export interface HostSide {
  readonly name: string
  readonly bus: string
  readonly driver: string | null
  readonly iommuGroup: IommuGroup | null
  /** What only PCI devices have. */
  readonly pci: PciDevice | null
}

/** What VFIO says of a device: plain data, shown when the device has been closed again. */
export interface VfioSide {
  readonly info: VfioDevice['info']
  readonly regions: readonly Pick<
    Region,
    'name' | 'index' | 'size' | 'flags' | 'capabilities' | 'mmapAreas'
  >[]
  readonly capabilities: readonly Capability[]
  readonly extendedCapabilities: readonly ExtendedCapability[]
  readonly problems: readonly string[]
  readonly interrupts: readonly (Pick<InterruptIndex, 'name' | 'index' | 'count'> & InterruptIndex['info'])[]
  readonly iommu: {
    readonly type: string | null
    readonly pageSizes: readonly bigint[]
    readonly iovaRanges: readonly { readonly start: bigint; readonly last: bigint }[]
    readonly mappingsAvailable: number | null
  }
}

/** `vfio show --json`. */
export interface ShowOutput {
  readonly schema: 'vfio-show/1'
  readonly host: HostSide
  readonly open: Openable
  /** Null when it could not be opened. */
  readonly device: VfioSide | null
  /** What of the host's side is there and could not be read. */
  readonly problems: readonly ReadProblem[]
}

/** One finding of `vfio doctor`. */
export interface Finding {
  /** Stable, for programs. */
  readonly id: string
  readonly level: 'ok' | 'warning' | 'blocker'
  readonly what: string
  /** Why it matters; null for what is in order. */
  readonly why: string | null
  /** The exact next step; null when there is none to take. */
  readonly next: string | null
}

/** `vfio doctor --json`. */
export interface DoctorOutput {
  readonly schema: 'vfio-doctor/1'
  readonly findings: readonly Finding[]
}

/** `vfio merged --json`. */
export interface MergedOutput extends MergedReport {
  readonly schema: 'vfio-merged/1'
}

/** `vfio issues --json`. */
export interface IssuesOutput {
  readonly schema: 'vfio-issues/1'
  /** What was supposed. */
  readonly search: IssueSearch
  readonly issues: readonly FoundIssue[]
}

/** The header of a configuration space. */
export interface ConfigHeader {
  /** As the register reads: virtual functions read 0xffff. */
  readonly vendorId: number
  readonly deviceId: number
  /** The whole register, 16 bits. */
  readonly command: number
  readonly status: PciStatus
  readonly class: PciClassCode
  readonly revision: number
  /** Bytes. */
  readonly cacheLineSize: number
  readonly latencyTimer: number
  /** 0 device, 1 PCI bridge, 2 CardBus bridge. */
  readonly headerType: number
  readonly multifunction: boolean
  readonly bars: readonly PciBar[]
  readonly subsystem: { readonly vendorId: number; readonly deviceId: number } | null
  readonly rom: { readonly address: bigint; readonly enabled: boolean } | null
  readonly interruptPin: InterruptPin
  readonly interruptLine: number
}

/** `vfio config --json`. */
export interface ConfigOutput {
  readonly schema: 'vfio-config/1'
  readonly device: string
  readonly source: 'sysfs' | 'vfio'
  /** False where only the header could be read: the rest takes root. */
  readonly complete: boolean
  /** All that was read, two hexadecimal digits a byte. */
  readonly bytes: string
  readonly header: ConfigHeader
  readonly capabilities: readonly Capability[]
  readonly extendedCapabilities: readonly ExtendedCapability[]
  readonly problems: readonly ConfigProblem[]
}

/** `vfio dump --json`. */
export interface DumpOutput {
  readonly schema: 'vfio-dump/1'
  /** As it was named on the command line. */
  readonly device: string
  readonly region: string
  /** Bytes, from the region's start. */
  readonly offset: number
  readonly length: number
  /** Bytes of each access; null where any does. */
  readonly width: 1 | 2 | 4 | 8 | null
  /** Two hexadecimal digits a byte. */
  readonly bytes: string
}

/** `vfio watch --json`: one of these on a line for each change. */
export interface WatchEvent {
  readonly schema: 'vfio-watch/1'
  /** Since the start. */
  readonly seconds: number
  /** A target as it was named, or a vector such as `msix[3]`. */
  readonly what: string
  /** A register in hexadecimal; of a vector, how many interrupts have arrived. */
  readonly before: string
  readonly value: string
}

/** `vfio serve --json`: one of these on a line for each thing that happens; for accesses and the like with `--trace` only. */
export interface ServeEvent {
  readonly schema: 'vfio-serve/1'
  /** Since the socket was there. */
  readonly seconds: number
  readonly event:
    | 'listening'
    | 'connected'
    | 'gone'
    | 'reset'
    | 'refusing'
    | 'requested'
    | 'bus-error'
    | 'error'
    | 'read'
    | 'write'
    | 'interrupts'
    | 'map'
    | 'unmap'
  /** Of `listening`. */
  readonly device?: string
  readonly socket?: string
  /** Of `refusing` and `error`: why. */
  readonly message?: string
  /** Of `reset`. */
  readonly by?: 'client' | 'broker'
  /** Of `read` and `write`: `config`, `bar0` to `bar5`, or `rom`. */
  readonly space?: string
  /** Bytes from its start. */
  readonly offset?: number
  readonly width?: number
  /** In hexadecimal, as the client reads or writes it; null for a read that was denied. */
  readonly value?: string | null
  readonly outcome?: 'done' | 'altered' | 'replaced' | 'denied' | 'unanswered'
  /** Of `interrupts`. */
  readonly irq?: string
  readonly action?: 'assign' | 'off' | 'mask' | 'unmask' | 'unmask-eventfd' | 'trigger'
  /** The first vector, how many, and to how many of these the client gave an eventfd. */
  readonly start?: number
  readonly count?: number
  readonly given?: number
  /** Of `map` and `unmap`, in hexadecimal. */
  readonly iova?: string
  readonly size?: string
  /** What the device may do there: `rw`, `r`, `w`, or nothing where the memory came without a file. */
  readonly access?: string
}

/** `vfio plan ... --json`, and any other change with `--dry-run --json`: what `vfio apply` takes. */
export interface PlanOutput extends Plan {
  readonly schema: 'vfio-plan/1'
}

/** `vfio bind`, `unbind`, `sriov set`, `mdev create`, `mdev rm`, `vgpu` and `apply`, each with `--json`. */
export interface ChangeOutput {
  readonly schema: 'vfio-change/1'
  /** `undone`: a step failed, and the host is as it was; `left`: it is not. */
  readonly outcome: 'applied' | 'refused' | 'undone' | 'left'
  /** What `vfio undo` takes; null if there is nothing to undo. */
  readonly id: number | null
  readonly plan: Plan
  /** What was seen after each step. */
  readonly seen: readonly (string | null)[]
}

/** `vfio undo --list --json`. */
export interface ChangesOutput {
  readonly schema: 'vfio-changes/1'
  readonly changes: readonly JournalEntry[]
  /** Changes of other hosts with the same state folder, which only they can undo. */
  readonly elsewhere: readonly JournalEntry[]
  /** Journals that do not tell what was changed. */
  readonly damaged: readonly DamagedJournal[]
}

/** `vfio undo --json`. */
export interface UndoOutput {
  readonly schema: 'vfio-undo/1'
  readonly id: number
  /** The host was rebooted since: only files on disk, and what was made from them again, were undone. */
  readonly rebooted: boolean
  readonly plan: Plan
}

/** `vfio sriov show --json`. */
export interface SriovOutput {
  readonly schema: 'vfio-sriov/1'
  readonly functions: readonly SriovState[]
}

/** `vfio mdev types --json`. */
export interface MdevTypesOutput {
  readonly schema: 'vfio-mdev-types/1'
  readonly types: readonly MdevType[]
}

/** `vfio mdev ls --json`. */
export interface MdevsOutput {
  readonly schema: 'vfio-mdevs/1'
  readonly mdevs: readonly Mdev[]
}

/** `vfio bench --json`. */
export interface BenchOutput {
  readonly schema: 'vfio-bench/1'
  /** Processor, CPUs, load, kernel and Node.js. */
  readonly machine: string
  readonly rows: readonly Row[]
}
