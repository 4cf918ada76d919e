// Every kind of rule, at its boundaries: what applies, what is fixed, what cannot be told, and what is another case.

import test from 'ava'
import type { Evidence, Rule, SeenParameter } from '../../../../ts/merged/knowledge/rule.js'
import { judgeRule, RULE_NAMES } from '../../../../ts/merged/knowledge/rules/index.js'
import { evidence, NOTHING } from './evidence.js'

type Answer = ReturnType<typeof judgeRule>['answer']
/** What is known, and what a rule answers then. */
type Case = readonly [known: Partial<Evidence>, answer: Answer, read?: RegExp]

const judged = new Set<string>()

function rule(title: string, one: Rule, cases: readonly Case[]): void {
  judged.add(one.rule)
  test(`rule ${one.rule}: ${title}`, (t) => {
    for (const [known, answer, read] of cases) {
      const verdict = judgeRule(one, evidence(known))
      t.is(verdict.answer, answer, JSON.stringify(known))
      if (read !== undefined) t.regex(verdict.read, read)
    }
  })
}

const driver = (name: string | null) => ({ driver: name })
const release = (kernelRelease: string) => ({ kernelRelease })
const version = (driverVersion: string | null) => ({ driverVersion })
const parameter = (seen: Partial<SeenParameter>) => ({
  parameter: () => ({ loaded: true, exists: true, value: null, ...seen }),
})
const file = (text: string | null) => ({ file: () => text })

rule('concerns every device', { rule: 'always' }, [[{}, 'applies']])
rule('concerns none', { rule: 'never' }, [[{}, 'other']])

rule('takes either spelling of a name', { rule: 'driver', in: ['xe-vfio-pci', 'xe'] }, [
  [driver('xe'), 'applies', /^driver xe$/],
  [driver('xe_vfio_pci'), 'applies'],
  [driver('xen'), 'other'],
  [driver(null), 'other', /no driver/],
  [{}, 'cannot-tell'],
])

rule('asks one of the functions', { rule: 'function-driver', in: ['vfio-pci'] }, [
  [{ functionDrivers: [null, 'vfio-pci'] }, 'applies'],
  [{ functionDrivers: ['igbvf'] }, 'other', /on igbvf/],
  [{ functionDrivers: [null] }, 'other', /no driver/],
  [{ functionDrivers: [] }, 'other'],
  [{}, 'cannot-tell'],
])

rule('knows what replaces it', { rule: 'framework', in: ['mdev'], fixed: ['sriov'] }, [
  [{ framework: 'mdev' }, 'applies'],
  [{ framework: 'sriov' }, 'fixed'],
  [{ framework: 'none' }, 'other'],
  [{}, 'cannot-tell'],
])

rule('tells nothing of versions nobody reported', { rule: 'version', in: ['460.32.01', '510.*'] }, [
  [version('460.32.01'), 'applies', /driver version 460\.32\.01/],
  [version('510.47.03'), 'applies'],
  [version('460.56'), 'cannot-tell', /nothing was reported/],
  [version('470.63'), 'other'],
  [version('5100.1'), 'other'],
  [version('460.x'), 'cannot-tell', /some are concerned/],
  [version(null), 'cannot-tell'],
  [{}, 'cannot-tell'],
])

rule('is fixed from a version on', { rule: 'version', in: ['460.73.04'], fixedFrom: '510' }, [
  [version('510'), 'fixed'],
  [version('510.47.03'), 'fixed'],
  [version('509.99'), 'cannot-tell'],
  [version('450.1'), 'other'],
])

rule('is a branch below a version', { rule: 'version-range', branch: '580', before: '580.126.08' }, [
  [version('580.126.07'), 'applies'],
  [version('580.126.08'), 'fixed'],
  [version('580.126.08.01'), 'fixed'],
  [version('580.126'), 'applies'],
  [version('580.x'), 'cannot-tell', /whether it is before 580\.126\.08/],
  [version('5800.1'), 'other'],
  [version('570.1'), 'other'],
  [version('banana'), 'cannot-tell'],
  [version(null), 'cannot-tell'],
  [{}, 'cannot-tell'],
])
rule('may be open at one end', { rule: 'version-range', before: '595' }, [
  [version('594.99'), 'applies'],
  [version('595'), 'fixed'],
  [version('595.x'), 'fixed'],
  [version('580.x'), 'applies'],
])
rule('has a beginning', { rule: 'version-range', from: '525', before: '571' }, [
  [version('524.9'), 'other'],
  [version('525'), 'applies'],
  [version('571'), 'fixed'],
])

