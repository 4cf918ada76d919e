// The fuzzing itself: draws a member of the surface, something to call it on, and arguments; makes the call; judges what
// comes out. At the end everything is closed, and the process must hold no more than at its start.
import { execFileSync } from 'node:child_process'
import {
  closeSync,
  existsSync,
  fstatSync,
  openSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  writeSync,
  ftruncateSync,
} from 'node:fs'
import { setImmediate as turn, setTimeout as sleep } from 'node:timers/promises'
import { inspect, parseArgs } from 'node:util'

import * as host from '../../ts/host/index.js'
import * as vfio from '../../ts/index.js'
import { InterruptIndex } from '../../ts/device/interrupts.js'
import { addon } from '../../ts/native.js'
import { Kvm, type Vm } from '../../ts/kvm/index.js'
import { memoryRegion } from '../unit/support.js'
import { RARE, type Target, limit } from './limits.js'
import { Random, Values } from './random.js'
import { type Member, isClass, surfaceOf, surfaceOfObject } from './surface.js'

const { values: options } = parseArgs({
  options: {
    seed: { type: 'string', default: String((Date.now() % 1_000_000) + 1) },
    calls: { type: 'string', default: '100000' },
    host: { type: 'boolean', default: false },
    log: { type: 'string' },
    list: { type: 'boolean', default: false },
  },
})

const seed = Number(options.seed)
const total = Number(options.calls)
const random = new Random(seed)
const DEVICES = ['edu', 'nvme', 'e1000e', 'ivshmem']
const LIVE_PER_KIND = 12
/** Objects that no class of the surface makes, by the name they go under. */
const OBJECT_KINDS = ['DirtyTracking', 'EventIterator', 'InterruptListener']
const ALLOWED = [TypeError, RangeError, vfio.VfioError]

process.on('warning', () => undefined)

const classes = new Map<string, { prototype: object }>()
for (const [name, value] of Object.entries({ ...host, ...vfio } as Record<string, unknown>)) {
  if (isClass(value)) classes.set(name, value)
}

// -- what there is to call things on --

const live = new Map<string, Target[]>()
const dead = new Map<string, Target[]>()

function poolOf(pools: Map<string, Target[]>, kind: string): Target[] {
  let pool = pools.get(kind)
  if (pool === undefined) pools.set(kind, (pool = []))
  return pool
}

function closedOf(value: object): boolean {
  const { closed } = value as { closed?: unknown }
  return closed === true
}

function closeObject(value: object): unknown {
  const closable = value as Partial<Record<'close' | 'return', () => unknown>>
  // No class of the surface keeps something open that has neither.
  return (closable.close ?? closable.return)?.call(value)
}

async function bury(target: Target): Promise<void> {
  if (!(target.value instanceof vfio.Region) && !(target.value instanceof vfio.InterruptIndex))
    await closeObject(target.value)
  const graves = poolOf(dead, target.kind)
  if (graves.length < 8) graves.push(target)
}

async function admit(value: unknown, device: string | null): Promise<void> {
  if (typeof value !== 'object' || value === null) return
  const own = value instanceof vfio.VfioDevice ? deviceName(value) : device
  let kind = [...classes].find(([, { prototype }]) =>
    Object.prototype.isPrototypeOf.call(prototype, value),
  )?.[0]
  if (kind === undefined && 'next' in value && Symbol.asyncIterator in value) kind = 'EventIterator'
  if (kind === undefined && 'bitmap' in value && 'start' in value) kind = 'DirtyTracking'
  if (kind === undefined && 'close' in value && Symbol.dispose in value) kind = 'InterruptListener'
  if (kind === undefined) return
  const pool = poolOf(live, kind)
  if (pool.some((each) => each.value === value)) return
  if (pool.length >= LIVE_PER_KIND) {
    const [evicted] = pool.splice(random.below(pool.length), 1)
    if (evicted !== undefined) await bury(evicted)
  }
  pool.push({ value, kind, device: own })
}

const addresses = options.host
  ? {}
  : (JSON.parse(process.env.NODE_VFIO_RIG ?? '{"devices":{}}') as { devices: Record<string, string> }).devices

