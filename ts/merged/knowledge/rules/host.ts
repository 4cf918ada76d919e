// The rules about what the host has: modules and their parameters, files, the command line, the log, tools.

import type { Evidence, RuleOf, TextCondition, Verdict } from '../rule.js'
import { isAtLeast } from '../versions.js'
import { applies, other, unknown, when } from './verdicts.js'

export function module({ name, loaded }: RuleOf<'module'>, evidence: Evidence): Verdict {
  const found = evidence.module(name)
  if (found === undefined) return unknown(`whether the module ${name} is loaded is not known`)
  return when(found === loaded, `the module ${name} is ${found ? '' : 'not '}loaded`)
}

/** Whether a text is as the rule wants it. */
function fits(condition: TextCondition, text: string): boolean {
  if (condition.equals !== undefined) return text === condition.equals
  if (condition.notEquals !== undefined) return text !== condition.notEquals
  if (condition.in !== undefined) return condition.in.includes(text)
  return condition.lacks === undefined || !text.split(/\s+/).includes(condition.lacks)
}

export function param(rule: RuleOf<'param'>, evidence: Evidence): Verdict {
  const { module: owner, name } = rule
  const what = `${owner}.${name}`
  const seen = evidence.parameter(owner, name)
  if (seen === undefined) return unknown(`${what} is not known`)
  if (!seen.loaded) return other(`the module ${owner} is not loaded`)
  if (rule.present !== undefined)
    return when(
      seen.exists === rule.present,
      `the module ${owner} has ${seen.exists ? 'the' : 'no'} parameter ${name}`,
    )
  if (!seen.exists) return other(`the module ${owner} has no parameter ${name}`)
  if (seen.value === null) return unknown(`${what}, which this user may not read`)
  return when(fits(rule, seen.value), `${what}=${seen.value}`)
}

export function sysfs(rule: RuleOf<'sysfs'>, { file }: Evidence): Verdict {
  const text = file(rule.path)
  const path = rule.path.replace(/^DEVICE\//, '')
  if (text === undefined) return unknown(`${path} is not known`)
  if (rule.present !== undefined)
    return when((text !== null) === rule.present, text === null ? `there is no ${path}` : `there is ${path}`)
  if (text === null) return other(`there is no ${path}`)
  return when(fits(rule, text), `${path} has ${JSON.stringify(text)}`)
}

export function cmdline({ has, lacks }: RuleOf<'cmdline'>, { commandLine }: Evidence): Verdict {
  if (commandLine === undefined) return unknown("the kernel's command line is not known")
  const word = has ?? lacks ?? ''
  const there = commandLine.includes(word)
  return when(there === (has !== undefined), `the command line ${there ? 'has' : 'lacks'} ${word}`)
}

export function log({ has }: RuleOf<'log'>, evidence: Evidence): Verdict {
  const seen = evidence.log()
  const piece = JSON.stringify(has)
  if (seen === undefined) return unknown(`whether the kernel's log has ${piece} is not known`)
  if (seen.text.includes(has)) return applies(`the kernel's log has ${piece}`)
  return seen.whole
    ? other(`the kernel's log has no ${piece}`)
    : unknown(`the kernel's log has no ${piece}, but its beginning is lost`)
}

export function iommuWidth({ atMost }: RuleOf<'iommu-width'>, { iommuWidths }: Evidence): Verdict {
  const widths = iommuWidths()
  if (widths === undefined) return unknown('how many bits of an address the IOMMU translates is not known')
  if (widths.length === 0) return other("there is no IOMMU of Intel's")
  const least = Math.min(...widths)
  return when(least <= atMost, `the IOMMU translates ${least} bits of an address`)
}

export function tool({ name, below }: RuleOf<'tool'>, { toolVersion }: Evidence): Verdict {
  const version = toolVersion(name)
  if (version === undefined) return unknown(`the version of ${name} is not known`)
  if (version === null) return other(`there is no ${name}`)
  const late = isAtLeast(version, below)
  const read = `${name} ${version}`
  if (late === null) return unknown(read)
  return late ? { answer: 'fixed', read } : applies(read)
}

export const byHand = ({ how }: RuleOf<'by-hand'>): Verdict => unknown(how)