rule('asks which of the two kinds it is', { rule: 'driver-flavour', is: 'open' }, [
  [{ flavour: () => 'open' }, 'applies'],
  [{ flavour: () => 'proprietary' }, 'other'],
  [{ flavour: () => null }, 'other', /not loaded/],
  [{}, 'cannot-tell'],
])

rule('has both ends', { rule: 'kernel-range', from: '6.6', before: '6.17' }, [
  [release('6.5.13'), 'other'],
  [release('6.6.0-14-generic'), 'applies'],
  [release('6.16.12'), 'applies', /^kernel 6\.16\.12$/],
  [release('6.17.0-rc1'), 'fixed'],
  [release('7.2.12'), 'fixed'],
  [release('6.17.x'), 'fixed'],
  [release('6.16.x'), 'applies'],
  [release('custom'), 'cannot-tell'],
  [{}, 'cannot-tell'],
])

rule(
  'knows the repair of each branch',
  {
    rule: 'kernel-stable',
    ranges: [
      { from: '4.16', before: '5.10.163' },
      { from: '5.11', before: '5.15.87' },
      { from: '6.1', before: '6.1.5' },
    ],
  },
  [
    [release('4.15.18'), 'other'],
    [release('4.16'), 'applies'],
    [release('5.10.162'), 'applies'],
    [release('5.10.163'), 'fixed'],
    [release('5.15.86'), 'applies'],
    [release('5.15.87'), 'fixed'],
    [release('6.1.4'), 'applies'],
    [release('6.1.5'), 'fixed'],
    [release('6.2'), 'fixed'],
    // Debian's and Ubuntu's releases do not say which updates are in.
    [release('6.1.0-18-amd64'), 'cannot-tell', /does not say whether it is before 6\.1\.5/],
    [release('6.1.x'), 'cannot-tell'],
    [release('6.0.0-1-amd64'), 'fixed'],
    [{}, 'cannot-tell'],
  ],
)

rule('is the whole release', { rule: 'kernel-release', matches: ['6.14.0-24-*', '6.14.2'] }, [
  [release('6.14.0-24-generic'), 'applies'],
  [release('6.14.2'), 'applies'],
  [release('6.14.0-25-generic'), 'other'],
  [release('6.14.20'), 'other'],
  [release('6.14.x'), 'cannot-tell'],
  [release('6.15.x'), 'other'],
  [{}, 'cannot-tell'],
])

const id = (vendor: number, device: number) => ({ id: { vendor, device } })
rule('takes both ends of a range', { rule: 'pci-id', ids: ['10de:2340-237f', '8086:e20b'] }, [
  [id(0x10de, 0x233f), 'other'],
  [id(0x10de, 0x2340), 'applies', /10de:2340/],
  [id(0x10de, 0x237f), 'applies'],
  [id(0x10de, 0x2380), 'other'],
  [id(0x8086, 0x2350), 'other'],
  [id(0x8086, 0xe20b), 'applies'],
  [{}, 'cannot-tell'],
])

rule('is one of several', { rule: 'platform', in: ['battlemage'] }, [
  [{ platforms: ['battlemage'] }, 'applies'],
  [{ platforms: ['arc-a'] }, 'other', /arc-a/],
  [{ platforms: [] }, 'other'],
  [{}, 'cannot-tell'],
])

rule('is the start of the class', { rule: 'pci-class', class: '0300' }, [
  [{ class: 0x030000 }, 'applies'],
  [{ class: 0x030200 }, 'other'],
  [{ class: 0x0300 }, 'other'],
  [{}, 'cannot-tell'],
])

