// Which known issues concern a device, the most relevant first.

import type { Evidence } from './rule.js'
import { judgeRule } from './rules/index.js'
import type { Impact, KnownIssue } from './types.js'

/** `other`, which means that an issue does not concern the device, is never said of one that is listed. */
export type IssueAnswer = 'applies' | 'fixed' | 'cannot-tell'

/** A known issue, with what it means for one device. */
export interface JudgedIssue extends Omit<
  KnownIssue,
  'vendor' | 'drivers' | 'detect' | 'suppliedBy' | 'note'
> {
  /** What gives guests elsewhere what the driver lacks; null where nothing is known to. */
  readonly suppliedBy: string | null
  readonly note: string | null
  readonly answer: IssueAnswer
  /** What was read to decide, in words. */
  readonly read: string
}

const ANSWERS: readonly IssueAnswer[] = ['applies', 'cannot-tell', 'fixed']
const IMPACTS: readonly Impact[] = ['security', 'crash', 'broken', 'limited', 'notice']
const CONFIDENCES: readonly KnownIssue['confidence'][] = ['high', 'medium', 'low']

/** What applies comes before what may, then the worst, then what is surest, then the newest. */
function moreRelevant(a: JudgedIssue, b: JudgedIssue): number {
  const by =
    ANSWERS.indexOf(a.answer) - ANSWERS.indexOf(b.answer) ||
    IMPACTS.indexOf(a.impact) - IMPACTS.indexOf(b.impact) ||
    CONFIDENCES.indexOf(a.confidence) - CONFIDENCES.indexOf(b.confidence)
  return by === 0 ? (a.date < b.date ? 1 : a.date > b.date ? -1 : 0) : by
}

/** What an issue means for a device; null if it does not concern it. */
function judged(issue: KnownIssue, evidence: Evidence): JudgedIssue | null {
  const { vendor: _vendor, drivers: _drivers, detect, suppliedBy = null, note = null, ...told } = issue
  const { answer, read } = judgeRule(detect, evidence)
  return answer === 'other' ? null : { ...told, suppliedBy, note, answer, read }
}

/**
 * Those issues that concern the device, or may, the most relevant first.
 * @param evidence of the device; or several, of which the first decides that makes an issue concern it
 */
export function judgeIssues(
  issues: readonly KnownIssue[],
  evidence: Evidence | readonly Evidence[],
): JudgedIssue[] {
  const each = 'driver' in evidence ? [evidence] : evidence
  return issues
    .flatMap((issue) => each.map((one) => judged(issue, one)).find((answer) => answer !== null) ?? [])
    .sort(moreRelevant)
}
