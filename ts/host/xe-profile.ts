// The share of the GPU that xe gives a function: `sriov_admin/{pf,vfN}/profile` of the physical function (Linux 6.19). It must not
// do the steps, nor decide whether they may be done.

import { join } from 'node:path'
import { PROFILE_NAMES, type ProfileName } from './profile-settings.js'
import { attributeStep } from './sriov.js'
import type { HostStep } from './step.js'
import { type HostOptions, listNames, readText, sysfsRoot } from './sysfs.js'

/** What a function's folder has. */
export interface XeProfile {
  readonly path: string
  /** Texts as they are: of several words, the one in brackets counts. */
  readonly texts: Readonly<Partial<Record<ProfileName, string>>>
}

/**
 * The profile of a function; null where there is no such folder.
 * @param number among the virtual functions, from 1; 0 for the physical one
 */
export function readXeProfile(pf: string, number: number, options: HostOptions = {}): XeProfile | null {
  const of = number === 0 ? 'pf' : `vf${number}`
  const path = join(sysfsRoot(options), 'bus', 'pci', 'devices', pf, 'sriov_admin', of, 'profile')
  const names = listNames(path)
  if (names === null) return null
  const there = PROFILE_NAMES.filter((name) => names.includes(name))
  const texts = there.map((name) => [name, readText(path, name) ?? ''] as const)
  return { path, texts: Object.fromEntries(texts) }
}

/** Words to choose from, `[low] normal`; null for a text that is a value. */
export function choices(text: string): { readonly words: readonly string[]; readonly chosen: string } | null {
  const chosen = /\[(\S+)\]/.exec(text)?.[1]
  return chosen === undefined ? null : { words: text.replaceAll(/[[\]]/g, '').split(/\s+/), chosen }
}

/** The value that a text stands for. */
export const valueOf = (text: string): string => choices(text)?.chosen ?? text

/** Another value in one of the files. */
export function profileStep({ path, texts }: XeProfile, name: ProfileName, value: string): HostStep {
  const old = texts[name] ?? ''
  const list = choices(old)
  if (list === null) return attributeStep(path, name, [old, value], `${name} becomes ${value}`)
  // The whole list is shown, with brackets around another of its words.
  const shown = list.words.map((word) => (word === value ? `[${word}]` : word)).join(' ')
  const step = attributeStep(path, name, [old, value], `${name} becomes ${value}`)
  return { ...step, new: shown, undo: { ...step.undo, text: list.chosen } }
}