function deviceName(device: vfio.VfioDevice): string {
  return Object.entries(addresses).find(([, address]) => address === device.name)?.[0] ?? 'unknown'
}

async function openDevice(name: string): Promise<void> {
  const device = await vfio.VfioDevice.open(addresses[name] ?? '')
  // Its own answer to a request is to close the device, which trigger() on `req` asks for all the time.
  device.onRequest = () => undefined
  device.onError = () => undefined
  await admit(device, name)
  for (const region of device.regions()) await admit(region, name)
  for (const irq of ['intx', 'msi', 'msix'] as const) await admit(device.irq(irq), name)
  await admit(device.config, name)
  await admit(device.config.command, name)
  await admit(device.features, name)
  await admit(device.features.lowPower, name)
  await admit(device.features.dmaLogging, name)
  await admit(device.hotReset, name)
  await admit(device.addressSpace, name)
  await admit(device.addressSpace.dirtyTracking, name)
  await admit(await device.addressSpace.allocate(8192, { below: 1n << 28n }), name)
}

let machine: Vm | undefined

/** A machine without a processor, for what is wired to one. */
function vm(): Vm {
  if (!existsSync('/dev/kvm')) execFileSync('modprobe', ['kvm_amd'])
  if (machine === undefined) {
    using kvm = Kvm.open()
    machine = kvm.createVm()
  }
  return machine
}

/** What joins a device to a guest. What is taken already, by a call of the fuzzer's, is tried again later. */
async function refillWires(missing: (kind: string) => boolean): Promise<void> {
  const source = await newEventFd()
  const makers: Record<string, () => object> = {
    MsiWire: () => vfio.wireMsi(vm(), source, { address: 0xfee0_0000n, data: 65 }),
    DoorbellWire: () =>
      vfio.wireDoorbell(
        vm(),
        { mmio: BigInt(0xd000_0000 + 8 * random.below(512)), length: 4 },
        () => undefined,
      ),
    IntxWire: () => vfio.wireIntx(vm(), device('edu'), { gsi: 10 }),
    DeviceIoeventfd: () =>
      device('edu')
        .region('bar0')
        .ioeventfd(4, { width: 4, data: random.below(1000) }),
    PciPassthrough: () => new vfio.PciPassthrough(vm(), device('ivshmem')),
  }
  for (const [kind, make] of Object.entries(makers)) {
    if (!missing(kind)) continue
    try {
      await admit(make(), null)
    } catch (error) {
      if (!ALLOWED.some((type) => error instanceof type)) throw error
    }
  }
}

function device(name: string): vfio.VfioDevice {
  const found = poolOf(live, 'VfioDevice').find((each) => each.device === name)
  if (found === undefined) throw new RangeError(`${name} is closed`)
  return found.value as vfio.VfioDevice
}

/** An interrupt index over nothing, where there are no devices. */
function fakeInterrupts(): InterruptIndex {
  const info = {
    index: 2,
    count: 8,
    flags: { eventfd: true, maskable: true, automasked: random.chance(0.5), noresize: true, raw: 15 },
  }
  return new InterruptIndex(info, {
    backend: { setIrqs: () => undefined } as never,
    label: 'fake',
    exclusive: undefined,
  })
}

/**
 * What only mediated devices have, over a handle of another kind: what gets through the checks of arguments is refused by
 * the addon.
 */
async function refillWithoutDevice(missing: (kind: string) => boolean): Promise<void> {
  const native = (): ReturnType<ReturnType<typeof addon>['memoryCreate']> =>
    addon().memoryCreate(4096, 0, null)
  const running = Uint8Array.of(2, 0, 0, 0, 0, 0, 0, 0)
  const region = (): vfio.Region => {
    const memory = vfio.GuestMemory.create(4096)
    const made = memoryRegion(memory)
    memory.close()
    return made
  }
  const makers: Record<string, () => object> = {
    DmaBufFile: () => new vfio.DmaBufFile(native()),
    MigrationStream: () => new vfio.MigrationStream(native(), 'fake', true),
    GfxEdid: () => new vfio.GfxEdid(region()),
    DeviceGfx: () =>
      new vfio.DeviceGfx(
        { native: native(), label: 'fake', region, regions: () => [region()] },
        { region: true, dmabuf: random.chance(0.5) },
      ),
    DeviceMigration: () =>
      new vfio.DeviceMigration(
        {
          backend: { feature: () => running },
          label: 'fake',
          native: native(),
          closed: false,
          inFlight: (call) => call(),
          reset: () => Promise.resolve(),
          resetClosing: () => undefined,
        },
        { stopCopy: true, p2p: random.chance(0.5), preCopy: random.chance(0.5) },
      ),
  }
  for (const [kind, make] of Object.entries(makers)) if (missing(kind)) await admit(make(), null)
}

