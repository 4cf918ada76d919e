// The data of the known issues is well formed, and judged as its rules say.

import test from 'ava'
import { issueProblems, KNOWN_ISSUES, type KnownIssue, MODULE_PARAMETERS } from '../../../ts/merged/index.js'
import { isAtLeast, judge } from '../../../ts/merged/judge.js'

const FACTS = {
  driver: 'nvidia',
  driverVersion: '510.47.03',
  kernelRelease: '6.8.0',
  framework: 'mdev',
} as const
const byId = (id: string) => KNOWN_ISSUES.find((each) => each.id === id)!

test('the rows are well formed: nine issues and the two parameters of the page among them', (t) => {
  t.deepEqual(issueProblems(KNOWN_ISSUES), [])
  t.is(KNOWN_ISSUES.filter(({ provenance }) => provenance.startsWith('Open-IOV')).length, 9)
  const parameters = MODULE_PARAMETERS.filter(({ provenance }) => provenance.startsWith('Open-IOV'))
  t.deepEqual(
    parameters.map(({ name }) => name),
    ['cudahost', 'vgpukvm'],
  )
})

test('the check of the rows sees each mistake', (t) => {
  const good = KNOWN_ISSUES[2]!
  const wrong: [Partial<Record<keyof KnownIssue, unknown>>, RegExp][] = [
    [{ id: 'Two Words' }, /words joined by dashes/],
    [{ symptom: ' ' }, /symptom is empty/],
    [{ guarantee: 'hoped' }, /neither observed nor documented/],
    [{ suppliedBy: ' ' }, /suppliedBy is empty/],
    [{ detect: {} }, /names no driver/],
    [{ detect: { nvidia: { rule: 'dice' } } }, /unknown rule dice/],
    [{ detect: { nvidia: { rule: 'version' } } }, /lacks affected/],
  ]
  for (const [change, message] of wrong)
    t.regex(issueProblems([{ ...good, ...change } as KnownIssue]).join(), message)
  t.regex(issueProblems([good, good]).join(), /there twice/)
})

test('a version is judged by what was seen of it', (t) => {
  const second = byId('nvidia-second-mdev-group-error')
  t.like(judge(second, FACTS), { answer: 'fixed', read: 'driver version 510.47.03' })
  t.is(judge(second, { ...FACTS, driverVersion: '460.73.04' }).answer, 'applies')
  t.is(judge(second, { ...FACTS, driverVersion: '470.63' }).answer, 'cannot-tell')
  t.is(judge(second, { ...FACTS, driverVersion: null }).answer, 'cannot-tell')
  t.is(judge(second, { ...FACTS, driverVersion: 'banana' }).answer, 'cannot-tell')
  t.is(judge(second, { ...FACTS, driver: 'nouveau' }).answer, 'other-driver')
  t.is(judge(second, { ...FACTS, driver: 'constructor' }).answer, 'other-driver')
  t.is(judge(byId('nvidia-mdev-daemons-crash'), FACTS).answer, 'applies')
})

test('a kernel is judged by its release', (t) => {
  const xe = byId('intel-sriov-undocumented')
  const at = (kernelRelease: string | null) => judge(xe, { ...FACTS, driver: 'xe', kernelRelease }).answer
  t.is(at('6.18.9-amd64'), 'applies')
  t.is(at('6.19.0-rc1'), 'fixed')
  t.is(at('7.2.12'), 'fixed')
  t.is(at(null), 'cannot-tell')
  t.is(at('custom'), 'cannot-tell')
})

test('versions are compared part by part', (t) => {
  t.true(isAtLeast('6.19', '6.19.0'))
  t.true(isAtLeast('10.0', '9.99'))
  t.false(isAtLeast('6.2', '6.19'))
  t.is(isAtLeast('x', '1'), null)
})
