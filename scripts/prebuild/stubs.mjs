// A C library to link with that is as old as the floor: names and versions without code. Debian's own has every name's older
// versions beside the newest, so they need no list of ours. What the floor's library lacks, no stub has, and the link says so.
import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { GLIBC_FLOOR } from './targets.mjs'

/** `GLIBC_2.28` as a number to compare by; undefined for what is no such version. */
export const versionNumber = (version) => {
  const [, major, minor] = /^GLIBC_(\d+)\.(\d+)/.exec(version) ?? []
  return major === undefined ? undefined : Number(major) * 1000 + Number(minor)
}

const FLOOR = versionNumber(`GLIBC_${GLIBC_FLOOR}`)

// Until 2.34 these were libraries of their own, which whoever uses them names.
const ONCE_ELSEWHERE = [
  { pattern: /^(pthread_|sem_)/, file: 'libpthread.so.0' },
  { pattern: /^(timer_|mq_|aio_|lio_|shm_)/, file: 'librt.so.1' },
  { pattern: /^dl/, file: 'libdl.so.2' },
]

/** What `readelf --dyn-syms` shows of a library's own names: name, version, whether it is the newest, kind. */
export const exportsOf = (text) =>
  [...text.matchAll(/^ *\d+: \S+ +\d+ (\w+) +(?:GLOBAL|WEAK|UNIQUE) +\w+ +(\S+) (\w+)(@@?)(\S+)$/gm)]
    .filter(([, , index]) => index !== 'UND')
    .map(([, kind, , name, at, version]) => ({ name, version, newest: at === '@@', data: kind === 'OBJECT' }))

/** The names of each library at the floor: by file, then by version. */
export const atFloor = (file, symbols) => {
  const best = new Map()
  const moved = new Set()
  for (const symbol of symbols) {
    const number = versionNumber(symbol.version)
    if (number === undefined) continue
    if (number > FLOOR) {
      if (symbol.newest) moved.add(symbol.name)
      continue
    }
    if (!(number < (best.get(symbol.name)?.number ?? 0))) best.set(symbol.name, { ...symbol, number })
  }
  const libraries = {}
  for (const { name, version, data } of best.values()) {
    const elsewhere = moved.has(name) && ONCE_ELSEWHERE.find(({ pattern }) => pattern.test(name))
    const library = (libraries[elsewhere ? elsewhere.file : file] ??= {})
    ;(library[version] ??= []).push({ name, data })
  }
  return libraries
}

const assembly = (versions) =>
  Object.values(versions)
    .flat()
    .map(
      ({ name, data }) =>
        `.globl ${name}\n.type ${name},%${data ? 'object' : 'function'}\n${name}:\n${data ? `.zero 8\n.size ${name},8\n` : ''}`,
    )
    .join('')

const script = (versions) =>
  Object.entries(versions)
    .map(([version, names]) => `${version} { global: ${names.map(({ name }) => name).join('; ')}; };\n`)
    .join('')

/** Writes the stubs of a processor's glibc into a folder; what to assemble and link, by the name of the library. */
export const writeStubs = (folder, libraries) => {
  const found = {}
  for (const library of libraries) {
    const text = execFileSync('readelf', ['-W', '--dyn-syms', library], {
      encoding: 'utf8',
      maxBuffer: 1 << 26,
    })
    const file = library.slice(library.lastIndexOf('/') + 1)
    for (const [name, versions] of Object.entries(atFloor(file, exportsOf(text)))) found[name] = versions
  }
  return Object.entries(found).map(([name, versions]) => {
    const source = join(folder, `${name}.s`)
    const map = join(folder, `${name}.map`)
    writeFileSync(source, assembly(versions))
    writeFileSync(map, script(versions))
    return { name, source, map }
  })
}
