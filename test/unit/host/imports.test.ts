// node-vfio/host has to load where there is no addon and no Linux: what it imports is checked here.

import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'

test('ts/host imports only itself and Node.js', (t) => {
  const folder = join(import.meta.dirname, '../../../ts/host')
  const files = readdirSync(folder).filter((name) => name.endsWith('.js'))
  t.true(files.length > 5)
  for (const file of files) {
    const text = readFileSync(join(folder, file), 'utf8')
    for (const [, specifier = ''] of text.matchAll(/\bfrom '([^']+)'/g)) {
      t.true(
        specifier.startsWith('./') || specifier === 'node:fs' || specifier === 'node:path',
        `${file}: ${specifier}`,
      )
    }
  }
})
