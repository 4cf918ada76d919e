// `vfio issues`: what is known to be wrong with a driver, a version of it, and a kernel. What is searched is searchIssues'.
import { type FoundIssue, type IssueSearch, searchIssues } from '../merged/index.js'
import type { CliContext } from './context.js'
import { json, plural, table } from './format.js'
import type { IssuesOutput } from './output.js'

const PROVENANCES: Readonly<Record<FoundIssue['provenance'], string>> = {
  'open-iov': 'page of Open-IOV',
  documented: 'documented',
  observed: 'observed',
}

/** Everything that is known of an issue, a line each. */
function block(issue: FoundIssue): string {
  const { id, impact, symptom, affected, fixedIn, mitigation, suppliedBy, note, how } = issue
  const { provenance, confidence, date, read, sources } = issue
  const rows: [string, string | null][] = [
    ['affected', affected === '*' ? 'every version' : affected],
    ['fixed in', fixedIn],
    ['what to do', mitigation],
    ['supplied by', suppliedBy],
    ['note', note],
    ['read', read],
    ['to be sure', how],
    ['known', `${PROVENANCES[provenance]}, ${date}, confidence ${confidence}`],
    ...sources.map((source): [string, string] => ['source', source]),
  ]
  const told = rows.filter((row): row is [string, string] => row[1] !== null && row[1] !== '')
  return `${id}  ${impact}\n  ${symptom}\n${table(told, '  ')}`
}

function text(found: readonly FoundIssue[]): string {
  const those = (answer: FoundIssue['answer']): FoundIssue[] => found.filter((each) => each.answer === answer)
  const applies = those('applies')
  const may = those('cannot-tell')
  const fixed = those('fixed')
  const part = (title: string, issues: readonly FoundIssue[]): string[] =>
    issues.length === 0 ? [] : [`${title}\n`, ...issues.map(block)]
  return [
    ...part(`${plural(applies.length, 'issue')} with what you named:`, applies),
    ...part(`${plural(may.length, 'issue')} that may concern it, depending on what you did not name:`, may),
    ...(fixed.length === 0 ? [] : [`fixed: ${fixed.map(({ id }) => id).join(', ')}\n`]),
    ...(found.length === 0 ? ['no issue is known\n'] : []),
  ].join('\n')
}

export function issues({ out }: CliContext, search: IssueSearch, asJson: boolean): void {
  const found = searchIssues(search)
  out(asJson ? json({ schema: 'vfio-issues/1', search, issues: found } satisfies IssuesOutput) : text(found))
}
