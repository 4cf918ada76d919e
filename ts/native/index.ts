// Loads the addon and declares every function in it: the only file that touches it. Calls that reach the kernel can be
// watched here, on a diagnostics channel and under NODE_DEBUG=vfio.
import { channel } from 'node:diagnostics_channel'
import { createRequire } from 'node:module'
import { performance } from 'node:perf_hooks'
import { fileURLToPath } from 'node:url'
import { debuglog } from 'node:util'

import { ENOSYS, VfioError } from '../errors.js'
import { keepGuard } from '../sigbus.js'
import type { DeviceNative } from './device.js'
import type { IommufdFunctions } from './iommufd.js'

/** An environment's hold on a native object. Opaque. */
export interface NativeHandle {
  readonly handle: unique symbol
}

/** How a scalar access is called: arguments and result go through the exchange. */
type Access = () => void

/** The accessors of an environment, for all its regions. */
export interface RegisterAccessors {
  readonly read8: Access
  readonly read16: Access
  readonly read32: Access
  readonly read64: Access
  readonly read8Relaxed: Access
  readonly read16Relaxed: Access
  readonly read32Relaxed: Access
  readonly read64Relaxed: Access
  readonly write8: Access
  readonly write16: Access
  readonly write32: Access
  readonly write64: Access
  readonly write8Relaxed: Access
  readonly write16Relaxed: Access
  readonly write32Relaxed: Access
  readonly write64Relaxed: Access
  /** The number by which they know a region, in two parts. Never given twice. */
  enter(registers: NativeHandle): [region: number, generation: number]
}

/**
 * The addon. Every function does one thing and throws VfioError with the errno where the kernel refuses. Where a
 * function exists in two forms, the one whose name ends in Sync runs on the spot, the other on libuv's pool.
 */
export interface NativeAddon extends DeviceNative, IommufdFunctions {
  // -- handles --
  setErrorFactory(factory: (errno: number, syscall: string) => Error): void
  /** Lets go of the object; with `wait`, after the calls that run for this handle. */
  handleRelease(handle: NativeHandle, wait: boolean): void
  /** Lets go of the object off the main thread: closing a device resets it. */
  handleDestroy(handle: NativeHandle): Promise<void>
  /** Takes back the memory lent through the handle: its ArrayBuffers are detached. */
  handlePark(handle: NativeHandle): void
  /** The number by which `handleClaim` finds the object in another environment of this process. */
  handleShare(handle: NativeHandle): number
  handleClaim(token: number): NativeHandle
  /** How many handles of this process hold the object. */
  handleHolders(handle: NativeHandle): number
  handleFd(handle: NativeHandle): number
  handleKind(handle: NativeHandle): string

  // -- event --
  eventfdCreate(initial: number, semaphore: boolean): NativeHandle
  eventfdFromFd(fd: number): NativeHandle
  eventfdFunction(eventfd: NativeHandle, name: 'signal'): (value?: number) => void
  eventfdFunction(eventfd: NativeHandle, name: 'read'): () => number
  readonly pollerRingSize: number
  readonly pollerMostSpinMicros: number
  pollerOpen(ring: ArrayBuffer, dispatch: (count: number) => void, spinMicros: number): NativeHandle
  pollerClose(poller: NativeHandle): void
  pollerAdd(poller: NativeHandle, eventfd: NativeHandle, slot: number): void
  pollerRemove(poller: NativeHandle, slot: number): void
  pollerReference(poller: NativeHandle, referenced: boolean): void
  readonly waiterMostSpinMicros: number
  readonly waiterBatch: number
  /** Bytes from the start of the results to the indices that are ready. */
  readonly waiterReadyOffset: number
  waiterOpen(spinMicros: number): NativeHandle
  /** `wait` waits, without an argument for ever, and leaves in the results what came. */
  waiterFunction(waiter: NativeHandle): { wait: (milliseconds?: number) => void; results: ArrayBuffer }
  waiterAdd(waiter: NativeHandle, eventfd: NativeHandle): number
  waiterRemove(waiter: NativeHandle, index: number): void
  waiterWake(waiter: NativeHandle): void

  // -- memory --
  /** A memfd; `hugePageBits` is log2 of the huge page size, 0 for ordinary pages; `node` the NUMA node, if one. */
  memoryCreate(size: number, hugePageBits: number, node: number | null): NativeHandle
  memoryFromFd(fd: number): NativeHandle
  /** `sealed`: nobody can make it shorter. */
  memoryInfo(memory: NativeHandle): { size: number; pageSize: number; sealed: boolean }
  /** The physical address of each page, of memory that is locked for it; 0 where the process may not know. */
  memoryPages(memory: NativeHandle, offset: number, size: number): BigUint64Array
  memoryWindow(memory: NativeHandle, offset: number, length: number): ArrayBuffer
  pageSize(): number
  /** False when somebody replaced the SIGBUS handler while BARs are mapped. */
  guardIntact(): boolean
  /** Puts the guard over whatever handler of SIGBUS is there now; whether that worked. */
  guardRestore(): boolean

