// The rows of the knowledge base, as facts/schema.json has them: known issues, parameters, capacities, migration, frameworks and
// platforms. It must not judge anything.

import type { Framework, Rule } from './rule.js'

/**
 * `open-iov`: the page "Merged Drivers" of Open-IOV, of 2 March 2023, corrected where it was wrong; `documented`: its maker or its
 * source says it; `observed`: somebody saw it.
 */
export type Provenance = 'open-iov' | 'documented' | 'observed'

/** What every row has. */
export interface Fact {
  /** Unique, lower case, words joined by dashes. */
  readonly id: string
  /** PCI vendor; null for rows that concern any. */
  readonly vendor: number | null
  readonly note?: string
  readonly provenance: Provenance
  readonly confidence: 'high' | 'medium' | 'low'
  /** Whether it was read in the source itself, and not in somebody's text about it. */
  readonly verified: boolean
  /** Of what the row says: `2026-11`, `2025-02-19` or `2021`. */
  readonly date: string
  /** When somebody last read its sources. */
  readonly checked: string
  readonly sources: readonly string[]
}

/** What an issue does, the worst first. */
export type Impact = 'security' | 'crash' | 'broken' | 'limited' | 'notice'

export interface KnownIssue extends Fact {
  /** Those that have it, or that it shows with. */
  readonly drivers: readonly string[]
  readonly impact: Impact
  readonly symptom: string
  /** In words; `*` for every version. */
  readonly affected: string
  readonly fixedIn: string | null
  readonly mitigation: string | null
  /** What gives guests elsewhere what the driver lacks, if anything does. */
  readonly suppliedBy?: string
  /** How a person can tell. */
  readonly how: string
  readonly detect: Rule
}

/** A setting that matters for sharing: a module's parameter, a file, or a word of the kernel's command line. */
export interface Parameter extends Fact {
  readonly place: 'module' | 'file' | 'command-line'
  /** Of a file; DEVICE stands for the device's directory. */
  readonly path?: string
  /** Modules that may have it. */
  readonly modules: readonly string[]
  readonly name: string
  readonly meaning: string
  readonly default: string
  readonly values: string
  /** Whether it can be written while the module is loaded, in words. */
  readonly atRuntime: string
  readonly since: string
  readonly until: string | null
  readonly sideEffects: string | null
  /** Whether it decides how a device can be shared. */
  readonly sharing: boolean
}

/** How many guests a device can have. */
export interface Capacity extends Fact {
  readonly framework: Exclude<Framework, 'none'> | 'native-context'
  /** Of the framework, in the source's words. */
  readonly name: string
  readonly generation: string
  readonly guests: string
  /** The largest number of it; null where there is none. */
  readonly most: number | null
  /** `GPU`, `card`, `guest`. */
  readonly per: string
  readonly limitedBy: string
  /** Which devices have it. */
  readonly when: Rule
}

/** Whether what guests have of a device can migrate. */
export interface MigrationFact extends Fact {
  readonly drivers: readonly string[]
  readonly devices: readonly string[]
  readonly since: string
  readonly flags: string | null
  readonly dirtyTracking: string | null
  readonly needs: string | null
  readonly how: string
  /** Which devices it is about; the first row that applies answers. */
  readonly when: Rule
  /** Whether it is possible there. */
  readonly possible: Rule
}

/** A way to share a device, and what it takes. */
export interface FrameworkFact extends Fact {
  readonly framework: Exclude<Framework, 'none'>
  readonly name: string
  /** Which devices could be shared so. */
  readonly when: Rule
  /** What it takes, in the order in which it is done; what to say where it is not there. */
  readonly needs: readonly { readonly rule: Rule; readonly otherwise: string }[]
}

/** A generation of devices, by its PCI ids. */
export interface Platform {
  readonly id: string
  readonly name: string
  readonly ids: readonly string[]
  readonly sources: readonly string[]
  readonly checked: string
}

/** All that is known. */
export interface Knowledge {
  readonly issues: readonly KnownIssue[]
  readonly parameters: readonly Parameter[]
  readonly capacities: readonly Capacity[]
  readonly migration: readonly MigrationFact[]
  readonly frameworks: readonly FrameworkFact[]
  readonly platforms: readonly Platform[]
}
