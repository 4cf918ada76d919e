// The rules by which a row of the knowledge base tells whether it concerns a host, and what they look at. A rule is data; what it
// means is in ./rules. It must not know any row.

/**
 * How a device is shared, judged by what it has: mediated devices; virtual functions for VFIO's drivers; virtual
 * functions that stay with NVIDIA's driver; not at all.
 */
export type Framework = 'mdev' | 'sriov' | 'vendor-vfio' | 'none'

/** A condition, by its name. Which texts it takes is in facts/schema.json. */
export type Rule =
  | { readonly rule: 'always' }
  | { readonly rule: 'never' }
  /** Every one of these. */
  | { readonly rule: 'all'; readonly of: readonly Rule[] }
  /** At least one of these. */
  | { readonly rule: 'any'; readonly of: readonly Rule[] }
  /** The driver that has the device; dashes and underscores are the same. */
  | { readonly rule: 'driver'; readonly in: readonly string[] }
  /** The driver of at least one of its virtual functions. */
  | { readonly rule: 'function-driver'; readonly in: readonly string[] }
  /** The driver's version: `510.*` stands for all that start so. What is fixed is so from `fixedFrom` on. */
  | { readonly rule: 'version'; readonly in: readonly string[]; readonly fixedFrom?: string }
  /** Versions of one branch, or of any, from `from` on and below `before`, where it is fixed. */
  | {
      readonly rule: 'version-range'
      readonly branch?: string
      readonly from?: string
      readonly before?: string
    }
  /** Which of NVIDIA's two kinds of kernel modules is loaded. */
  | { readonly rule: 'driver-flavour'; readonly is: 'open' | 'proprietary' }
  /** Kernels from `from` on and below `before`, where it is fixed. */
  | { readonly rule: 'kernel-range'; readonly from?: string; readonly before?: string }
  /** One range for each stable branch. */
  | {
      readonly rule: 'kernel-stable'
      readonly ranges: readonly { readonly from: string; readonly before: string }[]
    }
  /** The whole release, such as `6.14.0-24-*`. */
  | { readonly rule: 'kernel-release'; readonly matches: readonly string[] }
  /** `8086:e20b`, or a range `10de:2340-237f`. */
  | { readonly rule: 'pci-id'; readonly ids: readonly string[] }
  /** Names of the list of platforms. */
  | { readonly rule: 'platform'; readonly in: readonly string[] }
  /** The first two or four hexadecimal digits of the class: `03` for displays. */
  | { readonly rule: 'pci-class'; readonly class: string }
  /** The size of a BAR, or of any, in bytes. */
  | { readonly rule: 'bar'; readonly index?: number; readonly equals?: string; readonly atLeast?: string }
  /** A node by which the host uses the GPU. */
  | { readonly rule: 'host-node'; readonly is: 'card' | 'render' | 'accel' }
  /** How the device is shared. */
  | { readonly rule: 'framework'; readonly in: readonly Framework[]; readonly fixed?: readonly Framework[] }
  | { readonly rule: 'module'; readonly name: string; readonly loaded: boolean }
  /** A parameter of a loaded module, by one condition. */
  | ({ readonly rule: 'param'; readonly module: string; readonly name: string } & TextCondition)
  /** A file of sysfs, or of /dev. DEVICE stands for the device's directory, `/*` at the end for anything in a folder. */
  | ({ readonly rule: 'sysfs'; readonly path: string } & TextCondition)
  /** A word of the kernel's command line. */
  | { readonly rule: 'cmdline'; readonly has?: string; readonly lacks?: string }
  /** A piece of the kernel's log. */
  | { readonly rule: 'log'; readonly has: string }
  /** A feature of VFIO_DEVICE_FEATURE, which only the opened device tells. */
  | { readonly rule: 'feature'; readonly number: number; readonly present: boolean }
  /** Bits of an address that Intel's IOMMU translates. */
  | { readonly rule: 'iommu-width'; readonly atMost: number }
  /** A program's version, which this package does not run to find out. */
  | { readonly rule: 'tool'; readonly name: string; readonly below: string }
  /** What only a person can tell. */
  | { readonly rule: 'by-hand'; readonly how: string }

/** What a text has to be; `lacks` looks for a piece of it. */
export interface TextCondition {
  readonly present?: boolean
  readonly equals?: string
  readonly notEquals?: string
  readonly in?: readonly string[]
  readonly lacks?: string
}

export type RuleName = Rule['rule']

/** A rule by its name. */
export type RuleOf<Name extends RuleName> = Extract<Rule, { rule: Name }>

/** `other`: it does not concern this device at all. */
export type Answer = 'applies' | 'fixed' | 'cannot-tell' | 'other'

export interface Verdict {
  readonly answer: Answer
  /** What was read to decide, in words. */
  readonly read: string
}

/** A module's parameter: without a value it exists, but this user may not read it. */
export interface SeenParameter {
  readonly loaded: boolean
  readonly exists: boolean
  readonly value: string | null
}

/** What of the kernel's log could be read. */
export interface SeenLog {
  readonly text: string
  /** Whether it goes back to the start of the kernel: what is not in it then was not said. */
  readonly whole: boolean
}

/**
 * What is known of one device and its host. `undefined` stands for what is not known, which makes a rule answer that it cannot
 * tell; null for what is known not to be there.
 */
export interface Evidence {
  readonly kernelRelease: string | undefined
  readonly driver: string | null | undefined
  readonly driverVersion: string | null | undefined
  readonly functionDrivers: readonly (string | null)[] | undefined
  readonly framework: Framework | undefined
  readonly id: { readonly vendor: number; readonly device: number } | undefined
  /** 24 bits. */
  readonly class: number | undefined
  readonly platforms: readonly string[] | undefined
  /** Sizes in bytes by the BAR's index. */
  readonly bars: ReadonlyMap<number, bigint> | undefined
  readonly hostNodes: readonly ('card' | 'render' | 'accel')[] | undefined
  readonly commandLine: readonly string[] | undefined
  /** The flavour of NVIDIA's modules; null where none is loaded. */
  readonly flavour: () => 'open' | 'proprietary' | null | undefined
  readonly module: (name: string) => boolean | undefined
  readonly parameter: (module: string, name: string) => SeenParameter | undefined
  /** The text of a file, empty for a folder; null if there is none. */
  readonly file: (path: string) => string | null | undefined
  readonly log: () => SeenLog | undefined
  readonly feature: (number: number) => boolean | undefined
  readonly iommuWidths: () => readonly number[] | undefined
  readonly toolVersion: (name: string) => string | null | undefined
}
