// ts/native/ against native/: each declaration file says exactly what the folder of its name registers, and every function has
// somebody who calls it.
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import ts from 'typescript'

import { addon } from '../../ts/native/index.js'
import { ROOT, read } from './claims.js'

/** What only tests call: the guard's state, and commands of an iommufd that have no function. */
const FOR_TESTS = new Set(['guardIntact', 'iommufdCall'])

/** The files beside the declarations: how the addon is loaded, and what declarations share. */
const OTHERS = new Set(['binaries', 'handle', 'index', 'no-addon'])

const areas = addon().areas()

/** The members of a file's one interface of functions. */
function declaredIn(path: string): string[] {
  const source = ts.createSourceFile(path, read(path), ts.ScriptTarget.Latest)
  const interfaces = source.statements.filter(
    (statement): statement is ts.InterfaceDeclaration =>
      ts.isInterfaceDeclaration(statement) && statement.name.text.endsWith('Functions'),
  )
  const members = interfaces.flatMap(({ members }) => [...members])
  return members.map(({ name }) => (name !== undefined && ts.isIdentifier(name) ? name.text : '?'))
}

/** Of overloads one. */
const sorted = (names: readonly string[]): string[] => [...new Set(names)].sort()

test('each folder of native/ that registers functions has a declaration file, and no other has', (t) => {
  const declarations = readdirSync(join(ROOT, 'ts/native'))
    .map((file) => file.replace(/\.ts$/, ''))
    .filter((name) => !OTHERS.has(name))
  const folders = readdirSync(join(ROOT, 'native')).filter((name) =>
    existsSync(join(ROOT, 'native', name, 'bindings.h')),
  )
  t.deepEqual(sorted(declarations), sorted(Object.keys(areas)))
  t.deepEqual(sorted(folders), sorted(Object.keys(areas)))
})

for (const [folder, functions] of Object.entries(areas)) {
  test(`ts/native/${folder}.ts declares what native/${folder} registers`, (t) => {
    t.deepEqual(sorted(declaredIn(`ts/native/${folder}.ts`)), sorted(Object.keys(functions)))
  })
}

test('no name is registered twice', (t) => {
  const names = Object.values(areas).flatMap((functions) => Object.keys(functions))
  t.is(new Set(names).size, names.length)
})

test('every function has a caller in ts/', (t) => {
  const callers = readdirSync(join(ROOT, 'ts'), { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.ts') && (!path.startsWith('native/') || path === 'native/index.ts'))
    .map((path) => readFileSync(join(ROOT, 'ts', path), 'utf8').replace(/^\s*(\/\/|\/?\*).*$/gm, ''))
  const called = new Set(callers.flatMap((text) => text.match(/\w+/g) ?? []))
  const names = Object.values(areas).flatMap((functions) => Object.keys(functions))
  t.deepEqual(
    names.filter((name) => !called.has(name) && !FOR_TESTS.has(name)),
    [],
  )
})