function prune(): void {
  for (const [kind, pool] of live) {
    const gone = pool.filter(({ value }) => closedOf(value))
    if (gone.length === 0) continue
    live.set(
      kind,
      pool.filter((target) => !gone.includes(target)),
    )
    const graves = poolOf(dead, kind)
    for (const target of gone) if (graves.length < 8) graves.push(target)
  }
}

const KEEP_OPEN = 3

/** Makes what is missing, so that every member finds something to be called on. */
async function newEventFd(): Promise<vfio.EventFd> {
  const eventfd = new vfio.EventFd()
  await admit(eventfd, null)
  return eventfd
}

const IOMMUFD = existsSync('/dev/iommu')
/** No instance of these: the IOMMU of the rig has no vIOMMU, and kernels of distributions have no iommufd. */
const WITHOUT_INSTANCE = new Set([
  ...['Viommu', 'Vdevice', 'HwQueue', 'EventQueue'],
  ...(IOMMUFD ? [] : ['Iommufd', 'Hwpt', 'HwptDirtyTracking', 'FaultQueue']),
])

/** What lives in an iommufd; page tables only where the device is bound to one. */
async function refillIommufd(missing: (kind: string) => boolean): Promise<void> {
  if (!IOMMUFD) return
  if (missing('Iommufd')) await admit(vfio.Iommufd.open(), null)
  if (missing('FaultQueue')) {
    const iommufd = vfio.Iommufd.open()
    await admit(vfio.FaultQueue.allocate(iommufd), null)
    iommufd.close()
  }
  if (options.host || !missing('Hwpt')) return
  const bound = device('edu')
  if (bound.iommufdId === null) return
  const hwpt = vfio.Hwpt.allocate(bound, bound.addressSpace)
  await admit(hwpt, null)
  await admit(hwpt.dirtyTracking, null)
}

async function refill(): Promise<void> {
  prune()
  const missing = (kind: string): boolean => poolOf(live, kind).length < KEEP_OPEN
  if (missing('EventFd')) await admit(new vfio.EventFd(), null)
  if (missing('SignalPoller')) await admit(new vfio.SignalPoller().unref(), null)
  if (missing('SignalWaiter')) await admit(new vfio.SignalWaiter([await newEventFd()]), null)
  if (missing('GuestMemory')) await admit(vfio.GuestMemory.create(16_384), null)
  if (missing('VfioError')) await admit(new vfio.VfioError(22, 'fuzz'), null)
  if (missing('DirtyBitmap')) await admit(new vfio.DirtyBitmap(Uint8Array.of(5), 0n, 8, 4096), null)
  if (missing('EventIterator')) {
    const eventfd = new vfio.EventFd()
    await admit(eventfd, null)
    await admit(eventfd[Symbol.asyncIterator](), null)
  }
  await refillWithoutDevice(missing)
  if (options.host) {
    if (missing('Region')) {
      const memory = vfio.GuestMemory.create(8192)
      const region = memoryRegion(memory, { memoryLike: true, guard: random.chance(0.7) })
      memory.close()
      await admit(region, null)
      await admit(new vfio.PciConfig(region), null)
      await admit(new vfio.PciCommand(region), null)
    }
    if (missing('InterruptIndex')) await admit(fakeInterrupts(), null)
    return
  }
  const open = poolOf(live, 'VfioDevice')
  for (const name of DEVICES) {
    if (!open.some((each) => each.device === name)) await openDevice(name)
  }
  // Regions, interrupts and spaces of closed devices go with them.
  for (const kind of [
    'Region',
    'InterruptIndex',
    'PciConfig',
    'PciCommand',
    'DeviceFeatures',
    'LowPower',
    'DmaLogging',
    'HotReset',
    'AddressSpace',
    'DirtyTracking',
  ]) {
    if (poolOf(live, kind).length < 2) await refreshParts()
  }
  await refillIommufd(missing)
  await refillWires((kind) => poolOf(live, kind).length === 0)
}

