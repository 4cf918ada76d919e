// Kernel modules read from trees made for each test.

import { chmodSync } from 'node:fs'
import test from 'ava'
import { readModule } from '../../../ts/host/index.js'
import { sysfsTest } from './fixture.js'

sysfsTest('a loaded module, its name with dashes or underscores', (t, { tree, options }) => {
  tree.file('module/vfio_pci/initstate', 'live')
  tree.file('module/vfio_pci/parameters/disable_vga', 'N')
  tree.file('module/vfio_pci/parameters/ids', '')
  const expected = { name: 'vfio_pci', state: 'live', parameters: { disable_vga: 'N', ids: '' } } as const
  t.deepEqual(readModule('vfio_pci', options), expected)
  t.deepEqual(readModule('vfio-pci', options), expected)
})

sysfsTest('a built-in one, and one that is going', (t, { tree, options }) => {
  tree.file('module/vfio/parameters/enable_unsafe_noiommu_mode', 'Y')
  tree.file('module/mdev/initstate', 'going')
  t.like(readModule('vfio', options), { state: 'builtin', parameters: { enable_unsafe_noiommu_mode: 'Y' } })
  t.deepEqual(readModule('mdev', options), { name: 'mdev', state: 'going', parameters: {} })
})

sysfsTest('one that the kernel does not have', (t, { options }) => {
  t.is(readModule('vfio', options), null)
})

sysfsTest('a parameter that may not be read', (t, { tree, options }) => {
  tree.file('module/xe/parameters/secret', '1')
  chmodSync(tree.path('module/xe/parameters/secret'), 0o200)
  // Root reads it all the same.
  const value = process.getuid?.() === 0 ? '1' : null
  t.deepEqual(readModule('xe', options)?.parameters, { secret: value })
})

test('what cannot be a module is refused', (t) => {
  for (const name of ['', '../kernel', 'a b', 'x/y'])
    t.throws(() => readModule(name), { instanceOf: TypeError }, name)
})
