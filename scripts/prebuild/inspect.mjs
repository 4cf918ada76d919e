// Reads a finished binary: whether it is for the right processor, needs nothing but the C library, and of that nothing newer
// than the floor. What the compiler was told is not believed, but looked for in the file.
import { execFileSync } from 'node:child_process'
import { statSync } from 'node:fs'
import { versionNumber } from './stubs.mjs'
import { GLIBC_FLOOR } from './targets.mjs'

const NEEDED = {
  glibc:
    /^(libc\.so\.6|libm\.so\.6|libpthread\.so\.0|librt\.so\.1|libdl\.so\.2|ld-linux-(x86-64|aarch64)\.so\.\d)$/,
  musl: /^libc\.so$/,
}

const readelf = (...args) =>
  execFileSync('readelf', ['-W', ...args], { encoding: 'utf8', maxBuffer: 1 << 26 })

/** The names that a file wants from others, with their versions: from the text of `readelf --dyn-syms`. */
export const wantedOf = (text) =>
  [...text.matchAll(/^ *\d+: 0+ +0 \w+ +(GLOBAL|WEAK) +\w+ +UND (\S+)/gm)].map(([, bind, name]) => {
    const [symbol, version] = name.split(/@+/)
    return { symbol, version, weak: bind === 'WEAK' }
  })

/** The names that a file gives, whatever their versions. */
export const given = (text) =>
  [...text.matchAll(/^ *\d+: \S+ +\d+ \w+ +(?:GLOBAL|WEAK) +\w+ +(?!UND)\w+ ([^\s@]+)/gm)].map(
    ([, name]) => name,
  )

// What Node.js gives, and every runtime that has Node-API.
const OF_NODE = /^(napi_|node_api_|uv_)/

/**
 * What is wrong with a binary, as sentences. `libc` is the C library that it is for, which has what no version tells of.
 * @param {import('./targets.mjs').Target} target
 */
export const faults = (file, target, libc) => {
  const found = []
  const header = readelf('-h', file)
  if (!new RegExp(`^ *Machine: .*${target.machine}$`, 'm').test(header))
    found.push(`it is not for ${target.machine}`)
  const dynamic = readelf('-d', file)
  for (const [, name] of dynamic.matchAll(/\(NEEDED\).*\[(.*)\]/g))
    if (!NEEDED[target.libc].test(name)) found.push(`it needs ${name}`)
  if (/\((RPATH|RUNPATH|TEXTREL)\)/.test(dynamic)) found.push('it has a search path or text relocations')
  const symbols = readelf('--dyn-syms', file)
  const exported = given(symbols)
  if (!exported.includes('napi_register_module_v1')) found.push('it does not register as an addon')
  for (const name of exported) if (!OF_NODE.test(name)) found.push(`it shows its own ${name}`)
  const known = new Set(target.libc === 'musl' ? given(readelf('--dyn-syms', libc)) : [])
  const floor = versionNumber(`GLIBC_${GLIBC_FLOOR}`)
  for (const { symbol, version, weak } of wantedOf(symbols)) {
    if (weak || OF_NODE.test(symbol) || known.has(symbol)) continue
    if (version === undefined) found.push(`nobody has ${symbol}`)
    else if (!(versionNumber(version) <= floor)) found.push(`it needs ${symbol} of ${version}`)
  }
  return found
}

export const kilobytes = (file) => Math.round(statSync(file).size / 1024)