async function refreshParts(): Promise<void> {
  for (const { value, device } of Array.from(poolOf(live, 'VfioDevice'))) {
    const open = value as vfio.VfioDevice
    for (const region of open.regions()) await admit(region, device)
    await admit(open.irq('msi'), device)
    await admit(open.config, device)
    await admit(open.config.command, device)
    await admit(open.features, device)
    await admit(open.features.lowPower, device)
    await admit(open.features.dmaLogging, device)
    await admit(open.hotReset, device)
    if (!open.addressSpace.closed) {
      await admit(open.addressSpace, device)
      await admit(open.addressSpace.dirtyTracking, device)
    }
  }
}

// -- the calls --

const logFile = options.log === undefined ? null : openSync(options.log, 'w')
let logged = 0
const recent: string[] = []

function note(text: string): void {
  recent.push(text)
  if (recent.length > 25) recent.shift()
  if (logFile === null) return
  if (++logged % 2000 === 0) ftruncateSync(logFile, 0)
  writeSync(logFile, `${text}\n`, logged % 2000 === 0 ? 0 : null)
}

function brief(value: unknown): string {
  try {
    return inspect(value, { depth: 1, breakLength: Infinity, maxArrayLength: 4, maxStringLength: 30 }).slice(
      0,
      120,
    )
  } catch {
    return typeof value
  }
}

const untidy = new Map<string, number>()
const outcomes = { returned: 0, refused: 0, vfio: 0 }

class Finding extends Error {}

function judge(member: Member, error: unknown): void {
  if (error instanceof Finding) throw error
  if (!ALLOWED.some((type) => error instanceof type)) {
    throw new Finding(`${member.name} threw ${inspect(error).slice(0, 2000)}`)
  }
  const { message, stack = '' } = error as Error
  if (error instanceof vfio.VfioError) outcomes.vfio++
  else outcomes.refused++
  // V8's own words instead of a check's: allowed, but worth a look.
  if (
    /Cannot (read|mix|destructure|convert)|is not a function|is not iterable|not an object|Receiver/.test(
      message,
    )
  ) {
    const place = /\n\s+at (.*)\n?/.exec(stack)?.[1] ?? ''
    const what = `${member.name}: ${message.slice(0, 80)} (${place.replace(/file:\S*\/out\//, '')})`
    untidy.set(what, (untidy.get(what) ?? 0) + 1)
  }
}

function pick(member: Member, alive: boolean): Target | null {
  const kind = member.owner ?? ''
  const pools = alive ? [live, dead] : [dead, live]
  for (const pool of pools) {
    const targets = pool.get(kind)
    if (targets !== undefined && targets.length > 0) return random.of(targets)
  }
  return null
}

function anyObject(): unknown {
  const kinds = [...live.values(), ...dead.values()].filter((pool) => pool.length > 0)
  return random.of(random.of(kinds)).value
}

const values = new Values(random, anyObject)

