// What `vfio bench` runs is what this user compiled: a program that somebody else could have put there is not run.
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'

import { Compiler } from '../../../ts/measure/compiler.js'

function setUp(): { env: Record<string, string>; cache: string; said: string[]; remove: () => void } {
  const folder = mkdtempSync(join(tmpdir(), 'node-vfio-compiler-'))
  const CXX = join(folder, 'c++')
  // A compiler that "compiles" what only it says.
  writeFileSync(CXX, '#!/bin/sh\nfor last; do :; done\necho ours >"$last"\n', { mode: 0o755 })
  const cache = join(folder, 'cache')
  mkdirSync(cache, { mode: 0o700 })
  return {
    env: { CXX, XDG_CACHE_HOME: cache, PATH: process.env.PATH ?? '' },
    cache,
    said: [],
    remove: () => {
      rmSync(folder, { recursive: true })
    },
  }
}

test('a program in a cache of one’s own is used again', (t) => {
  const { env, cache, said, remove } = setUp()
  t.teardown(remove)
  const options = { env, say: (text: string) => said.push(text) }
  const first = new Compiler(options).program('edu-irq')
  if (typeof first !== 'string') throw new Error(first.none)
  t.true(first.startsWith(cache))
  t.is(new Compiler(options).program('edu-irq'), first)
  t.is(said.length, 1, 'compiled once')
})

test('a program in a cache that others write to is not run, but compiled anew elsewhere', (t) => {
  const { env, cache, said, remove } = setUp()
  t.teardown(remove)
  const options = { env, say: (text: string) => said.push(text) }
  const first = new Compiler(options).program('edu-irq')
  if (typeof first !== 'string') throw new Error(first.none)
  writeFileSync(first, 'theirs\n')
  chmodSync(cache, 0o777)
  const second = new Compiler(options).program('edu-irq')
  if (typeof second !== 'string') throw new Error(second.none)
  t.false(second.startsWith(cache))
  t.is(readFileSync(second, 'utf8'), 'ours\n')
  t.regex(said.join('\n'), /not this user's alone/)
})

test('a program that others may write to is named and not run', (t) => {
  const { env, remove } = setUp()
  t.teardown(remove)
  const options = { env, say: () => undefined }
  const first = new Compiler(options).program('edu-irq')
  if (typeof first !== 'string') throw new Error(first.none)
  chmodSync(first, 0o777)
  const second = new Compiler(options).program('edu-irq')
  if (typeof second === 'string') {
    t.fail(`${second} would run`)
    return
  }
  t.regex(second.none, /not this user's alone/)
  t.true(existsSync(first), 'left for its owner to look at')
})
