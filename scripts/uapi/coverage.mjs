// Brings manifest, source and record together: each row of the kernel's interface with what implements it and what
// proved it. Decides nothing about how that is shown.

import { readFileSync } from 'node:fs'
import { gatherEvidence } from './evidence.mjs'

const json = (name) => JSON.parse(readFileSync(new URL(name, import.meta.url), 'utf8'))

const bits = (value) => BigInt.asUintN(64, BigInt(value))
const has = (flags, bit) => bit !== 0n && (flags & bit) === bit
const FEATURE = 0xffffn
const PROBE = 1n << 18n
const TYPE = 2

const wordOf = (entry, { in: input, out }) => (input ? entry.in[input] : entry.out[out])

/** Whether a recorded call had to do with a row, whatever its answer. */
const MATCHES = {
  call: () => true,
  value: (entry, value, carrier) => {
    const word = wordOf(entry, carrier)
    return word !== undefined && BigInt.asUintN(32, BigInt(word)) === BigInt.asUintN(32, value)
  },
  bit: (entry, value, carrier) => {
    const word = wordOf(entry, carrier)
    return word !== undefined && has(bits(word), bits(value))
  },
  member: (entry, value, { out }) =>
    (entry.out[out] ?? []).some((word) => BigInt.asUintN(32, BigInt(word)) === BigInt.asUintN(32, value)),
  feature: (entry, value) => (bits(entry.in.flags) & FEATURE) === value,
  capability: (entry, value) => (entry.out.capabilities ?? []).some(([id]) => BigInt(id) === value),
  capabilityBit: (entry, value, { capability }) =>
    (entry.out.capabilities ?? []).some(([id, word]) => id === capability && has(bits(word), value)),
  regionType: (entry, value) =>
    (entry.out.capabilities ?? []).some(
      ([id, type]) => id === TYPE && bits(type) === BigInt.asUintN(32, value),
    ),
  regionSubtype: (entry, value, { type: wanted }) =>
    (entry.out.capabilities ?? []).some(
      ([id, type, subtype]) => id === TYPE && type === wanted && BigInt(subtype) === value,
    ),
}

const ofFeature = (entry, { feature }) =>
  feature === undefined || Number(bits(entry.in.flags) & FEATURE) === feature

const matching = (carriers, value, record) =>
  record.filter((entry) =>
    carriers.some(
      (carrier) =>
        carrier.call === entry.call &&
        ofFeature(entry, carrier) &&
        MATCHES[carrier.how](entry, BigInt(value), carrier) &&
        (carrier.answer === undefined || entry.errno !== 0 || entry.answer === carrier.answer),
    ),
  )

/** A call that the kernel took; asking whether a feature is there is not using it. */
const succeeded = (entry, kind) =>
  entry.errno === 0 && !(kind === 'feature' && has(bits(entry.in.flags), PROBE)) && entry.call !== undefined

const series = (kernel) => /^\d+\.\d+/.exec(kernel)?.[0] ?? kernel

/** Where calls were made: `built 7.2` to the modes of its IOMMU. The kernel of the tests' host is anyone's. */
const places = (entries) => {
  const found = new Map()
  for (const { machine, kernel, mode } of entries) {
    const name = machine === 'host' ? 'host' : `${machine.replace(/^rig-/, '')} ${series(kernel)}`
    const modes = found.get(name) ?? new Set()
    if (mode !== '') modes.add(mode)
    found.set(name, modes)
  }
  return [...found].sort().map(([name, modes]) => ({ name, modes: [...modes].sort() }))
}

const unique = (list) => [...new Set(list)].filter((one) => one !== '').sort()

/** The rows of the manifest: { header, name, value, kind, carriers }; and the names that are none. */
const rowsOf = (manifest) => {
  const { helpers, rows } = json('rows.json')
  const patterns = rows.map((rule) => ({ ...rule, pattern: new RegExp(rule.names) }))
  const none = helpers.map(({ names }) => new RegExp(names))
  const unknown = []
  const found = Object.entries(manifest.headers)
    .filter(([, part]) => part.rows)
    .flatMap(([header, { ioctls, constants }]) => [
      ...Object.entries(ioctls).map(([name, value]) => ({
        header,
        name,
        value,
        kind: 'ioctl',
        carriers: [{ call: name, how: 'call' }],
      })),
      ...Object.entries(constants)
        .filter(([name]) => !none.some((pattern) => pattern.test(name)))
        .flatMap(([name, value]) => {
          const rule = patterns.find(({ pattern }) => pattern.test(name))
          if (rule === undefined) unknown.push(name)
          return rule === undefined ? [] : [{ header, name, value, kind: rule.kind, carriers: rule.carried }]
        }),
    ])
  return { rows: found, unknown }
}

/**
 * Returns { rows, unknown, scope }: each row has a status ('proven', 'implemented', 'out of scope', 'missing'), what
 * implements it (native functions and members of TypeScript, or a file), the tests and places of its proof, the refusals
 * when there were only those, and its reason when it is out of scope. `ours` maps the kernel's names to native/uapi's.
 */
export const coverage = (manifest, record, ours) => {
  const { inTypescript, inNative, callers } = gatherEvidence()
  const scope = json('scope.json').map((entry) => ({ ...entry, pattern: new RegExp(entry.names), used: 0 }))
  const { rows, unknown } = rowsOf(manifest)
  const covered = rows.map((row) => {
    const calls = matching(row.carriers, row.value, record)
    const proofs = calls.filter((entry) => succeeded(entry, row.kind))
    const functions = unique((proofs.length > 0 ? proofs : calls).map((entry) => entry.function))
    const native = ours.has(row.name) ? inNative(ours.get(row.name)) : undefined
    const typescript = inTypescript(row.name, row.value)
    // What only comes back from the kernel has to be understood here; what is sent was sent by a function.
    const comesBack = row.carriers.every(
      ({ in: input, how }) => input === undefined && !['call', 'feature', 'member'].includes(how),
    )
    const source = [native, typescript].filter((path) => path !== undefined)
    const implemented = source.length > 0 || (!comesBack && functions.length > 0)
    const outOfScope = scope.find(({ pattern }) => pattern.test(row.name))
    if (outOfScope) outOfScope.used++
    const proven = implemented && proofs.length > 0
    return {
      ...row,
      status: proven ? 'proven' : implemented ? 'implemented' : outOfScope ? 'out of scope' : 'missing',
      functions,
      members: unique(functions.flatMap(callers)),
      source,
      tests: unique(proofs.map(({ test }) => test)),
      places: places(proofs),
      refusals: proofs.length > 0 ? [] : unique(calls.map(({ errno }) => String(errno))).map(Number),
      seen: proofs.length > 0,
      reason: outOfScope?.reason,
    }
  })
  return { rows: covered, unknown, scope: scope.map(({ names, used }) => ({ names, used })) }
}
