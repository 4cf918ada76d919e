// The rules about versions: of the driver, and of the kernel.

import type { Evidence, RuleOf, Verdict } from '../rule.js'
import { compareVersions, isAtLeast, isLike, isOfBranch } from '../versions.js'
import { anyOf, applies, fixed, other, unknown, when } from './verdicts.js'

const NO_VERSION = "the driver's version is not known"
const NO_KERNEL = "the kernel's release is not known"
const driverText = (version: string): string => `driver version ${version}`
const kernelText = (release: string): string => `kernel ${release}`

/** Where a version stands to a range: what lies below it never had the issue, what lies above has the repair. */
function within(
  version: string,
  { from, before }: { from?: string; before?: string },
  read: string,
): Verdict {
  const late = before === undefined ? false : isAtLeast(version, before)
  if (late === true) return fixed(read)
  const begun = from === undefined ? true : isAtLeast(version, from)
  if (begun === false) return other(read)
  if (late === null || begun === null)
    return unknown(
      `${read}, which does not say whether it is ${late === null ? `before ${before ?? ''}` : `${from ?? ''} or later`}`,
    )
  return applies(read)
}

const branchOf = (version: string): string => version.split('.')[0] ?? ''

export function version(rule: RuleOf<'version'>, { driverVersion }: Evidence): Verdict {
  if (driverVersion === undefined || driverVersion === null) return unknown(NO_VERSION)
  const read = driverText(driverVersion)
  if (rule.in.some((pattern) => isLike(driverVersion, pattern))) return applies(read)
  const { fixedFrom } = rule
  if (fixedFrom !== undefined && isAtLeast(driverVersion, fixedFrom) === true) return fixed(read)
  // A version that is named in part may be one of these.
  if (rule.in.some((pattern) => compareVersions(driverVersion, pattern) === null))
    return unknown(`${read}, of which some are concerned`)
  const near = rule.in.some((pattern) => branchOf(pattern) === branchOf(driverVersion))
  const between = fixedFrom !== undefined && rule.in.some((each) => isAtLeast(driverVersion, each) === true)
  return near || between ? unknown(`${read}, of which nothing was reported`) : other(read)
}

export function versionRange(rule: RuleOf<'version-range'>, { driverVersion }: Evidence): Verdict {
  if (driverVersion === undefined || driverVersion === null) return unknown(NO_VERSION)
  const read = driverText(driverVersion)
  if (compareVersions(driverVersion, '0') === null) return unknown(`${read}, which is no number`)
  if (rule.branch !== undefined && !isOfBranch(driverVersion, rule.branch)) return other(read)
  return within(driverVersion, rule, read)
}

export function driverFlavour({ is }: RuleOf<'driver-flavour'>, { flavour }: Evidence): Verdict {
  const found = flavour()
  if (found === undefined) return unknown("the flavour of NVIDIA's modules is not known")
  return when(found === is, found === null ? "NVIDIA's modules are not loaded" : `${found} modules of NVIDIA`)
}

export function kernelRange(rule: RuleOf<'kernel-range'>, { kernelRelease }: Evidence): Verdict {
  if (kernelRelease === undefined || compareVersions(kernelRelease, '0') === null) return unknown(NO_KERNEL)
  return within(kernelRelease, rule, kernelText(kernelRelease))
}

export function kernelStable({ ranges }: RuleOf<'kernel-stable'>, evidence: Evidence): Verdict {
  const { kernelRelease } = evidence
  if (kernelRelease === undefined || compareVersions(kernelRelease, '0') === null) return unknown(NO_KERNEL)
  return anyOf(ranges.map((range) => within(kernelRelease, range, kernelText(kernelRelease))))
}

export function kernelRelease({ matches }: RuleOf<'kernel-release'>, evidence: Evidence): Verdict {
  const release = evidence.kernelRelease
  if (release === undefined) return unknown(NO_KERNEL)
  if (matches.some((pattern) => isLike(release, pattern))) return applies(kernelText(release))
  // `6.14.x` may stand for one of these.
  const stem = /^(\d+\.\d+)\.x$/.exec(release)?.[1]
  const may =
    stem !== undefined && matches.some((each) => each.startsWith('*') || each.startsWith(`${stem}.`))
  return may ? unknown(`${kernelText(release)}, of which some are concerned`) : other(kernelText(release))
}