/** Arguments of the right shape, more often than chance: the interesting errors lie behind the first check. */
function argumentsFor(member: Member): unknown[] {
  const args = values.list(random.below(4))
  const key = String(member.key)
  if (member.action === 'set') return [random.chance(0.4) ? random.chance(0.5) : values.value()]
  if (random.chance(0.5)) return args
  if (/^(read|write)(8|16|32|64)/.test(key)) {
    const wide = key.includes('64')
    return [values.number(), wide ? BigInt(random.below(1000)) : random.below(256), ...args].slice(0, 2)
  }
  if (/^poll(32|64)$/.test(key)) return [random.below(64) * 8, values.options(0)]
  if (key === 'read' || key === 'write') return [random.below(5000), values.bytes()]
  if (key === 'claim') return [tokenOf(anyObject())]
  if (key === 'map' || key === 'mapSync') return [memoryOf(anyObject()), values.options(0)]
  if (key === 'add') return [random.of(poolOf(live, 'EventFd')).value, () => undefined]
  if (key === 'remove') return [random.of(poolOf(live, 'EventFd')).value]
  if (key === 'enable')
    return [
      random.chance(0.5)
        ? random.below(5)
        : random.chance(0.5)
          ? values.options(0)
          : [random.of(poolOf(live, 'EventFd')).value, null],
    ]
  if (key === 'listen') return [() => undefined, random.chance(0.5) ? undefined : { vector: random.below(4) }]
  if (key === 'set')
    return [random.below(5), random.chance(0.3) ? null : random.of(poolOf(live, 'EventFd')).value]
  if (/^(mask|unmask|trigger|has)$/.test(key)) return [random.below(6)]
  if (/^(create|allocate|allocateSync|window|view|isMapped)$/.test(key))
    return [random.below(9000), random.chance(0.5) ? random.below(9000) : values.options(0)]
  if (key === 'region' || key === 'irq') return [random.below(10)]
  if (key === 'unmap' || key === 'unmapSync')
    return [BigInt(random.below(64)) * 4096n, 4096 * random.below(64)]
  if (key === 'bitmap') return [BigInt(random.below(64)) * 4096n, 4096 * random.below(64), 4096]
  if (key.startsWith('open'))
    return [random.chance(0.1) ? random.of(Object.values(addresses)) : values.value(), ...args]
  return args
}

function tokenOf(value: unknown): unknown {
  try {
    return (value as { share?: () => unknown }).share?.() ?? value
  } catch {
    return value
  }
}

function memoryOf(value: unknown): unknown {
  try {
    return random.chance(0.5) ? value : ((value as { buffer?: unknown }).buffer ?? value)
  } catch {
    return value
  }
}

const covered = new Map<string, number>()

/** False when there was nothing to call it on. */
async function callOnce(member: Member, exports: Record<string, unknown>): Promise<boolean> {
  const rare = RARE[member.name]
  const gentle = rare !== undefined && !random.chance(rare)
  const target = member.onInstance ? pick(member, !gentle && random.chance(0.85)) : null
  if (member.onInstance && target === null) return false
  if (gentle && target !== null && !closedOf(target.value)) return false
  const args = argumentsFor(member)
  if (gentle && target === null && typeof args[0] === 'string' && Object.values(addresses).includes(args[0]))
    args[0] = ''
  const adopted: number[] = []
  limit(member, target, args, random, adopted)
  note(
    `${member.name} on ${target === null ? 'the class' : `${target.device ?? ''} ${brief(target.value).slice(0, 40)}`} (${args.map(brief).join(', ')})`,
  )
  covered.set(member.name, (covered.get(member.name) ?? 0) + 1)
  const holder = member.owner === null ? null : (classes.get(member.owner) as object | undefined)
  let result: unknown
  try {
    if (member.action === 'new')
      result = Reflect.construct(exports[member.owner ?? ''] as new () => object, args)
    else if (target !== null && member.action === 'get') result = Reflect.get(target.value, member.key)
    else if (target !== null && member.action === 'set') Reflect.set(target.value, member.key, args[0])
    else {
      const callee = target?.value ?? holder
      const call = (
        callee === null || callee === undefined
          ? exports[String(member.key)]
          : Reflect.get(callee, member.key)
      ) as (...args: unknown[]) => unknown
      result = Reflect.apply(call, callee, args)
    }
    // The next event of an iterator may never come: what the promise becomes is none of this call's business.
    if (result instanceof Promise) {
      if (member.owner === 'EventIterator') result.catch(() => undefined)
      else result = await result
    }
    outcomes.returned++
  } catch (error) {
    judge(member, error)
    for (const fd of adopted) closeSync(fd)
    return true
  }
  for (const fd of adopted) closeTaken(fd)
  const found = Array.isArray(result) ? result : [result]
  for (const each of found) await admit(each, target?.device ?? null)
  return true
}

