// `vfio build`: which node-gyp it takes, and where it may not put what it makes. That it compiles is a test of the package.
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'

import { findNodeGyp } from '../../../ts/cli/build.js'
import { temporaryFolder } from '../../temporary.js'

test('the node-gyp that npm names is taken, if it is there', (t) => {
  const folder = temporaryFolder(t, 'build')
  const named = join(folder, 'node-gyp.js')
  writeFileSync(named, '')
  t.is(findNodeGyp({ npm_config_node_gyp: named }, folder), named)
  t.not(findNodeGyp({ npm_config_node_gyp: join(folder, 'gone.js') }, folder), join(folder, 'gone.js'))
})

test('else one that is installed beside the package', (t) => {
  const folder = temporaryFolder(t, 'build')
  const place = join(folder, 'node_modules', 'node-gyp', 'bin')
  mkdirSync(place, { recursive: true })
  writeFileSync(join(place, 'node-gyp.js'), '')
  writeFileSync(join(folder, 'package.json'), '{}')
  t.is(findNodeGyp({}, folder), join(place, 'node-gyp.js'))
})

test('else the one of an npm on the PATH', (t) => {
  const folder = temporaryFolder(t, 'build')
  const place = join(folder, 'lib/node_modules/npm/node_modules/node-gyp/bin')
  mkdirSync(place, { recursive: true })
  mkdirSync(join(folder, 'bin'))
  writeFileSync(join(place, 'node-gyp.js'), '')
  const found = findNodeGyp({ PATH: join(folder, 'bin') }, join(folder, 'elsewhere'))
  // Where node itself has an npm beside it, that one comes first.
  t.true(found === join(place, 'node-gyp.js') || found?.startsWith(folder) === false)
})
