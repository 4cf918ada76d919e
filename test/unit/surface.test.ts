// What the package lets in: its entry points, and through none of them the addon, whose functions check little.
import { readdirSync, readFileSync } from 'node:fs'

import test from 'ava'

import * as drm from '../../ts/drm/index.js'
import * as main from '../../ts/index.js'
import * as host from '../../ts/host/index.js'
import * as kvm from '../../ts/kvm/index.js'
import * as merged from '../../ts/merged/index.js'
import * as vfioUser from '../../ts/vfio-user/index.js'
import * as vmm from '../../ts/vmm/index.js'

test('the entry points are these, and no path reaches past them', (t) => {
  const text = readFileSync(new URL(import.meta.resolve('#package.json')), 'utf8')
  const { exports } = JSON.parse(text) as { exports: Record<string, unknown> }
  t.deepEqual(Object.keys(exports).sort(), [
    '.',
    './drm',
    './host',
    './kvm',
    './merged',
    './package.json',
    './vfio-user',
    './vmm',
  ])
})

test('none of them has a function of the addon', (t) => {
  const folder = new URL('../../../ts/native/', import.meta.url)
  const declared = readdirSync(folder)
    .map((file) => readFileSync(new URL(file, folder), 'utf8'))
    .join('\n')
  const functions = new Set([...declared.matchAll(/^ {2}(\w+)\(/gm)].map(([, name]) => name))
  t.true(functions.has('iommufdCall'))
  for (const entry of [main, drm, host, kvm, merged, vfioUser, vmm])
    for (const name of Object.keys(entry)) t.false(name === 'addon' || functions.has(name), name)
})
