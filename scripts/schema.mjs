// `npm run docs:schema`: writes schema/, the JSON Schemas of what the command prints with --json, out of ts/cli/output.ts.
// With --check it writes nothing and fails when they are not up to date.

import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { schemasOf } from './lib/json-schema.mjs'
import { ROOT } from './lib/process.mjs'

const FOLDER = join(ROOT, 'schema')

/** `vfio-ls/1` is in `vfio-ls-1.json`. */
const wanted = new Map(
  Object.entries(schemasOf(join(ROOT, 'ts/cli/output.ts'), join(ROOT, 'tsconfig.json'))).map(
    ([name, schema]) => [`${name.replace('/', '-')}.json`, `${JSON.stringify(schema, null, 2)}\n`],
  ),
)

mkdirSync(FOLDER, { recursive: true })
const present = readdirSync(FOLDER)
const read = (file) => (present.includes(file) ? readFileSync(join(FOLDER, file), 'utf8') : '')
const stale = [...wanted].filter(([file, text]) => read(file) !== text).map(([file]) => file)
const extra = present.filter((file) => !wanted.has(file))

if (process.argv.includes('--check')) {
  for (const file of [...stale, ...extra])
    console.error(`schema/${file} is not what ts/cli/output.ts says: npm run docs:schema`)
  if (stale.length + extra.length > 0) process.exitCode = 1
} else {
  for (const file of stale) writeFileSync(join(FOLDER, file), wanted.get(file))
  for (const file of extra) rmSync(join(FOLDER, file))
  console.log(`schema/: ${wanted.size} schemas, ${stale.length} written`)
}
