// What each rule means, by its name. A kind of rule is a function in one of the files beside this one, a line in this table, and a
// definition in facts/schema.json.

import type { Answer, Evidence, Rule, RuleName, RuleOf, Verdict } from '../rule.js'
import * as device from './device.js'
import * as host from './host.js'
import { allOf, anyOf, applies, other } from './verdicts.js'
import * as versions from './versions.js'

type Judges = { readonly [Name in RuleName]: (rule: RuleOf<Name>, evidence: Evidence) => Verdict }

const JUDGES: Judges = {
  always: () => applies(''),
  never: () => other(''),
  all: ({ of }, evidence) => allOf(judged(of, 'other', evidence)),
  any: ({ of }, evidence) => anyOf(judged(of, 'applies', evidence)),
  driver: device.driver,
  'function-driver': device.functionDriver,
  framework: device.framework,
  'pci-id': device.pciId,
  platform: device.platform,
  'pci-class': device.pciClass,
  bar: device.bar,
  'host-node': device.hostNode,
  feature: device.feature,
  version: versions.version,
  'version-range': versions.versionRange,
  'driver-flavour': versions.driverFlavour,
  'kernel-range': versions.kernelRange,
  'kernel-stable': versions.kernelStable,
  'kernel-release': versions.kernelRelease,
  module: host.module,
  param: host.param,
  sysfs: host.sysfs,
  cmdline: host.cmdline,
  log: host.log,
  'iommu-width': host.iommuWidth,
  tool: host.tool,
  'by-hand': host.byHand,
}

/** The answers to rules, up to the one that decides for all of them: what follows need not be read. */
function judged(rules: readonly Rule[], decisive: Answer, evidence: Evidence): Verdict[] {
  const verdicts: Verdict[] = []
  for (const rule of rules) {
    const verdict = judgeRule(rule, evidence)
    verdicts.push(verdict)
    if (verdict.answer === decisive) break
  }
  return verdicts
}

/** The names of all kinds of rules. */
export const RULE_NAMES = Object.keys(JUDGES) as RuleName[]

/** What a rule answers for a device and its host. */
export function judgeRule(rule: Rule, evidence: Evidence): Verdict {
  const judge = JUDGES[rule.rule] as (rule: Rule, evidence: Evidence) => Verdict
  return judge(rule, evidence)
}