/** What a call that returned has taken over is closed with its object; what it ignored is ours. */
function closeTaken(fd: number): void {
  try {
    fstatSync(fd)
    if (readlinkSync(`/proc/self/fd/${String(fd)}`) === '/dev/null') closeSync(fd)
  } catch {
    // Closed already.
  }
}

// -- counting --

interface Count {
  descriptors: Record<string, number>
  /** What each counted descriptor leads to. */
  targets: string[]
  mappings: number
  threads: number
}

function count(): Count {
  // The first that matches counts: a machine's KVM-VFIO device is KVM's.
  const descriptors: Record<string, number> = {
    ...{ eventfd: 0, eventpoll: 0, memfd: 0 },
    ...{ kvm: 0, vfio: 0, iommu: 0, null: 0 },
  }
  const targets: string[] = []
  for (const fd of readdirSync('/proc/self/fd')) {
    try {
      const target = readlinkSync(`/proc/self/fd/${fd}`)
      // The guard's page, made with the first mapped region and kept: whether that was before the first count is chance.
      if (target.includes('memfd:node-vfio-ones')) continue
      const kind = Object.keys(descriptors).find((each) => target.includes(each))
      if (kind === undefined) continue
      descriptors[kind] = (descriptors[kind] ?? 0) + 1
      targets.push(target)
    } catch {
      // The listing's own.
    }
  }
  const mappings = readFileSync('/proc/self/maps', 'utf8').match(/memfd:node-vfio|vfio/g)?.length ?? 0
  // The addon's own text is mapped from a file that may have vfio in its name.
  const own = readFileSync('/proc/self/maps', 'utf8').match(/\.node$/gm)?.length ?? 0
  const threads = readdirSync('/proc/self/task').length
  return { descriptors, targets, mappings: mappings - own, threads }
}

function excess(before: Count, after: Count): string[] {
  const found: string[] = []
  for (const [kind, number] of Object.entries(after.descriptors)) {
    const had = before.descriptors[kind] ?? 0
    if (number <= had) continue
    // Which they are, old ones among them: the numbers of descriptors are used again, and say nothing.
    const open = after.targets.filter((target) => target.includes(kind))
    found.push(`${String(number - had)} descriptors (${kind}), among ${open.join(' ')}`)
  }
  if (after.mappings > before.mappings) found.push(`${String(after.mappings - before.mappings)} mappings`)
  if (after.threads > before.threads) found.push(`${String(after.threads - before.threads)} threads`)
  return found
}

async function closeAll(): Promise<void> {
  prune()
  // Listeners and loops before what they listen to; devices before their space.
  const order = [
    'PciPassthrough',
    'MsiWire',
    'IntxWire',
    'DoorbellWire',
    'DeviceIoeventfd',
    'InterruptListener',
    'EventIterator',
    'SignalPoller',
    'SignalWaiter',
    'DmaBuffer',
    'VfioDevice',
    'AddressSpace',
  ]
  const kinds = [...order, ...[...live.keys()].filter((kind) => !order.includes(kind))]
  for (const kind of kinds) {
    for (const target of poolOf(live, kind)) {
      if (target.value instanceof vfio.Region) {
        if (options.host) target.value.closeWithDevice()
      } else if (target.value instanceof vfio.InterruptIndex) {
        if (options.host) target.value.disable()
      } else await closeObject(target.value)
    }
  }
  // With it goes its KVM-VFIO device, which the first pass-through that starts brings about.
  machine?.close()
  machine = undefined
  live.clear()
  dead.clear()
}

async function settle(before: Count): Promise<string[]> {
  for (let i = 0; i < 200; i++) {
    ;(globalThis as { gc?: () => void }).gc?.()
    await turn()
    await sleep(10)
    if (excess(before, count()).length === 0) return []
  }
  return excess(before, count())
}

const spent = new Map<string, number>()

function spend(what: string, from: number): void {
  spent.set(what, (spent.get(what) ?? 0) + performance.now() - from)
}

