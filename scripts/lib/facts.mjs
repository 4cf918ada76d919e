// What is wrong with the knowledge base in facts/, and what of it is old. The command is scripts/check-facts.mjs.

import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Ajv2020 } from 'ajv/dist/2020.js'

const KINDS = ['issues', 'parameters', 'capacities', 'migration', 'frameworks', 'platforms']

/**
 * The files of a knowledge base, by their paths in it.
 * @param {string} folder
 */
export const readFacts = (folder) =>
  new Map(
    readdirSync(folder, { withFileTypes: true })
      .filter((each) => each.isDirectory())
      .flatMap(({ name }) => readdirSync(join(folder, name)).map((file) => join(name, file)))
      .sort()
      .map((path) => [path, readFileSync(join(folder, path), 'utf8')]),
  )

/** Every rule in a value, those within rules too. */
const rulesIn = (value) => {
  if (typeof value !== 'object' || value === null) return []
  const own = typeof value.rule === 'string' ? [value] : []
  return [...own, ...Object.values(value).flatMap(rulesIn)]
}

const parse = (path, text) => {
  try {
    return { path, file: JSON.parse(text) }
  } catch (error) {
    return { path, problem: `${path}: ${error.message}` }
  }
}

/**
 * @param {Map<string, string>} files as `readFacts` gives them
 * @param {object} schema
 * @returns {{ rows: { path: string, kind: string, vendor: string | null, row: any }[], problems: string[] }}
 */
export const checkFacts = (files, schema) => {
  const validate = new Ajv2020({ allErrors: true, allowUnionTypes: true, discriminator: true }).compile(
    schema,
  )
  const parsed = [...files].map(([path, text]) => parse(path, text))
  const problems = parsed.flatMap(({ problem }) => problem ?? [])
  const good = parsed.filter(({ file }) => file !== undefined)
  for (const { path, file } of good) {
    if (validate(file)) continue
    for (const { instancePath, message } of validate.errors)
      problems.push(`${path}${instancePath}: ${message}`)
  }
  const rows = good.flatMap(({ path, file }) =>
    KINDS.flatMap((kind) =>
      (Array.isArray(file?.[kind]) ? file[kind] : []).map((row) => ({
        path,
        kind,
        vendor: file.vendor,
        row,
      })),
    ),
  )
  const seen = new Map()
  const said = new Map()
  const platforms = new Set(rows.filter(({ kind }) => kind === 'platforms').map(({ row }) => row.id))
  for (const { path, kind, row } of rows) {
    const before = seen.get(row.id)
    if (before !== undefined) problems.push(`${path}: ${row.id} is in ${before} too`)
    seen.set(row.id, path)
    if (!(row.sources?.length > 0)) problems.push(`${path}: ${row.id} has no source`)
    const text = kind === 'issues' ? row.symptom : undefined
    if (text !== undefined && said.has(text))
      problems.push(`${path}: ${row.id} says what ${said.get(text)} says`)
    said.set(text, row.id)
    for (const rule of rulesIn(row))
      for (const name of rule.rule === 'platform' ? (rule.in ?? []) : [])
        if (!platforms.has(name)) problems.push(`${path}: ${row.id} names ${name}, which is no platform`)
  }
  return { rows, problems }
}

/** The last day that a date may mean: `2026`, `2026-11`, `2026-11-30`. */
const endOf = (date) => {
  const [year, month, day] = date.split('-').map(Number)
  return day !== undefined ? Date.UTC(year, month - 1, day) : Date.UTC(year, month ?? 12, 0)
}

/**
 * The rows of which a date lies more than a year back.
 * @param {{ row: any }[]} rows
 * @param {'date' | 'checked'} field
 * @param {number} now in milliseconds
 */
export const olderThanAYear = (rows, field, now) => {
  const year = new Date(now)
  year.setUTCFullYear(year.getUTCFullYear() - 1)
  return rows.filter(({ row }) => row[field] !== undefined && endOf(row[field]) < year.getTime())
}
