// Where the source implements a name of the kernel's: a number of native/uapi that the C++ uses, or a number in ts/ with
// the kernel's name beside it. Both are compared with the manifest's number: a name alone is no evidence.

import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { ROOT } from '../lib/process.mjs'

const filesBelow = (folder, ending) =>
  readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => ending.test(name))
    .map((name) => join(folder, name))
    .sort()

const read = (path) => readFileSync(join(ROOT, path), 'utf8')

const NUMBER = /(?<![\w.])(-?)(0x[0-9a-fA-F_]+|[0-9][0-9_]*)n?(?:\s*<<\s*([0-9]+)n?)?(?![\w.])/g

const numbersIn = (line) =>
  [...line.matchAll(NUMBER)].map(
    ([, sign, base, shift = '0']) =>
      (sign === '-' ? -1n : 1n) * (BigInt(base.replaceAll('_', '')) << BigInt(shift)),
  )

const bits = (value) => BigInt.asUintN(32, BigInt(value))

/** How many lines behind the name its number may stand: a comment's rest and the declaration. */
const REACH = 3

/** The list that a comment introduces, as in `= ['intx', 'msi']`: what stands at a number's place there. */
const entryAt = (lines, value) => {
  const text = lines.join('\n')
  const open = /^[^;=]*= (?:\w+\()?\[/.exec(text)
  if (open === null) return undefined
  const list = text.slice(open[0].length, text.indexOf(']', open[0].length))
  if (/[{(]/.test(list)) return undefined
  return [...list.matchAll(/'(\w+)'/g)][Number(value)]?.[1]
}

const squash = (name) => name.replace(/[^A-Za-z0-9]/g, '').toLowerCase()

/** How far behind a comment its list may begin and end. */
const LIST_REACH = 16

/**
 * Returns (name, value) => the file of ts/ that has the number with the name beside it, or undefined. In a list that counts
 * from 0 the place is the number, and what stands there is a part of the name.
 */
const typescriptEvidence = () => {
  const files = filesBelow('ts', /\.ts$/).map((path) => ({ path, lines: read(path).split('\n') }))
  const places = new Map()
  for (const { path, lines } of files) {
    lines.forEach((line, at) => {
      for (const [name] of line.matchAll(/\b(?:VFIO|IOMMU|IOMMUFD|KVM)_[A-Za-z0-9_]+/g)) {
        places.set(name, [...(places.get(name) ?? []), { path, lines, at }])
      }
    })
  }
  return (name, value) =>
    (places.get(name) ?? []).find(({ lines, at }) => {
      const own = numbersIn(lines[at].replaceAll(name, ''))
      if (own.some((number) => bits(number) === bits(value))) return true
      // A comment above its declaration.
      if (!/^\s*(\/\/|\/?\*)/.test(lines[at])) return false
      const entry = entryAt(lines.slice(at + 1, at + 1 + LIST_REACH), value)
      if (entry !== undefined) return squash(name).includes(squash(entry))
      return lines
        .slice(at + 1, at + 1 + REACH)
        .some((line) => numbersIn(line).some((number) => bits(number) === bits(value)))
    })?.path
}

/** Returns (our name of native/uapi) => the first file of native/ that uses it. */
const nativeEvidence = () => {
  const files = filesBelow('native', /\.(cc|h)$/)
    .filter((path) => !path.startsWith('native/uapi/'))
    .map((path) => ({ path, text: read(path) }))
  return (ours) => files.find(({ text }) => new RegExp(`\\b${ours}\\b`).test(text))?.path
}

/** The classes' methods and functions of ts/ that call a native function, as in `AddressSpace.map`. */
const callersInTypescript = () => {
  const found = new Map()
  for (const path of filesBelow('ts', /\.ts$/).filter((path) => !path.startsWith('ts/native'))) {
    let scope = ''
    let member = ''
    for (const line of read(path).split('\n')) {
      const declared = /^(?:export )?(?:abstract )?(class|async function|function|const) (\w+)/.exec(line)
      if (declared) {
        scope = declared[2]
        member = ''
      }
      const method =
        /^ {2}(?:(?:static|async|override|protected|get|set|private) )*(#?\w+)(?:<[^>]*>)?\(.*[{(,]$/.exec(
          line,
        )
      if (method && !/^ {2}(if|for|while|switch|return)\b/.test(line)) member = method[1]
      for (const [, name] of line.matchAll(/(?:addon\(\)|native|binding|addon)\.(\w+)\b/g)) {
        const where = member === '' || member === 'constructor' ? scope : `${scope}.${member}`
        found.set(name, (found.get(name) ?? new Set()).add(where))
      }
    }
  }
  return (name) => [...(found.get(name) ?? [])].sort()
}

export const gatherEvidence = () => ({
  inTypescript: typescriptEvidence(),
  inNative: nativeEvidence(),
  callers: callersInTypescript(),
})
