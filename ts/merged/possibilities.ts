// Which frameworks a device, its kernel and its driver have or could have: the rows of the knowledge base, judged, with what the
// device shows of the one that is there. It must not know any vendor.

import { FRAMEWORKS } from './frameworks/index.js'
import type { SharingFacts } from './frameworks/framework.js'
import { knowledge } from './knowledge/load.js'
import type { Evidence, Rule } from './knowledge/rule.js'
import { judgeRule } from './knowledge/rules/index.js'
import type { FrameworkFact, MigrationFact } from './knowledge/types.js'
import type { DocumentedCapacity, Framework, FrameworkAnswer, HookFinding, MigrationAnswer } from './types.js'

/** What is known of the device. */
export interface Standing {
  /** PCI vendor; null for a device that is not on PCI. */
  readonly vendor: number | null
  readonly framework: Framework
  readonly sharing: SharingFacts
  /** Of the framework that is there. */
  readonly hooks: readonly HookFinding[]
  readonly evidence: Evidence
}

type Shared = Exclude<Framework, 'none'>

/** What guests have, and could have more, as the device shows it. */
const COUNTS: Readonly<Record<Shared, (sharing: SharingFacts) => { used: number; free: number }>> = {
  sriov: ({ functions, usableVfs, activeVfs, maySet }) => {
    const used = functions.filter(({ onVfio }) => onVfio).length
    return { used, free: (maySet ? Math.max(usableVfs, activeVfs) : activeVfs) - used }
  },
  mdev: ({ mdevTypes }) => {
    // The types of a parent are alternatives: what one takes, the others lose.
    const free = new Map<string, number>()
    for (const { parent, available } of mdevTypes)
      free.set(parent, Math.max(free.get(parent) ?? 0, available ?? 0))
    return {
      used: mdevTypes.reduce((sum, { devices }) => sum + devices.length, 0),
      free: [...free.values()].reduce((sum, each) => sum + each, 0),
    }
  },
  'vendor-vfio': ({ functions }) => ({
    used: functions.filter(({ currentVgpuType }) => (currentVgpuType ?? 0) !== 0).length,
    free: functions.filter(
      ({ currentVgpuType, creatableVgpuTypes }) =>
        (currentVgpuType ?? 0) === 0 && (creatableVgpuTypes?.length ?? 0) > 0,
    ).length,
  }),
}

const ofVendor = <T extends { readonly vendor: number | null }>(
  rows: readonly T[],
  vendor: number | null,
): T[] => rows.filter((row) => row.vendor === null || row.vendor === vendor)

const holds = (rule: Rule, evidence: Evidence): boolean => judgeRule(rule, evidence).answer === 'applies'

function documented(framework: Shared, vendor: number | null, evidence: Evidence): DocumentedCapacity[] {
  return ofVendor(knowledge().capacities, vendor)
    .filter((row) => row.framework === framework && holds(row.when, evidence))
    .map(({ id, generation, guests, most, per, limitedBy, confidence, sources }) => {
      return { id, generation, guests, most, per, limitedBy, confidence, sources }
    })
}

const ANSWERS = { applies: 'yes', 'cannot-tell': 'cannot-tell', fixed: 'no', other: 'no' } as const

function whyOf({ drivers, since, needs }: MigrationFact, read: string): string {
  return [`${drivers.join(', ')}: ${since}`, needs, read]
    .filter((each) => each !== null && each !== '')
    .join('; ')
}

function migration(vendor: number | null, evidence: Evidence): MigrationAnswer {
  const row = ofVendor(knowledge().migration, vendor).find(({ when }) => holds(when, evidence))
  if (row === undefined)
    return {
      answer: 'cannot-tell',
      why: 'nothing is known of this driver: the opened device tells',
      fact: null,
    }
  const { answer, read } = judgeRule(row.possible, evidence)
  const { id, since, flags, dirtyTracking, needs, confidence, sources } = row
  return {
    answer: ANSWERS[answer],
    why: whyOf(row, read),
    fact: { id, since, flags, dirtyTracking, needs, confidence, sources },
  }
}

/** The driver that a framework takes, if it takes a certain one. */
function driverOf({ needs }: FrameworkFact): string | undefined {
  for (const { rule } of needs) if (rule.rule === 'driver') return rule.in[0]
  return undefined
}

function answerOf(row: FrameworkFact, standing: Standing): FrameworkAnswer {
  const { vendor, framework, sharing, hooks, evidence } = standing
  const driver = driverOf(row)
  const isThere =
    framework === row.framework && (driver === undefined || holds({ rule: 'driver', in: [driver] }, evidence))
  // A way that is not taken is judged as if it were.
  const asIf: Evidence = isThere
    ? evidence
    : { ...evidence, framework: row.framework, driver: driver ?? evidence.driver, functionDrivers: [] }
  const judged = row.needs.map(({ rule, otherwise }) => ({ otherwise, ...judgeRule(rule, evidence) }))
  const counted = isThere ? COUNTS[row.framework](sharing) : null
  const state = counted === null ? 'possible' : counted.used > 0 ? 'used' : 'ready'
  // Nothing stands in the way of what guests have.
  const unmet = state === 'used' ? [] : judged
  return {
    id: row.id,
    framework: row.framework,
    name: row.name,
    state,
    capacity: { counted, documented: documented(row.framework, vendor, asIf) },
    migration: migration(vendor, asIf),
    hooks: isThere ? hooks : FRAMEWORKS[row.framework].hooks(sharing),
    inTheWay: unmet
      .filter(({ answer }) => answer === 'other' || answer === 'fixed')
      .map(({ otherwise, read }) => `${otherwise} (${read})`),
    unsure: unmet
      .filter(({ answer }) => answer === 'cannot-tell')
      .map(({ otherwise, read }) => `${otherwise} (${read})`),
    note: row.note ?? null,
    sources: row.sources,
  }
}

/** A framework that is there, of a device that no row is about. */
function unlisted(framework: Shared, standing: Standing): FrameworkAnswer {
  const { vendor, sharing, hooks, evidence } = standing
  const counted = COUNTS[framework](sharing)
  return {
    id: framework,
    framework,
    name: FRAMEWORKS[framework].words,
    state: counted.used > 0 ? 'used' : 'ready',
    capacity: { counted, documented: documented(framework, vendor, evidence) },
    migration: migration(vendor, evidence),
    hooks,
    inTheWay: [],
    unsure: [],
    note: null,
    sources: [],
  }
}

const STATES: readonly FrameworkAnswer['state'][] = ['used', 'ready', 'possible']

/** The frameworks that a device has or could have, the one in use first, then those with the least in the way. */
export function frameworkAnswers(standing: Standing): FrameworkAnswer[] {
  const { vendor, framework, evidence } = standing
  const listed = ofVendor(knowledge().frameworks, vendor)
    .filter(({ when }) => holds(when, evidence))
    .map((row) => answerOf(row, standing))
  const isThere = framework === 'none' || listed.some(({ state }) => state !== 'possible')
  const all = isThere ? listed : [unlisted(framework, standing), ...listed]
  return all.sort(
    (a, b) => STATES.indexOf(a.state) - STATES.indexOf(b.state) || a.inTheWay.length - b.inTheWay.length,
  )
}