  // -- registers --
  /** `exchange` is laid out as in ts/device/accessors.ts; the caller keeps it as long as it calls the functions. */
  registersAccessors(exchange: ArrayBuffer): RegisterAccessors
  registersPoll(
    registers: NativeHandle,
    offset: number,
    width: number,
    mask: bigint,
    equals: bigint,
    timeoutMicros: number,
  ): bigint | null
  registersRead(registers: NativeHandle, offset: number, bytes: Uint8Array): void
  registersWrite(registers: NativeHandle, offset: number, bytes: Uint8Array): void
  registersClose(registers: NativeHandle): void
  registersRemap(registers: NativeHandle): void
  registersFaulted(registers: NativeHandle): boolean
  registersCounters(registers: NativeHandle): { fileAccesses: number; bulkBytes: number }
  /** Accessors over part of a file; `areas` is a flat list of offset, size pairs to map. */
  regionOpen(
    file: NativeHandle,
    fileOffset: number,
    size: number,
    readable: boolean,
    writable: boolean,
    areas: readonly number[],
  ): NativeHandle
  regionWindow(
    file: NativeHandle,
    fileOffset: number,
    length: number,
    readable: boolean,
    writable: boolean,
  ): ArrayBuffer

  // -- container --
  containerOpen(path: string): NativeHandle
  /** `iommu` is the extension number of the IOMMU driver that its maker set, or 0. */
  containerFromFd(fd: number, iommu: number): NativeHandle
  containerGetApiVersion(container: NativeHandle): number
  containerCheckExtension(container: NativeHandle, extension: number): number
  /** The extension number of the IOMMU driver that is set, as far as this process knows; 0 for none. */
  containerIommu(container: NativeHandle): number
  /** A 32-bit count: how often, through this process, a group came or left or the IOMMU driver was set. */
  containerChanges(container: NativeHandle): ArrayBuffer
  /** The bytes of vfio_iommu_type1_info and its capabilities. */
  containerGetInfo(container: NativeHandle): Uint8Array
  /** The mapping's owner, at whose release it is unmapped; `dmaMappingLeave` takes it over. */
  containerMapDmaSync(
    container: NativeHandle,
    memory: NativeHandle,
    offset: number,
    size: number,
    iova: bigint,
    flags: number,
  ): NativeHandle
  containerMapDma(
    container: NativeHandle,
    memory: NativeHandle,
    offset: number,
    size: number,
    iova: bigint,
    flags: number,
  ): Promise<NativeHandle>
  containerUnmapDma(container: NativeHandle, iova: bigint, size: number | bigint): Promise<bigint>
  containerUnmapAll(container: NativeHandle): bigint
  containerDirtyPages(container: NativeHandle, flags: number): void
  containerDirtyBitmap(container: NativeHandle, iova: bigint, size: bigint, pageSize: bigint): Uint8Array
  /** Unmaps; the marks that the range had until then. */
  containerUnmapDirty(container: NativeHandle, iova: bigint, size: bigint, pageSize: bigint): Uint8Array

  // -- group --
  groupOpen(path: string): NativeHandle
  groupFromFd(fd: number): NativeHandle
  groupGetStatus(group: NativeHandle): number
  /** A container without an IOMMU driver gets the first of `drivers`, extension numbers, that it knows. */
  groupSetContainer(group: NativeHandle, container: NativeHandle, drivers: readonly number[]): void
  groupContainer(group: NativeHandle): NativeHandle | null
  groupGetDeviceFdSync(group: NativeHandle, name: string): NativeHandle
  groupGetDeviceFd(group: NativeHandle, name: string): Promise<NativeHandle>

  // -- device --
  deviceFromFd(fd: number, owner: NativeHandle | null): NativeHandle
  deviceGetInfo(device: NativeHandle): Uint8Array
  deviceGetRegionInfo(device: NativeHandle, index: number): Uint8Array
  deviceGetIrqInfo(device: NativeHandle, index: number): Uint8Array
  /** 0; or how many vectors the host can spare, when that is fewer: none is on then. */
  deviceSetIrqs(
    device: NativeHandle,
    flags: number,
    index: number,
    start: number,
    count: number,
    data: readonly (NativeHandle | null)[] | Uint8Array | null,
  ): number
  /** Makes a signal of `eventfd` a write at `offset` of the device's file, until the handle is released. */
  deviceIoeventfd(
    device: NativeHandle,
    offset: number,
    width: number,
    data: bigint,
    eventfd: NativeHandle,
  ): NativeHandle
  deviceResetSync(device: NativeHandle): void
  deviceReset(device: NativeHandle): Promise<void>

