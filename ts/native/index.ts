// Loads the addon: the only file that does. Calls that reach the kernel can be watched here, on a diagnostics channel and under
// NODE_DEBUG=vfio. What there is to call, the files beside it declare, one for each folder of native/.
import { channel } from 'node:diagnostics_channel'
import { createRequire } from 'node:module'
import { dirname, join, resolve } from 'node:path'
import { performance } from 'node:perf_hooks'
import { debuglog } from 'node:util'

import { ENOSYS, VfioError } from '../errors.js'
import { BINARY, glibcVersion, isBuilt, ways } from './binaries.js'
import type { DrmFunctions } from './drm.js'
import type { EventFunctions } from './event.js'
import type { IommufdFunctions } from './iommufd.js'
import type { KvmFunctions } from './kvm.js'
import type { MemoryFunctions } from './memory.js'
import { whyNoAddon } from './no-addon.js'
import type { SocketFunctions } from './socket.js'
import type { SupportFunctions } from './support.js'
import type { VfioFunctions } from './vfio.js'

export type { NativeHandle } from './handle.js'
export type { RegisterAccessors } from './memory.js'

/**
 * The addon. Every function does one thing and throws VfioError with the errno where the kernel refuses. Where a
 * function exists in two forms, the one whose name ends in Sync runs on the spot, the other on libuv's pool.
 */
export interface NativeAddon
  extends
    SupportFunctions,
    EventFunctions,
    MemoryFunctions,
    VfioFunctions,
    IommufdFunctions,
    KvmFunctions,
    SocketFunctions,
    DrmFunctions {
  /** What each folder of native/ gives, by the folder's name: for the test of these declarations. */
  areas(): Record<string, Record<string, unknown>>
}

/** What `node:diagnostics_channel` subscribers of `node-vfio:call` receive, after the call. */
export interface CallMessage {
  /** The native function, for example `containerMapDma`. */
  name: string
  arguments: readonly unknown[]
  /** 0, or the errno of the refusal. */
  errno: number
  durationMicros: number
}

const calls = channel('node-vfio:call')
const debug = debuglog('vfio')
const debugging = debug.enabled

/** Reached too often to be watched, or no kernel call at all. */
const UNWATCHED = new Set([
  'setErrorFactory',
  'handleHolders',
  'handleKind',
  'pollerReference',
  'fileWatchReference',
  'fileWatchWritable',
  'connectionFlush',
  'pageSize',
  'registersAccessors',
  'registersPoll',
  'registersFaulted',
  'registersCounters',
  'dmaMappingCount',
  'containerIommu',
  'containerChanges',
  'ioasChanges',
  'guardIntact',
  'guardRestore',
  'areas',
])

function report(name: string, args: readonly unknown[], started: number, error: unknown): void {
  const errno = error instanceof VfioError ? error.errno : 0
  const message: CallMessage = {
    name,
    arguments: args,
    errno,
    durationMicros: (performance.now() - started) * 1000,
  }
  calls.publish(message)
  debug(
    '%s(%o) %s %dus',
    name,
    args,
    error instanceof Error ? `${error.name}: ${error.message}` : 'ok',
    Math.round(message.durationMicros),
  )
}

type AnyFunction = (...args: unknown[]) => unknown

/** Whether somebody watches calls now. */
export function watching(): boolean {
  return debugging || calls.hasSubscribers
}

/** Makes a call and tells who watches of it. */
export function tell<T>(name: string, args: readonly unknown[], call: () => T): T {
  const started = performance.now()
  let result: T
  try {
    result = call()
  } catch (error) {
    report(name, args, started, error)
    throw error
  }
  if (result instanceof Promise) {
    result.then(
      () => {
        report(name, args, started, undefined)
      },
      (error: unknown) => {
        report(name, args, started, error)
      },
    )
  } else {
    report(name, args, started, undefined)
  }
  return result
}

/** The folder of this package. A bundle has none, but the package itself may still be installed where it runs. */
function packageFolder(): string | undefined {
  // A bundle in the older module format has no address.
  const url = import.meta.url as string | undefined
  if (url === undefined) return undefined
  const require = createRequire(url)
  for (const name of ['#package.json', 'node-vfio/package.json']) {
    try {
      return dirname(require.resolve(name))
    } catch {
      // a bundle's own package.json is not this one
    }
  }
  return undefined
}

function loadBinary(root: string | undefined): Record<string, unknown> {
  if (process.platform !== 'linux')
    throw new Error(`VFIO is an interface of Linux, this is ${process.platform}`)
  const chosen = process.env.NODE_VFIO_ADDON
  if (chosen !== undefined) {
    const file = resolve(chosen)
    return createRequire(file)(file) as Record<string, unknown>
  }
  if (root === undefined) throw new Error('the folder of the package node-vfio was not found')
  // From the package, which need not be where the code is: `bindings` is its dependency.
  const bindings = createRequire(join(root, 'package.json'))('bindings') as (
    options: object,
  ) => Record<string, unknown>
  // Named explicitly: its own search for the package's root goes through URLs and stumbles over '#' in a path.
  return bindings({ bindings: BINARY, module_root: root, try: ways(root) })
}

function load(): NativeAddon {
  let binary: Record<string, unknown>
  const root = packageFolder()
  try {
    binary = loadBinary(root)
  } catch (cause) {
    const { platform, arch, env } = process
    const remedy = whyNoAddon({
      error: cause,
      platform,
      arch,
      chosen: env.NODE_VFIO_ADDON,
      root,
      built: root !== undefined && isBuilt(root),
      glibc: glibcVersion(),
    })
    const error = new VfioError(ENOSYS, 'load addon', { reason: 'no-addon', remedy })
    error.cause = cause
    throw error
  }
  const functions: object = {}
  for (const [name, value] of Object.entries(binary)) {
    if (typeof value !== 'function' || UNWATCHED.has(name)) {
      Object.defineProperty(functions, name, { value })
      continue
    }
    // Decided when the function is fetched, which costs a call nothing; a wrapper that forwards arguments does.
    const call = value as AnyFunction
    const told: AnyFunction = (...args) => tell(name, args, () => call(...args))
    Object.defineProperty(functions, name, { get: (): unknown => (watching() ? told : call) })
  }
  // Inherited, since V8 takes what a prototype holds for constant, while so many own properties make a hash table.
  const typed = Object.create(functions) as NativeAddon
  typed.setErrorFactory((errno, syscall) => new VfioError(errno, syscall))
  for (const call of waiting.splice(0)) call(typed)
  return typed
}

let loaded: NativeAddon | undefined
const waiting: ((addon: NativeAddon) => void)[] = []

/** Has a call made as soon as the addon is there. It is not loaded for that. */
export function whenLoaded(call: (addon: NativeAddon) => void): void {
  if (loaded === undefined) waiting.push(call)
  else call(loaded)
}

/** The addon, loaded at first use: importing the package must work where it cannot be loaded. */
export function addon(): NativeAddon {
  return (loaded ??= load())
}
