// `npm run uapi:manifest`: writes manifest.json from the headers of its series. With --newest it writes nothing and names
// what the newest headers have besides, for who moves the manifest to a newer series.

import { writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { format, resolveConfig } from 'prettier'
import { withHeaders } from './headers.mjs'
import { compareManifests, MANIFEST, manifestOf, readManifest, SERIES } from './manifest.mjs'

const { values } = parseArgs({ options: { newest: { type: 'boolean' } } })

if (values.newest) {
  const newest = await withHeaders(undefined, manifestOf)
  const { differences, added } = compareManifests(readManifest(), newest)
  console.log(`Linux ${newest.linux}, beside the manifest's ${SERIES}:`)
  for (const line of [...differences, ...added.map((name) => `${name}: new`)]) console.log(`  ${line}`)
} else {
  const manifest = await withHeaders(SERIES, manifestOf)
  const path = MANIFEST.pathname
  writeFileSync(
    path,
    await format(JSON.stringify(manifest), { ...(await resolveConfig(path)), filepath: path }),
  )
  console.log(`${path}: Linux ${manifest.linux}`)
}