  // -- kvm --
  kvmOpen(path: string): NativeHandle
  kvmFromFd(fd: number): NativeHandle
  kvmGetApiVersion(kvm: NativeHandle): number
  /** Of /dev/kvm or of a machine. */
  kvmCheckExtension(kvm: NativeHandle, extension: number): number
  kvmGetSupportedCpuid(kvm: NativeHandle): Uint8Array
  kvmCreateVm(kvm: NativeHandle, irqchip: string): NativeHandle
  /** The bytes of the statistics file of a machine or a vCPU. */
  kvmStatistics(handle: NativeHandle): Uint8Array
  vmFromFd(fd: number, irqchip: string, firstSlot: number): NativeHandle
  vmIrqchip(vm: NativeHandle): 'full' | 'split' | 'none'
  vmSetTssAddress(vm: NativeHandle, address: bigint): void
  vmSetIdentityMapAddress(vm: NativeHandle, address: bigint): void
  vmCreateIrqchip(vm: NativeHandle): void
  vmCreatePit(vm: NativeHandle): void
  /** The slot's number. `memory` is memory or a region's registers. */
  vmAddMemory(
    vm: NativeHandle,
    guestAddress: bigint,
    memory: NativeHandle,
    offset: number,
    size: number,
    flags: number,
  ): number
  vmChangeMemory(vm: NativeHandle, slot: number, flags: number): void
  vmRemoveMemory(vm: NativeHandle, slot: number): void
  vmDirtyLog(vm: NativeHandle, slot: number): Uint8Array
  /** Targets are flat pairs: address (bigint) and data, or chip and pin. */
  vmTakeRoute(vm: NativeHandle, gsi: number, targets: readonly (bigint | number)[]): void
  vmFreeRoute(vm: NativeHandle, gsi: number): void
  /**
   * All by one write of the table, or none: [null, targets] makes a route, [gsi, targets] changes one, [gsi, null] gives it
   * back. The GSIs, in order.
   */
  vmChangeRoutes(
    vm: NativeHandle,
    changes: readonly (readonly [gsi: number | null, targets: readonly (bigint | number)[] | null])[],
  ): number[]
  vmRouting(vm: NativeHandle): { limit: number; entries: number }
  vmSignalMsi(vm: NativeHandle, address: bigint, data: number): boolean
  vmSetIrqLine(vm: NativeHandle, gsi: number, level: boolean): void
  vmAddVfioFile(vm: NativeHandle, fd: number): void
  vmRemoveVfioFile(vm: NativeHandle, fd: number): void
  /** A handle that takes the wire away when it is released. */
  irqfdCreate(
    vm: NativeHandle,
    eventfd: NativeHandle,
    gsi: number,
    resample: NativeHandle | null,
  ): NativeHandle
  /** The same. */
  ioeventfdCreate(
    vm: NativeHandle,
    eventfd: NativeHandle,
    address: bigint,
    length: number,
    port: boolean,
    match: bigint | null,
  ): NativeHandle
  vcpuCreate(vm: NativeHandle, id: number): NativeHandle
  vcpuFromFd(vm: NativeHandle, fd: number, id: number): NativeHandle
  vcpuId(vcpu: NativeHandle): number
  /** struct kvm_run and the page of port data. */
  vcpuWindow(vcpu: NativeHandle): ArrayBuffer
  /** Runs the guest; the exit's reason, 2^32 - 1 when a kick ended it, nothing when the environment is ending. */
  vcpuRunner(vcpu: NativeHandle): () => number | undefined
  vcpuGetRegs(vcpu: NativeHandle): Uint8Array
  vcpuSetRegs(vcpu: NativeHandle, bytes: Uint8Array): void
  vcpuGetSregs(vcpu: NativeHandle): Uint8Array
  vcpuSetSregs(vcpu: NativeHandle, bytes: Uint8Array): void
  vcpuGetMpState(vcpu: NativeHandle): number
  vcpuSetMpState(vcpu: NativeHandle, state: number): void
  vcpuGetCpuid(vcpu: NativeHandle): Uint8Array
  vcpuSetCpuid(vcpu: NativeHandle, entries: Uint8Array): void
  vcpuKick(vcpu: NativeHandle): void
  vcpuHold(vcpu: NativeHandle, held: boolean): void
  vcpuHeld(vcpu: NativeHandle): boolean
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

function loadBinary(): Record<string, unknown> {
  const require = createRequire(import.meta.url)
  const chosen = process.env.NODE_VFIO_ADDON
  if (chosen !== undefined) return require(chosen) as Record<string, unknown>
  const bindings = require('bindings') as (options: object) => Record<string, unknown>
  // Named explicitly: its own search for the package's root goes through URLs and stumbles over '#' in a path.
  const root = fileURLToPath(new URL('.', import.meta.resolve('#package.json')))
  return bindings({ bindings: 'node_vfio', module_root: root })
}

function load(): NativeAddon {
  let binary: Record<string, unknown>
  try {
    if (process.platform !== 'linux')
      throw new Error(`VFIO is an interface of Linux, this is ${process.platform}`)
    binary = loadBinary()
  } catch (cause) {
    const error = new VfioError(ENOSYS, 'load addon', {
      reason: 'no-addon',
      remedy:
        process.platform === 'linux'
          ? 'The native part is not built: run `npm rebuild node-vfio` (it needs python3, make and a C++20 compiler).'
          : 'VFIO exists on Linux only; types and node-vfio/host work here.',
    })
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
  keepGuard(typed)
  return typed
}

let loaded: NativeAddon | undefined

/** The addon, loaded at first use: importing the package must work where it cannot be loaded. */
export function addon(): NativeAddon {
  return (loaded ??= load())
}
