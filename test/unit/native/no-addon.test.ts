// What is said where the addon cannot be loaded: each cause by its own words, and the ones that a machine can show for real.
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'

import { libcOf, ways } from '../../../ts/native/binaries.js'
import { type Attempt, whyNoAddon } from '../../../ts/native/no-addon.js'
import { temporaryFolder } from '../../temporary.js'
import { inChild, packageUrl } from '../support.js'

const HERE: Attempt = {
  error: new Error('some reason'),
  platform: 'linux',
  arch: 'x64',
  chosen: undefined,
  root: '/app/node_modules/node-vfio',
  built: false,
  glibc: '2.36',
}

const coded = (message: string, code: string): Error => Object.assign(new Error(message), { code })
const NOWHERE = new Error('Could not locate the bindings file. Tried:\n → /app/build/Release/node_vfio.node')

const CAUSES: [title: string, attempt: Partial<Attempt>, said: RegExp][] = [
  ['another system', { platform: 'darwin' }, /Linux only, and this is darwin/],
  [
    'no binary in the package',
    { error: NOWHERE },
    /^No binary is in \/app\/node_modules\/node-vfio.*`npx vfio build`/,
  ],
  [
    'a processor without one',
    { error: NOWHERE, arch: 'riscv64' },
    /x64 and arm64 only, and this is riscv64.*vfio build/,
  ],
  [
    'addons forbidden',
    { error: coded('Cannot load native addon because loading addons is disabled.', 'ERR_DLOPEN_DISABLED') },
    /--allow-addons/,
  ],
  [
    'files forbidden',
    { error: coded('Access to this API has been restricted', 'ERR_ACCESS_DENIED') },
    /--allow-fs-read/,
  ],
  [
    'Deno without --allow-ffi',
    { error: Object.assign(new Error('Requires ffi access'), { name: 'NotCapable' }) },
    /Deno needs --allow-ffi/,
  ],
  ['a bundle', { root: undefined }, /bundled.*external.*NODE_VFIO_ADDON/],
  [
    'a bundle without the dependencies',
    { error: coded("Cannot find module 'bindings'\nRequire stack:", 'MODULE_NOT_FOUND') },
    /bundled into the program/,
  ],
  [
    'a glibc that is too old',
    {
      error: new Error("/lib64/libc.so.6: version `GLIBC_2.34' not found (required by node_vfio.node)"),
      glibc: '2.31',
    },
    /needs glibc 2\.34 or newer and this system has 2\.31: `npx vfio build`/,
  ],
  [
    'a binary for musl',
    {
      error: new Error('libc.musl-x86_64.so.1: cannot open shared object file: No such file or directory'),
      built: true,
    },
    /another C library than this process has \(glibc 2\.36\): remove the folder build/,
  ],
  [
    'a binary for glibc, on musl',
    {
      error: new Error('Error relocating node_vfio.node: __isoc99_sscanf: symbol not found'),
      glibc: undefined,
    },
    /another C library than this process has \(musl\)/,
  ],
  [
    'a damaged binary',
    { error: new Error('node_vfio.node: invalid ELF header') },
    /damaged, or not for this processor \(x64\)/,
  ],
  [
    'noexec',
    { error: new Error('node_vfio.node: failed to map segment from shared object') },
    /mounted with noexec/,
  ],
  ['anything else', {}, /^The binary could not be loaded: some reason$/],
  [
    'a damaged file that the variable names',
    { chosen: '/tmp/a.node', error: new Error('/tmp/a.node: file too short') },
    /^NODE_VFIO_ADDON names \/tmp\/a\.node: The binary is damaged.*unset it\.$/,
  ],
]

for (const [title, attempt, said] of CAUSES) {
  test(`without the addon, the true cause is said: ${title}`, (t) => {
    t.regex(whyNoAddon({ ...HERE, ...attempt }), said)
  })
}

test('the C library is told by the report of the process', (t) => {
  t.is(libcOf({ header: { osName: 'Linux', glibcVersionRuntime: '2.36' } }), 'glibc')
  t.is(libcOf({ header: { osName: 'Linux' } }), 'musl')
  t.is(libcOf({}), null)
  t.is(libcOf(undefined), null)
})

test('what was compiled here is tried first, then what the package has for processor and C library', (t) => {
  const root = temporaryFolder(t, 'ways')
  const built = ['module_root', 'build', 'Release', 'bindings']
  const carried = (name: string): string[] => ['module_root', 'prebuilds', name, 'bindings']
  t.deepEqual(ways(root, { arch: 'arm64', libc: () => 'musl' }), [built, carried('linux-arm64-musl')])
  t.deepEqual(ways(root, { arch: 'x64', libc: () => 'glibc' }), [built, carried('linux-x64-glibc')])
  t.deepEqual(ways(root, { arch: 'x64', libc: () => null }), [
    built,
    carried('linux-x64-glibc'),
    carried('linux-x64-musl'),
  ])
  t.deepEqual(ways(root, { arch: 'riscv64', libc: () => 'glibc' }), [built])
  mkdirSync(join(root, 'build', 'Release'), { recursive: true })
  writeFileSync(join(root, 'build', 'Release', 'node_vfio.node'), '')
  t.deepEqual(ways(root, { arch: 'x64', libc: () => t.fail() }), [built])
})

const USE = `const { EventFd } = await import(${JSON.stringify(packageUrl)})
  try { new EventFd(); console.log('loaded') } catch (error) { console.log(error.reason + ': ' + error.remedy) }`

test('--no-addons is named as what forbids them', async (t) => {
  const { stdout, stderr } = await inChild(USE, { bare: true, args: ['--no-addons'] })
  t.regex(stdout, /^no-addon: The runtime was told to load no addons/, stderr)
})

test('a file that is no binary is told as damaged', async (t) => {
  const file = join(temporaryFolder(t, 'damaged'), 'damaged.node')
  writeFileSync(file, 'no ELF file at all, but long enough to be read as one: '.repeat(20))
  const { stdout } = await inChild(USE, { bare: true, env: { NODE_VFIO_ADDON: file } })
  t.regex(stdout, /^no-addon: NODE_VFIO_ADDON names .*damaged\.node: The binary is damaged/)
})
