// Judges the rows of ./known-issues.ts for one device, and checks that they are well formed. It must not know any issue.

import { array, object, string } from '../validate.js'
import type { DetectRule, KnownIssue } from './known-issues.js'
import type { Framework, JudgedIssue } from './types.js'

/** What the rules look at. */
export interface IssueFacts {
  readonly driver: string | null
  readonly driverVersion: string | null
  readonly kernelRelease: string | null
  readonly framework: Framework
}

type Verdict = Pick<JudgedIssue, 'answer' | 'read'>

/** The numbers at the start of a version; null if there are none. */
function numbers(version: string): number[] | null {
  const match = /^\d+(?:\.\d+)*/.exec(version)
  return match === null ? null : match[0].split('.').map(Number)
}

/** Whether `version` is `least` or a later one; null if either is no version. */
export function isAtLeast(version: string, least: string): boolean | null {
  const have = numbers(version)
  const want = numbers(least)
  if (have === null || want === null) return null
  for (const [index, part] of want.entries()) {
    const difference = (have[index] ?? 0) - part
    if (difference !== 0) return difference > 0
  }
  return true
}

function matches(version: string, pattern: string): boolean {
  return pattern.endsWith('.*') ? version.startsWith(pattern.slice(0, -1)) : version === pattern
}

function judgeVersion(rule: Extract<DetectRule, { rule: 'version' }>, version: string | null): Verdict {
  if (version === null) return { answer: 'cannot-tell', read: "the driver's version could not be read" }
  const read = `driver version ${version}`
  if (rule.affected.some((pattern) => matches(version, pattern))) return { answer: 'applies', read }
  if (rule.fixedFrom !== undefined && isAtLeast(version, rule.fixedFrom) === true)
    return { answer: 'fixed', read }
  return { answer: 'cannot-tell', read: `${read}, of which nothing was reported` }
}

function judgeKernel(fixedFrom: string, release: string | null): Verdict {
  const fixed = release === null ? null : isAtLeast(release, fixedFrom)
  if (release === null || fixed === null)
    return { answer: 'cannot-tell', read: "the kernel's release could not be read" }
  return { answer: fixed ? 'fixed' : 'applies', read: `kernel ${release}` }
}

function verdict(rule: DetectRule, facts: IssueFacts): Verdict {
  switch (rule.rule) {
    case 'always':
      return { answer: 'applies', read: `driver ${facts.driver ?? ''}` }
    case 'version':
      return judgeVersion(rule, facts.driverVersion)
    case 'kernel':
      return judgeKernel(rule.fixedFrom, facts.kernelRelease)
    case 'framework': {
      const read = `framework ${facts.framework}`
      if (rule.affected.includes(facts.framework)) return { answer: 'applies', read }
      return { answer: rule.fixed.includes(facts.framework) ? 'fixed' : 'cannot-tell', read }
    }
  }
}

/** What an issue means for a device. */
export function judge(issue: KnownIssue, facts: IssueFacts): JudgedIssue {
  const { vendor: _vendor, detect, suppliedBy = null, ...rest } = issue
  const told = { ...rest, suppliedBy }
  const rule = facts.driver !== null && Object.hasOwn(detect, facts.driver) ? detect[facts.driver] : undefined
  if (rule === undefined) {
    const read = facts.driver === null ? 'no driver has the device' : `driver ${facts.driver}`
    return { ...told, answer: 'other-driver', read }
  }
  return { ...told, ...verdict(rule, facts) }
}

const RULES: Readonly<Record<DetectRule['rule'], readonly string[]>> = {
  always: [],
  version: ['affected'],
  kernel: ['fixedFrom'],
  framework: ['affected', 'fixed'],
}

/** What is wrong with a list of issues, a sentence each; empty for a good one. */
export function issueProblems(issues: readonly KnownIssue[]): string[] {
  const seen = new Set<string>()
  return array(issues, 'issues').flatMap((issue) => {
    object(issue, 'an issue')
    object(issue.detect, 'detect')
    for (const name of ['id', 'symptom', 'affected', 'provenance'] as const) string(issue[name], name)
    const wrong: string[] = []
    if (!/^[a-z0-9]+(-[a-z0-9]+)*$/.test(issue.id)) wrong.push(`${issue.id}: an id is words joined by dashes`)
    if (seen.has(issue.id)) wrong.push(`${issue.id}: the id is there twice`)
    seen.add(issue.id)
    for (const name of ['symptom', 'affected', 'provenance'] as const)
      if (issue[name].trim() === '') wrong.push(`${issue.id}: ${name} is empty`)
    if (issue.suppliedBy !== undefined && string(issue.suppliedBy, 'suppliedBy').trim() === '')
      wrong.push(`${issue.id}: suppliedBy is empty`)
    if (!['observed', 'documented'].includes(issue.guarantee))
      wrong.push(`${issue.id}: guarantee is neither observed nor documented`)
    const rules = Object.entries(issue.detect)
    if (rules.length === 0) wrong.push(`${issue.id}: detect names no driver`)
    for (const [driver, rule] of rules) {
      const needs = Object.hasOwn(RULES, rule.rule) ? RULES[rule.rule] : null
      if (needs === null) wrong.push(`${issue.id}: ${driver} has an unknown rule ${rule.rule}`)
      for (const name of needs ?? [])
        if (!Object.hasOwn(rule, name)) wrong.push(`${issue.id}: the rule of ${driver} lacks ${name}`)
    }
    return wrong
  })
}