async function main(): Promise<void> {
  const exports: Record<string, unknown> = { ...host, ...vfio }
  await refill()
  const interrupts = fakeInterrupts()
  const listener = interrupts.listen(() => undefined)
  interrupts.disable()
  const spare = new vfio.EventFd()
  const iterator = spare[Symbol.asyncIterator]()
  const members = [
    ...surfaceOf(exports),
    ...surfaceOfObject('InterruptListener', listener),
    ...surfaceOfObject('EventIterator', iterator),
  ]
  await iterator.return?.()
  spare.close()
  const tracking = live.get('DirtyTracking')?.[0]
  if (tracking !== undefined) members.push(...surfaceOfObject('DirtyTracking', tracking.value))

  const reachable = members.filter(
    ({ owner, onInstance }) =>
      !onInstance || poolOf(live, owner ?? '').length > 0 || OBJECT_KINDS.includes(owner ?? ''),
  )
  const unreachable = [
    ...new Set(members.filter((each) => !reachable.includes(each)).map(({ owner }) => owner)),
  ]
  if (unreachable.length > 0) console.log(`without an instance here: ${unreachable.join(', ')}`)
  if (!options.host && unreachable.some((each) => each === null || !WITHOUT_INSTANCE.has(each)))
    throw new Finding('the fuzzer makes no instance of these classes: add one to refill()')

  console.log(
    `seed ${String(seed)}, ${String(total)} calls, ${String(members.length)} members of ${String(classes.size)} classes and ${String(OBJECT_KINDS.length)} other objects`,
  )
  if (options.list) for (const { name } of members) console.log(`  ${name}`)

  // A round of opening and closing first: what is made once in a process belongs to the start.
  await closeAll()
  await settle({ descriptors: {}, targets: [], mappings: -1, threads: -1 })
  const before = count()
  await refill()

  const started = performance.now()
  for (let i = 0; i < total;) {
    const member = random.of(reachable)
    const from = performance.now()
    if (!(await callOnce(member, exports))) continue
    spend(member.name, from)
    i++
    if (i % 20 === 0) {
      const start = performance.now()
      await refill()
      spend('(making objects)', start)
      await turn()
    }
    if (i % 500 === 0) {
      for (const { value } of poolOf(live, 'AddressSpace')) {
        const space = value as vfio.AddressSpace
        if (!space.closed && space.type !== undefined && space.mappingCount > 50) space.unmapAll()
      }
    }
    if (i % 10_000 === 0)
      console.log(`${String(i)} calls, ${String(Math.round((performance.now() - started) / 1000))} s`)
  }
  await closeAll()
  const left = await settle(before)
  const dearest = [...spent].sort(([, a], [, b]) => b - a).slice(0, 12)
  console.log(`most time: ${dearest.map(([what, ms]) => `${what} ${(ms / 1000).toFixed(1)} s`).join(', ')}`)
  const { returned, refused, vfio: errors } = outcomes
  console.log(
    `${String(returned)} returned, ${String(refused)} refused arguments, ${String(errors)} VfioErrors`,
  )
  for (const [what, times] of [...untidy].sort(([, a], [, b]) => b - a).slice(0, 40))
    console.log(`  untidy, ${String(times)} times: ${what}`)
  const uncovered = reachable.filter(({ name }) => !covered.has(name))
  // A short run does not get to everything.
  if (uncovered.length > 0 && total >= 100 * reachable.length)
    throw new Finding(`never called: ${uncovered.map(({ name }) => name).join(', ')}`)
  if (left.length > 0) throw new Finding(`left behind: ${left.join(', ')}`)
  console.log(`ok: ${String(covered.size)} members called, nothing left behind`)
}

process.on('uncaughtException', (error) => {
  fail(new Finding(`uncaught: ${inspect(error)}`))
})

function fail(error: unknown): never {
  console.log(
    `FAILED with seed ${String(seed)} after ${String(logged)} calls: ${error instanceof Finding ? error.message : inspect(error)}`,
  )
  console.log('The last calls:')
  for (const each of recent) console.log(`  ${each}`)
  process.exit(1)
}

main().then(() => process.exit(0), fail)
