// node-vfio/host has to load where there is no addon and no Linux: what it imports is checked here.

import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'

const sources = join(import.meta.dirname, '../../../ts')

function importsOf(file: string): string[] {
  const text = readFileSync(file, 'utf8')
  return [...text.matchAll(/\bfrom '([^']+)'/g)].map(([, specifier = '']) => specifier)
}

test('ts/host imports only itself, the checks of arguments, the errors and Node.js', (t) => {
  const folder = join(sources, 'host')
  const files = readdirSync(folder).filter((name) => name.endsWith('.js'))
  t.true(files.length > 5)
  const others = new Set([
    '../validate.js',
    '../errors.js',
    'node:child_process',
    'node:fs',
    'node:os',
    'node:path',
  ])
  for (const file of files) {
    for (const specifier of importsOf(join(folder, file))) {
      t.true(specifier.startsWith('./') || others.has(specifier), `${file}: ${specifier}`)
    }
  }
})

test('the checks of arguments import nothing, the errors Node.js and tables that import nothing', (t) => {
  const tables = ['./kvm-refusals.js', './user-refusals.js']
  t.deepEqual(importsOf(join(sources, 'validate.js')), [])
  for (const table of tables) t.deepEqual(importsOf(join(sources, table)), [], table)
  const others = importsOf(join(sources, 'errors.js')).filter((specifier) => !specifier.startsWith('node:'))
  t.deepEqual(others, tables)
})
