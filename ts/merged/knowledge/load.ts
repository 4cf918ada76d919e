// Reads the knowledge base, the folder facts/ of this package: one folder per vendor, in it one file per kind of rows. What is
// wrong with a file is found by `npm run check:facts`, not here.

import { readdirSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import type { Fact, Knowledge, Platform } from './types.js'

const KINDS = ['issues', 'parameters', 'capacities', 'migration', 'frameworks', 'platforms'] as const
type Kind = (typeof KINDS)[number]

/** A file as it is: the vendor is said once for all its rows. */
type FactsFile = { readonly vendor: string | null } & Readonly<
  Partial<Record<Kind, readonly Omit<Fact | Platform, 'vendor'>[]>>
>

let loaded: Knowledge | undefined

function read(): Knowledge {
  const root = join(dirname(createRequire(import.meta.url).resolve('#package.json')), 'facts')
  const all: Record<Kind, unknown[]> = {
    issues: [],
    parameters: [],
    capacities: [],
    migration: [],
    frameworks: [],
    platforms: [],
  }
  // Rows for any vendor are the most general, and come last.
  const folders = readdirSync(root, { withFileTypes: true }).filter((each) => each.isDirectory())
  const names = folders
    .map(({ name }) => name)
    .sort((a, b) => Number(a === 'any') - Number(b === 'any') || (a < b ? -1 : 1))
  for (const folder of names) {
    for (const name of readdirSync(join(root, folder))
      .filter((each) => each.endsWith('.json'))
      .sort()) {
      const file = JSON.parse(readFileSync(join(root, folder, name), 'utf8')) as FactsFile
      const vendor = file.vendor === null ? null : Number.parseInt(file.vendor, 16)
      for (const kind of KINDS)
        for (const row of file[kind] ?? []) all[kind].push(kind === 'platforms' ? row : { ...row, vendor })
    }
  }
  return all as unknown as Knowledge
}

/**
 * All that this package knows of sharing devices: issues, parameters, capacities, migration, frameworks. Read once, when it is first
 * asked for.
 * @throws Error if the package's folder facts/ is not there
 */
export function knowledge(): Knowledge {
  return (loaded ??= read())
}