const bars = (...sizes: [number, bigint][]) => ({ bars: new Map(sizes) })
rule('is any BAR that is large enough', { rule: 'bar', atLeast: '4096' }, [
  [bars([0, 4095n]), 'other'],
  [bars([0, 16n], [1, 4096n]), 'applies', /BAR 1 has 4096 bytes/],
  [bars(), 'other'],
  [{}, 'cannot-tell'],
])
rule('is one BAR of one size', { rule: 'bar', index: 2, equals: '4096' }, [
  [bars([2, 4096n]), 'applies'],
  [bars([2, 8192n]), 'other'],
  [bars([0, 4096n]), 'other', /no BAR 2/],
])

rule('is one of the nodes', { rule: 'host-node', is: 'render' }, [
  [{ hostNodes: ['card', 'render'] }, 'applies'],
  [{ hostNodes: ['card'] }, 'other'],
  [{}, 'cannot-tell'],
])

rule('is loaded', { rule: 'module', name: 'kvmgt', loaded: true }, [
  [{ module: () => true }, 'applies'],
  [{ module: () => false }, 'other', /not loaded/],
  [{}, 'cannot-tell'],
])
rule('is not loaded', { rule: 'module', name: 'kvmgt', loaded: false }, [
  [{ module: () => true }, 'other'],
  [{ module: () => false }, 'applies'],
])

const enableGuc = { rule: 'param', module: 'i915', name: 'enable_guc' } as const
rule('exists', { ...enableGuc, present: true }, [
  [parameter({}), 'applies'],
  [parameter({ exists: false }), 'other'],
  [parameter({ loaded: false }), 'other', /i915 is not loaded/],
  [{}, 'cannot-tell'],
])
rule('does not exist', { ...enableGuc, present: false }, [
  [parameter({}), 'other'],
  [parameter({ exists: false }), 'applies', /no parameter enable_guc/],
  // A module that is not loaded has none either, and concerns nobody.
  [parameter({ loaded: false }), 'other'],
])
rule('has a value', { ...enableGuc, equals: '3' }, [
  [parameter({ value: '3' }), 'applies', /i915\.enable_guc=3/],
  [parameter({ value: '2' }), 'other'],
  [parameter({ value: null }), 'cannot-tell', /may not read/],
  [parameter({ exists: false }), 'other'],
])
rule('has another value', { ...enableGuc, notEquals: '3' }, [
  [parameter({ value: '3' }), 'other'],
  [parameter({ value: '2' }), 'applies'],
  [parameter({ exists: false }), 'other'],
])
rule('has one of several values', { ...enableGuc, in: ['1', '3'] }, [
  [parameter({ value: '3' }), 'applies'],
  [parameter({ value: '2' }), 'other'],
])

const lockdown = { rule: 'sysfs', path: 'DEVICE/reset_method' } as const
rule('is there', { ...lockdown, present: true }, [
  [file(''), 'applies'],
  [file(null), 'other', /^there is no reset_method$/],
  [{}, 'cannot-tell'],
])
rule('is not there', { ...lockdown, present: false }, [
  [file(''), 'other'],
  [file(null), 'applies'],
])
rule('has a text', { ...lockdown, equals: 'flr' }, [
  [file('flr'), 'applies'],
  [file('flr bus'), 'other'],
  [file(null), 'other'],
])
rule('has another text', { ...lockdown, notEquals: 'flr' }, [
  [file('flr'), 'other'],
  [file('bus'), 'applies'],
  [file(null), 'other'],
])
rule('lacks a word', { ...lockdown, lacks: 'flr' }, [
  [file('af_flr bus'), 'applies'],
  [file('pm flr'), 'other'],
  [file(null), 'other'],
])

rule('has a word', { rule: 'cmdline', has: 'iommu=pt' }, [
  [{ commandLine: ['quiet', 'iommu=pt'] }, 'applies'],
  [{ commandLine: ['iommu=pt2'] }, 'other'],
  [{}, 'cannot-tell'],
])
rule('lacks a word', { rule: 'cmdline', lacks: 'iommu=pt' }, [
  [{ commandLine: ['iommu=pt'] }, 'other'],
  [{ commandLine: [] }, 'applies', /lacks iommu=pt/],
])

