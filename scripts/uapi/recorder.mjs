// Builds the recorder of test/record from the manifest and carried.json, and runs programs under it. Where the record of
// a run lies, and how it is read, is here too.

import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { ROOT, run } from '../lib/process.mjs'
import { readManifest } from './manifest.mjs'

const BUILD = join(ROOT, 'build-record')
const LIBRARY = join(BUILD, 'record.so')
const FAULTS = join(BUILD, 'fault.so')
const FAULT_SOURCE = 'test/record/fault.cc'
const SOURCES = [
  'test/record/record.cc',
  'test/record/rule.h',
  'scripts/uapi/carried.json',
  'scripts/uapi/manifest.json',
  'scripts/uapi/recorder.mjs',
]

/** One folder below it for each machine, and in that one for each part of its tests that ran by itself. */
export const RECORD = join(BUILD, 'calls')

export const readCarried = () => JSON.parse(readFileSync(new URL('carried.json', import.meta.url), 'utf8'))

const KINDS = { container: 'kContainer', group: 'kGroup', device: 'kDevice', other: 'kOther' }

const rulesOf = (manifest, { calls }) => {
  const parts = Object.values(manifest.headers)
  const requests = Object.assign({}, ...parts.map(({ ioctls }) => ioctls))
  const structures = Object.assign({}, ...parts.map((part) => part.structures))
  const word = (structure, name) => {
    const place = structures[structure]?.members[name]
    if (place === undefined) throw new Error(`carried.json: ${structure} has no ${name}`)
    return { name, at: place[0], width: place[1] }
  }
  const text = (value) => (value === undefined ? 'nullptr' : JSON.stringify(value))
  const words = ({ name, at, width }) => `{"${name}", ${at}, ${width}}`
  return Object.entries(calls).map(([name, call]) => {
    if (requests[name] === undefined) throw new Error(`carried.json: ${name} is no request of the manifest`)
    const at = (member) => word(call.structure, member)
    const list = call.list && [
      at(call.list.count).at,
      structures[call.structure].size,
      structures[call.list.structure].size,
      words(word(call.list.structure, call.list.member)),
      call.list.when ? at('flags').at : 0,
      call.list.when?.flags ?? 0,
    ]
    const through = (call.through ?? []).map(({ pointer, when, structure, member }) => {
      const [[whenMember, whenIs]] = Object.entries(when)
      return `{${at(pointer).at}, ${at(whenMember).at}, ${whenIs}, ${words({ ...word(structure, member), name: `${structure}.${member}` })}}`
    })
    return `    {"${name}", ${requests[name]}UL, Kind::${KINDS[call.on] ?? 'kAny'}, ${text(call.argument)},
     {${(call.in ?? []).map((member) => words(at(member))).join(', ')}},
     {${(call.out ?? []).map((member) => words(at(member))).join(', ')}},
     ${call.chain ? at(call.chain).at : 0}, {${list ? `{${list.join(', ')}}` : ''}}, {${through.join(', ')}}, ${call.payload === true}},`
  })
}

const FLAGS = ['-std=c++20', '-O2', '-fPIC', '-shared', '-fvisibility=hidden', '-Wall', '-Wextra', '-Werror']

const stale = (made, sources) => {
  const time = statSync(made, { throwIfNoEntry: false })?.mtimeMs
  return time === undefined || sources.some((source) => statSync(join(ROOT, source)).mtimeMs > time)
}

const compile = (source, library) =>
  run(process.env.CXX ?? 'g++', [
    ...FLAGS,
    '-D_GNU_SOURCE',
    `-I${BUILD}`,
    '-Itest/record',
    source,
    '-o',
    library,
  ])

/** Builds the tests' libraries when they have to be: the recorder, and what fails allocations. Returns why not, if so. */
export const buildRecorder = () => {
  mkdirSync(BUILD, { recursive: true })
  if (stale(FAULTS, [FAULT_SOURCE])) {
    const problem = compile(FAULT_SOURCE, FAULTS)
    if (problem !== undefined) return problem
  }
  if (!stale(LIBRARY, SOURCES)) return undefined
  const rules = rulesOf(readManifest(), readCarried())
  writeFileSync(
    join(BUILD, 'rules.inc'),
    `namespace record {
inline const std::vector<Rule>& rules() {
  static const auto* all = new std::vector<Rule>{
${rules.join('\n')}
  };
  return *all;
}
}  // namespace record
`,
  )
  return compile('test/record/record.cc', LIBRARY)
}

/** Forgets what earlier runs recorded. */
export const forgetRecord = () => rmSync(RECORD, { recursive: true, force: true })

/** The environment in which a program's calls are recorded as those of a machine, and the folder it writes to. */
export const recording = (machine, part = '') => {
  const folder = join(RECORD, machine.replaceAll(' ', '-'), part)
  mkdirSync(folder, { recursive: true })
  // Tests have processes that are not root.
  chmodSync(folder, 0o1777)
  return { folder, env: { LD_PRELOAD: LIBRARY, NODE_VFIO_RECORD: folder } }
}

/** All that was recorded: { machine, kernel, test, function, call, mode, in, out, answer, errno }. */
export const readRecord = () => {
  if (!existsSync(RECORD)) return []
  return readdirSync(RECORD)
    .sort()
    .flatMap((machine) =>
      readdirSync(join(RECORD, machine), { recursive: true, encoding: 'utf8' })
        .filter((name) => name.endsWith('.jsonl'))
        .flatMap((name) =>
          readFileSync(join(RECORD, machine, name), 'utf8')
            .trim()
            .split('\n'),
        )
        .filter((line) => line !== '')
        .map((line) => ({ machine, ...JSON.parse(line) })),
    )
}
