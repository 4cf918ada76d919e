// How the binaries of the package are linked with a glibc of old, and looked at before they are shipped: from the texts that
// readelf writes. That they are made, loaded and run is a test of the package (npm run test:package).
import test from 'ava'

import { inChild } from '../support.js'

const script = (name: string): string =>
  JSON.stringify(new URL(`scripts/prebuild/${name}.mjs`, import.meta.resolve('#package.json')).href)

async function evaluated(code: string): Promise<unknown> {
  const { stdout, stderr } = await inChild(
    `const stubs = await import(${script('stubs')})
    const inspect = await import(${script('inspect')})
    const { differences } = await import(${script('toolchain')})
    console.log(JSON.stringify((() => { ${code} })()))`,
    { bare: true },
  )
  if (stderr !== '') throw new Error(stderr)
  return JSON.parse(stdout) as unknown
}

const LIBC = `
Symbol table '.dynsym' contains 9 entries:
   Num:    Value          Size Type    Bind   Vis      Ndx Name
     1: 0000000000000000     0 OBJECT  GLOBAL DEFAULT  UND __libc_stack_end@GLIBC_2.2.5 (2)
     2: 0000000000099000   300 FUNC    GLOBAL DEFAULT   15 memcpy@@GLIBC_2.14
     3: 0000000000099100   300 FUNC    GLOBAL DEFAULT   15 memcpy@GLIBC_2.2.5
     4: 0000000000088000   100 FUNC    GLOBAL DEFAULT   15 dladdr@@GLIBC_2.34
     5: 0000000000088000   100 FUNC    GLOBAL DEFAULT   15 dladdr@GLIBC_2.2.5
     6: 0000000000088100   100 FUNC    WEAK   DEFAULT   15 fstat@@GLIBC_2.33
     7: 00000000001d2000     8 OBJECT  GLOBAL DEFAULT   33 stderr@@GLIBC_2.2.5
     8: 0000000000088200   100 FUNC    GLOBAL DEFAULT   15 fcntl64@@GLIBC_2.28
     9: 0000000000088300   100 FUNC    GLOBAL DEFAULT   15 _dl_private@@GLIBC_PRIVATE
`

test('a stub has the names of the floor, in their newest version that it had', async (t) => {
  t.deepEqual(
    await evaluated(`return stubs.atFloor('libc.so.6', stubs.exportsOf(${JSON.stringify(LIBC)}))`),
    {
      'libc.so.6': {
        'GLIBC_2.14': [{ name: 'memcpy', data: false }],
        'GLIBC_2.2.5': [{ name: 'stderr', data: true }],
        'GLIBC_2.28': [{ name: 'fcntl64', data: false }],
      },
      // It moved into libc.so.6 later.
      'libdl.so.2': { 'GLIBC_2.2.5': [{ name: 'dladdr', data: false }] },
    },
  )
})

const BINARY = `
   Num:    Value          Size Type    Bind   Vis      Ndx Name
     0: 0000000000000000     0 NOTYPE  LOCAL  DEFAULT  UND
     1: 0000000000000000     0 NOTYPE  GLOBAL DEFAULT  UND napi_create_object
     2: 0000000000000000     0 FUNC    GLOBAL DEFAULT  UND memcpy@GLIBC_2.14 (3)
     3: 0000000000000000     0 FUNC    WEAK   DEFAULT  UND __cxa_finalize@GLIBC_2.2.5 (2)
     4: 0000000000012340   100 FUNC    GLOBAL DEFAULT   12 napi_register_module_v1
`

test('what a binary wants and gives is read from its symbols', async (t) => {
  t.deepEqual(await evaluated(`return inspect.wantedOf(${JSON.stringify(BINARY)})`), [
    { symbol: 'napi_create_object', weak: false },
    { symbol: 'memcpy', version: 'GLIBC_2.14', weak: false },
    { symbol: '__cxa_finalize', version: 'GLIBC_2.2.5', weak: true },
  ])
  t.deepEqual(await evaluated(`return inspect.given(${JSON.stringify(BINARY)})`), ['napi_register_module_v1'])
})

test('versions of glibc are compared as numbers', async (t) => {
  t.deepEqual(
    await evaluated(
      `return ['GLIBC_2.9', 'GLIBC_2.28', 'GLIBC_2.2.5', 'GLIBC_PRIVATE'].map((name) => stubs.versionNumber(name) ?? null)`,
    ),
    [2009, 2028, 2002, null],
  )
})

test('a package with another hash than the one pinned is named', async (t) => {
  const locked = {
    compiler: { 'clang-19': { version: '1', sha256: 'a' } },
    source: { llvm: { sha256: 'c' } },
  }
  const found = {
    suite: 'bookworm',
    compiler: { 'clang-19': { version: '2', sha256: 'b' }, 'lld-19': { version: '2', sha256: 'd' } },
    source: { llvm: { sha256: 'c' } },
  }
  t.deepEqual(await evaluated(`return differences(${JSON.stringify(locked)}, ${JSON.stringify(found)})`), [
    'compiler: clang-19 2, not 1',
    'compiler: lld-19 2, not named',
  ])
  t.deepEqual(await evaluated(`return differences(${JSON.stringify(found)}, ${JSON.stringify(found)})`), [])
})
