// The answers of a rule, and how those of several become one. It must not know any rule.

import type { Answer, Verdict } from '../rule.js'

export const applies = (read: string): Verdict => ({ answer: 'applies', read })
export const fixed = (read: string): Verdict => ({ answer: 'fixed', read })
export const other = (read: string): Verdict => ({ answer: 'other', read })
export const unknown = (read: string): Verdict => ({ answer: 'cannot-tell', read })

/** Applies if it is so, is another case if not. */
export const when = (so: boolean, read: string): Verdict => (so ? applies(read) : other(read))

/** The first of these that anything answers decides; what was read is theirs that answer so. */
function decide(verdicts: readonly Verdict[], order: readonly Answer[]): Verdict {
  const answer = order.find((each) => verdicts.some((verdict) => verdict.answer === each)) ?? 'applies'
  const reads = verdicts.filter((verdict) => verdict.answer === answer).map(({ read }) => read)
  return { answer, read: [...new Set(reads)].filter((read) => read !== '').join('; ') }
}

/** All have to apply: one that is another case or fixed decides, whatever the others cannot tell. */
export const allOf = (verdicts: readonly Verdict[]): Verdict =>
  decide(verdicts, ['other', 'fixed', 'cannot-tell', 'applies'])

/** One has to apply. */
export const anyOf = (verdicts: readonly Verdict[]): Verdict =>
  decide(verdicts, ['applies', 'cannot-tell', 'fixed', 'other'])