rule('is said in it', { rule: 'log', has: 'vf limit' }, [
  [{ log: () => ({ text: 'exceeds the vf limit', whole: false }) }, 'applies'],
  [{ log: () => ({ text: '', whole: true }) }, 'other'],
  [{ log: () => ({ text: '', whole: false }) }, 'cannot-tell', /beginning is lost/],
  [{}, 'cannot-tell'],
])

rule('is told by the opened device', { rule: 'feature', number: 1, present: true }, [
  [{ feature: () => true }, 'applies'],
  [{ feature: () => false }, 'other'],
  [{}, 'cannot-tell', /only the opened device/],
])
rule('is missing', { rule: 'feature', number: 6, present: false }, [
  [{ feature: () => false }, 'applies'],
  [{ feature: () => true }, 'other'],
])

rule('is the narrowest unit', { rule: 'iommu-width', atMost: 39 }, [
  [{ iommuWidths: () => [48, 39] }, 'applies', /39 bits/],
  [{ iommuWidths: () => [40] }, 'other'],
  [{ iommuWidths: () => [] }, 'other'],
  [{}, 'cannot-tell'],
])

rule('is below a version', { rule: 'tool', name: 'qemu', below: '11.0' }, [
  [{ toolVersion: () => '10.2.2' }, 'applies'],
  [{ toolVersion: () => '11.0' }, 'fixed'],
  [{ toolVersion: () => 'git' }, 'cannot-tell'],
  [{ toolVersion: () => null }, 'other'],
  [{}, 'cannot-tell'],
])

rule('says what a person has to do', { rule: 'by-hand', how: 'Ask the guest.' }, [
  [{}, 'cannot-tell', /^Ask the guest\.$/],
])

const XE: Rule = { rule: 'driver', in: ['xe'] }
const NEW: Rule = { rule: 'kernel-range', from: '6.0', before: '7.0' }
const MDEV: Rule = { rule: 'framework', in: ['mdev'] }

rule('is another case if one of them is, then fixed, then unknown', { rule: 'all', of: [XE, NEW, MDEV] }, [
  [
    { driver: 'xe', kernelRelease: '6.1', framework: 'mdev' },
    'applies',
    /driver xe; kernel 6\.1; framework mdev/,
  ],
  [{ driver: 'xe', kernelRelease: '7.0', framework: 'mdev' }, 'fixed', /^kernel 7\.0$/],
  [{ driver: 'xe', kernelRelease: '7.0' }, 'fixed'],
  [{ driver: 'i915', kernelRelease: '7.0' }, 'other', /^driver i915$/],
  [{ driver: 'xe', kernelRelease: '6.1' }, 'cannot-tell'],
  [{}, 'cannot-tell'],
])
rule('applies if one of them does, else cannot tell, then is fixed', { rule: 'any', of: [XE, NEW] }, [
  [{ driver: 'xe', kernelRelease: '7.0' }, 'applies', /^driver xe$/],
  [{ kernelRelease: '7.0' }, 'cannot-tell'],
  [{ driver: 'i915', kernelRelease: '7.0' }, 'fixed'],
  [{ driver: 'i915', kernelRelease: '5.0' }, 'other'],
])

test('a rule that is decided reads nothing more', (t) => {
  const fails = {
    get framework(): never {
      throw new Error('read')
    },
  }
  const known = Object.assign(Object.create(NOTHING) as Evidence, { driver: 'i915' })
  Object.defineProperty(known, 'framework', Object.getOwnPropertyDescriptor(fails, 'framework')!)
  t.is(judgeRule({ rule: 'all', of: [XE, MDEV] }, known).answer, 'other')
  t.is(judgeRule({ rule: 'any', of: [{ rule: 'always' }, MDEV] }, known).answer, 'applies')
})

test('every kind of rule is judged here', (t) => {
  t.deepEqual([...judged].sort(), [...RULE_NAMES].sort())
})
