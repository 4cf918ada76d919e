// What the unit tests share: other processes and Workers that run a piece of code against the package, counting what a
// process holds, and a region without a device. It must not know what is tested with it.
import { spawn } from 'node:child_process'
import {
  ftruncateSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  rmSync,
} from 'node:fs'
import { stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'

import { type RegionInfo } from '../../ts/uapi/vfio/device-info.js'
import { KernelRegisters } from '../../ts/device/kernel/registers.js'
import { Region } from '../../ts/device/region.js'
import { GuestMemory } from '../../ts/memory/guest-memory.js'

/**
 * Runs under AddressSanitizer or ThreadSanitizer, whose code is slower, whose freed memory stays, and whose look for leaks at
 * the end of a process takes seconds: bounds of time and memory are then what would still show a hang or a leak that grows.
 */
export const SANITIZED = process.env.ASAN_OPTIONS !== undefined || process.env.TSAN_OPTIONS !== undefined

// libuv starts all threads of its pool when the first of them is needed, which newer versions of Node.js do not do by
// themselves before a test. They start now, so that none is taken for what a test left.
await stat('/')

/** The compiled modules by name, for code that runs elsewhere. */
const MODULES = {
  vfio: new URL('../../ts/index.js', import.meta.url).href,
  native: new URL('../../ts/native/index.js', import.meta.url).href,
  support: new URL('./support.js', import.meta.url).href,
}

const IMPORTS = `const vfio = await import(${JSON.stringify(MODULES.vfio)});
const { addon } = await import(${JSON.stringify(MODULES.native)});
const support = await import(${JSON.stringify(MODULES.support)});`

export interface ChildResult {
  status: number | null
  signal: NodeJS.Signals | null
  stdout: string
  stderr: string
}

/** Runs code in a process of its own, as a module in which `vfio`, `addon` and `support` are there. */
export function inChild(
  code: string,
  {
    args = [],
    env = {},
    bare = false,
    wrapper = [],
  }: { args?: string[]; env?: Record<string, string>; bare?: boolean; wrapper?: readonly string[] } = {},
): Promise<ChildResult> {
  return new Promise((resolve, reject) => {
    const program = bare ? code : `${IMPORTS}\n${code}`
    const [file, ...all] = [...wrapper, process.execPath, ...args, '--input-type=module', '-e', program]
    const child = spawn(file, all, {
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: 60_000,
    })
    let stdout = ''
    let stderr = ''
    child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()))
    child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()))
    child.on('error', reject)
    child.on('close', (status, signal) => {
      resolve({ status, signal, stdout, stderr })
    })
  })
}

/** The module URL of the public surface, for children that import by themselves. */
export const packageUrl = MODULES.vfio

/** Runs code in a Worker, in an async function in which `vfio`, `addon`, `support`, `port` and `data` are there. */
export function inWorker(code: string, data?: unknown): Worker {
  const program = `const { parentPort: port, workerData: data } = require('node:worker_threads');
(async () => { ${IMPORTS}\n${code}\n})().catch((error) => { setImmediate(() => { throw error }) })`
  const worker = new Worker(program, { eval: true, execArgv: [], workerData: data })
  ends.set(worker, new Promise((resolve) => worker.once('exit', resolve)))
  return worker
}

// Listened for from the start: a Worker may end while its test still waits for what it said last.
const ends = new WeakMap<Worker, Promise<number>>()

/** The exit code of a Worker that `inWorker` made, once it has ended. */
export async function ended(worker: Worker): Promise<number> {
  const end = ends.get(worker)
  if (end === undefined) throw new TypeError('ended() is for Workers of inWorker()')
  return end
}

/** The next message of a Worker; its error, or its end without one, rejects. */
export function message(worker: Worker): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const onExit = (code: number): void => {
      reject(new Error(`the Worker ended (${String(code)}) without a message`))
    }
    worker.once('exit', onExit)
    worker.once('error', reject)
    worker.once('message', (value) => {
      worker.off('exit', onExit)
      worker.off('error', reject)
      resolve(value)
    })
  })
}

export interface Held {
  /** What each descriptor that this package makes is, sorted. */
  descriptors: string[]
  /** Mappings of memfds. */
  mappings: number
  threads: number
}

/** What this process holds of what the package makes; Node's own descriptors come and go and are left out. */
export function held(): Held {
  const descriptors: string[] = []
  for (const fd of readdirSync('/proc/self/fd')) {
    try {
      const target = readlinkSync(`/proc/self/fd/${fd}`)
      if (/eventfd|eventpoll|memfd|vfio/.test(target)) descriptors.push(target)
    } catch {
      // The descriptor of the listing itself.
    }
  }
  const mappings = readFileSync('/proc/self/maps', 'utf8').match(/memfd:node-vfio/g)?.length ?? 0
  return { descriptors: descriptors.sort(), mappings, threads: readdirSync('/proc/self/task').length }
}

/** Waits until a condition holds; gives up, without complaint, after a while: the assertion behind it complains. */
export async function until(condition: () => boolean, milliseconds = 5000): Promise<void> {
  const end = performance.now() + milliseconds
  while (!condition() && performance.now() < end) await sleep(5)
}

/** Memory in a file that can be cut short, as that of others can; what is made here is sealed. */
export function shrinkableMemory(size: number): GuestMemory {
  const folder = mkdtempSync(join(tmpdir(), 'node-vfio-memory-'))
  try {
    const fd = openSync(join(folder, 'memory'), 'w+')
    ftruncateSync(fd, size)
    return GuestMemory.fromFd(fd)
  } finally {
    rmSync(folder, { recursive: true })
  }
}

/** A region of a kind over memory: all of it mapped by default. */
export function memoryRegion(
  memory: GuestMemory,
  {
    flags = {},
    guard = true,
    size = memory.size,
    capabilities = [],
    decodes = () => true,
    memoryLike = false,
  }: {
    flags?: Partial<RegionInfo['flags']>
    guard?: boolean
    size?: number
    capabilities?: RegionInfo['capabilities']
    decodes?: () => boolean
    memoryLike?: boolean
  } = {},
): Region {
  const info: RegionInfo = {
    index: 0,
    flags: { read: true, write: true, mmap: true, raw: 7, ...flags },
    size,
    fileOffset: 0,
    capabilities,
  }
  return new Region(info, {
    label: 'bar0 of the test',
    name: 'bar0',
    backend: { openRegion: (of, areas) => new KernelRegisters(() => memory.native, of, areas) },
    msixTable: null,
    memoryLike,
    guard,
    decodes,
    owner: memory,
  })
}
