// Tests run by ava: on the host, or inside the rig's guest.

import { readdirSync } from 'node:fs'
import { join, relative } from 'node:path'
import { Writable } from 'node:stream'
import { installPrograms } from './apt.mjs'
import { Lines, ROOT, runLines } from './process.mjs'
import { recording } from '../uapi/recorder.mjs'
import { say } from './say.mjs'
import { TapReader } from './tap.mjs'
import { threadsBelow } from './threads.mjs'

const AVA = join('node_modules', 'ava', 'entrypoints', 'cli.mjs')
const ava = (files, options) => [AVA, '--tap', ...options, ...files]

const pattern = (glob) =>
  new RegExp(
    `^${glob.replace(/\*\*\/|\*\*|\*|\?|[.+^${}()|[\]\\]/g, (part) => {
      if (part === '**/') return '(?:.*/)?'
      if (part === '**') return '.*'
      if (part === '*') return '[^/]*'
      return part === '?' ? '[^/]' : `\\${part}`
    })}$`,
  )

/** The compiled test files below a folder of test/; `filter` is a glob over paths such as `unit/pci/walk`. */
export const testFiles = (folder, filter) => {
  const base = join(ROOT, 'out', 'test')
  const chosen =
    filter === undefined ? /./ : pattern(filter.replace(/^test\//, '').replace(/\.test\.[jt]s$/, ''))
  let names
  try {
    names = readdirSync(join(base, folder), { recursive: true, encoding: 'utf8' })
  } catch {
    return []
  }
  return names
    .filter((name) => name.endsWith('.test.js'))
    .map((name) => join(folder, name))
    .filter((name) => chosen.test(name.replace(/\.test\.js$/, '')))
    .sort()
    .map((name) => relative(ROOT, join(base, name)))
}

// Without a result for that long, a file hangs: a failure then, and no run without an end.
const ON_HOST = ['--timeout', '5m']
// Before that: where it hangs, for the failure to tell.
const HOST_SILENCE = 2 * 60_000

/**
 * On this machine. `record` names the machine in the record of kernel calls; without it none is kept. `onTest` is called with
 * the title of each test that has ended.
 * @param {import('./results.mjs').Results} results
 * @param {string[]} files
 * @param {{ env?: Record<string, string | undefined>, options?: string[], quiet?: boolean, record?: string, onTest?: (title: string) => void }} options
 */
export const onHost = async (
  results,
  files,
  { env = {}, options = [], quiet = true, record, onTest } = {},
) => {
  if (files.length === 0) return
  const recorded = record === undefined ? {} : recording(record).env
  const reader = new TapReader(results, { quiet, onTest })
  let hanging = []
  const silence = {
    after: HOST_SILENCE,
    tell: (pid) => {
      hanging = [`where it was after ${HOST_SILENCE / 1000} s without a word:`, ...threadsBelow(pid)]
    },
  }
  const problem = await runLines(
    process.execPath,
    ava(files, options.includes('--timeout') ? options : [...ON_HOST, ...options]),
    (line) => reader.line(line),
    {
      silence,
      env: { ...process.env, ...recorded, ...env },
    },
  )
  reader.end(problem, hanging)
}

// Seconds. Everything is some ten times slower in an emulated processor, and real devices are shared.
const RIG_TIMEOUT = 3600
// Longer than ava waits for a test: then it is the machine that hangs.
const RIG_SILENCE = 8 * 60
const IN_RIG = ['--serial', '--concurrency', '1', '--timeout', '5m']

/** Programs that the tests in the rig compare with, and Debian's packages of them. */
const PEERS = { lspci: 'pciutils', mdevctl: 'mdevctl', driverctl: 'driverctl' }

/**
 * Everything that the rig needs on one of its machines, before tests run on several at once: downloads, the kernel, the
 * programs that it compares with. Returns why there can be no such machine here, if so.
 */
export const prepareRigTests = async ({ kernel }) => {
  // The guest sees the host's programs.
  const problem = installPrograms(PEERS, 'the rig compares with what they say and do')
  if (problem !== undefined) throw new Error(problem)
  const { prepareRig, whyNotBuilt } = await import('../../rig/index.mjs')
  const reason = kernel === 'built' ? whyNotBuilt() : undefined
  if (reason === undefined) await prepareRig({ kernel })
  return reason
}

/** The QEMU that is the client of devices in user space, before tests start it. */
export const prepareClientQemu = async () => {
  const { findVfioUserQemu } = await import('../../rig/index.mjs')
  await findVfioUserQemu()
}

/** The same, Debian's kernel for its guests, and a browser for their screens: without one its test is skipped. */
export const prepareUserGuests = async () => {
  const { prepareRig } = await import('../../rig/index.mjs')
  const browser = 'chromium-headless-shell'
  const problem = installPrograms({ [browser]: browser }, 'a browser opens the live page')
  if (problem !== undefined) say(problem)
  await prepareClientQemu()
  await prepareRig()
}

/**
 * In a guest with real VFIO, on one of the rig's machines. `record` and `part` name the machine and which of its parts this
 * is; without them `share` may name a folder that the tests write to. `onBegin` is called when the machine is up, or another in
 * its place, `onTest` with the title of each test that has ended.
 * @param {import('./results.mjs').Results} results
 * @param {string[]} files
 * @param {{ kernel?: string, iommu?: string, sriov?: boolean, record?: string, part?: string, env?: Record<string, string | undefined>, share?: string,
 *   label?: string, onBegin?: () => void, onTest?: (title: string) => void }} machine
 */
export const onRig = async (
  results,
  files,
  { kernel, iommu, sriov, record, part = '', env, share, label, onBegin, onTest },
) => {
  if (files.length === 0) return
  const { runInRig } = await import('../../rig/index.mjs')
  // Not imported above: on a fresh clone nothing is installed yet.
  const { bundled, bundleRigTests } = await import('./rig-bundle.mjs')
  await bundleRigTests()
  const reader = new TapReader(results, { label, onBegin, onTest })
  const lines = new Lines((line) => reader.line(line))
  const recorded = record === undefined ? undefined : recording(record, part)
  const { status, reason, gist } = await runInRig({
    kernel,
    iommu,
    sriov,
    env: { ...recorded?.env, ...env },
    share: recorded?.folder ?? share,
    command: [process.execPath, ...ava(files.map(bundled), IN_RIG)],
    timeout: RIG_TIMEOUT,
    silence: RIG_SILENCE,
    again: () => reader.again(),
    stdout: new Writable({
      decodeStrings: false,
      write(chunk, _encoding, done) {
        lines.write(String(chunk))
        done()
      },
    }),
  })
  lines.end()
  reader.end(status === 0 ? undefined : (reason ?? `exit status ${status} from the rig`), gist)
}
