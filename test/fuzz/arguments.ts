// Arguments of the right shape, more often than chance: the interesting errors lie behind the first check. Knows what members
// take, and calls none of them but plan(), whose answer is an argument.
import { GuestMemory } from '../../ts/index.js'
import { layOutGuest } from '../../ts/vmm/index.js'
import { type HostChange, mergedReport, plan } from '../../ts/merged/index.js'
import { isAllowed } from './judge.js'
import { SCREEN } from './makers/drm.js'
import { deviceOptions } from './makers/served.js'
import { TREE_DEVICES, TREE_UUIDS, treeOptions } from './makers/tree.js'
import { briefChannel } from './makers/vmm-parts.js'
import { ADDRESSES } from './options.js'
import type { Population } from './population.js'
import type { Random } from './random.js'
import type { Member } from './surface.js'
import type { Target } from './target.js'
import type { Values } from './values.js'

interface Context {
  member: Member
  target: Target | null
  random: Random
  values: Values
  population: Population
}

type Maker = (context: Context) => unknown[]

const page = (random: Random): bigint => BigInt(random.below(64)) * 4096n

function one({ population, random }: Context, ...kinds: string[]): object | undefined {
  return population.value(random.of(kinds), random)
}

function tokenOf(value: unknown): unknown {
  try {
    return (value as { share?: () => unknown }).share?.() ?? value
  } catch {
    return value
  }
}

function memoryOf(value: unknown, random: Random): unknown {
  try {
    return random.chance(0.5) ? value : ((value as { buffer?: unknown }).buffer ?? value)
  } catch {
    return value
  }
}

function optional<T>(random: Random, options: T): Partial<T> {
  const kept = Object.entries(options as object).filter(() => random.chance(0.5))
  return Object.fromEntries(kept) as Partial<T>
}

const message = ({ random }: Context): Record<string, unknown> => ({
  address: 0xfee0_0000n + BigInt(random.below(4) << 12),
  data: random.below(256),
})

function doorbell({ random }: Context): Record<string, unknown> {
  const place = random.chance(0.7)
    ? { mmio: 0xd000_0000n + BigInt(random.below(64) * 4) }
    : { pio: random.below(0x1000) }
  return { ...place, length: random.of([0, 1, 2, 4, 8]), ...optional(random, { match: random.below(300) }) }
}

function guestMemory(context: Context): Record<string, unknown> {
  const { random } = context
  return {
    guestAddress: BigInt(random.below(512)) << 12n,
    memory: one(context, 'GuestMemory', 'GuestMemory', 'Region'),
    ...optional(random, {
      offset: 4096 * random.below(3),
      size: 4096 * (1 + random.below(3)),
      readOnly: random.chance(0.5),
      logDirty: random.chance(0.5),
    }),
  }
}

function picture(random: Random): Record<string, number> {
  const width = 1 + random.below(64)
  return { width, height: 1 + random.below(64), pitch: 4 * width + random.of([0, 64, -4]) }
}

function showing(context: Context): Record<string, unknown> {
  const framebuffer = one(context, 'Framebuffer')
  return {
    framebuffer,
    connectors: [SCREEN?.connector],
    mode: SCREEN?.mode,
    ...optional(context.random, { x: 1 }),
  }
}

function memoryPart(context: Context): Record<string, unknown> {
  const { random } = context
  return {
    memory: one(context, 'GuestMemory'),
    offset: 4096 * random.below(3),
    size: 4096 * (1 + random.below(2)),
  }
}

function passthroughOptions({ random, values }: Context): Record<string, unknown> {
  return optional(random, {
    intx: random.chance(0.5)
      ? { gsi: random.below(24) }
      : { onAssert: values.handler(), onEoi: values.handler() },
    hide: values.handler(random.chance(0.5)),
    trap: [{ bar: random.below(6), offset: 4096 * random.below(2), size: 4096 }],
    policy: values.handler(random.of<unknown>([undefined, 'deny', 'allow', new Uint8Array(4)])),
  })
}

function change({ random }: Context): Record<string, unknown> {
  const device = random.of(TREE_DEVICES)
  const persist = random.chance(0.3)
  switch (random.below(6)) {
    case 0:
      return { kind: 'bind', device, persist, ...optional(random, { group: true, driver: 'vfio-pci' }) }
    case 1:
      return { kind: 'unbind', device, persist, to: random.of(['host', 'none']) }
    case 2:
      return { kind: 'sriov', device: random.of(TREE_DEVICES.slice(2)), numVfs: random.below(5) }
    case 3:
      return { kind: 'mdev-create', parent: 'mtty', type: 'mtty-1', uuid: random.of(TREE_UUIDS), persist }
    case 4:
      return { kind: 'mdev-remove', uuid: random.of(TREE_UUIDS), persist }
    default:
      return { kind: 'vgpu', device: '0000:04:00.4', type: random.of([0, 557]) }
  }
}

/** A plan, which only plan() makes; the change itself where it makes none. */
function planned(context: Context): object {
  const wanted = change(context)
  try {
    return plan(wanted as unknown as HostChange, treeOptions(context.random))
  } catch (error) {
    if (!isAllowed(error)) throw error
    return wanted
  }
}

function place(random: Random): Record<string, number> {
  return { domain: 0, bus: random.below(4), device: random.below(32), function: random.below(8) }
}

function treeLook({ random, values }: Context): object {
  return values.effective(treeOptions(random))
}

function treePath(context: Context): unknown[] {
  const options = treeOptions(context.random)
  const path = `${String(options.sysfsRoot)}/bus/pci/devices/${context.random.of(TREE_DEVICES)}`
  return [path, context.values.effective(options)]
}

function changeOptions({ random, values }: Context): Record<string, unknown> {
  const controller = new AbortController()
  if (random.chance(0.3)) controller.abort()
  return optional(random, { onEvent: values.handler(), signal: controller.signal, force: random.chance(0.5) })
}

/** By the member's name, or else by its key. */
const BY_NAME: Readonly<Record<string, Maker>> = {
  claim: (context) => {
    const { member, random, population } = context
    const own = random.chance(0.7) ? population.value(member.owner ?? '', random) : undefined
    return [tokenOf(own ?? population.any(random))]
  },
  mapFile: (context) => [one(context, 'GuestMemory', 'DmaBufFile'), context.values.options(0)],
  mapFileSync: (context) => [one(context, 'GuestMemory', 'DmaBufFile'), context.values.options(0)],
  copy: (context) => [one(context, 'AddressSpace'), page(context.random), 4096],
  copySync: (context) => [one(context, 'AddressSpace'), page(context.random), 4096],
  allowIovas: ({ values }) => [values.effective([values.effective({ start: 0n, last: 0xfedf_ffffn })])],
  'SignalWaiter.prototype.add': (context) => [one(context, 'EventFd')],
  'SignalWaiter.prototype.remove': (context) => [one(context, 'EventFd')],
  'new PciConfig': (context) => [one(context, 'Region')],
  'new PciCommand': (context) => [one(context, 'Region')],
  'DmaLogging.prototype.start': ({ values }) => [
    values.effective({ ranges: values.effective([values.effective({ iova: 0n, length: 1n << 20n })]) }),
  ],
  'DeviceFeatures.prototype.vfToken': () => [TREE_UUIDS[0]],
  'DeviceFeatures.prototype.busMaster': ({ random }) => [random.chance(0.5)],
  'DeviceFeatures.prototype.dmaBuf': ({ random }) => [random.of(['bar0', 'bar2'])],
  compareBdf: ({ random, values }) => [values.effective(place(random)), values.effective(place(random))],
  formatBdf: ({ random, values }) => [values.effective(place(random))],
  isBdf: ({ random }) => [random.of(TREE_DEVICES)],
  groupViability: ({ values }) => [
    values.effective({ members: [{ name: '0000:00:10.0', bus: 'pci', driver: null, vfioDev: null }] }),
  ],
  searchIssues: ({ random, values }) => [
    values.effective({
      vendor: random.of(['amd', 'intel', 'nvidia', 'any']),
      driver: random.of(['xe', 'nvidia', 'vfio_pci']),
      version: random.of(['580.x', '535.161.05', 'banana']),
      kernel: random.of(['6.17', '6.1.0-18-amd64', '7.2.12']),
    }),
  ],
  map: mapping,
  mapSync: mapping,
  read: ({ random, values }) => [random.below(5000), values.bytes()],
  write: ({ random, values }) => [random.below(5000), values.bytes()],
  'SignalPoller.prototype.add': (context) => [one(context, 'EventFd'), context.values.handler()],
  'SignalPoller.prototype.remove': (context) => [one(context, 'EventFd')],
  'new SignalWaiter': (context) => [
    context.values.effective([one(context, 'EventFd'), one(context, 'EventFd')]),
    context.values.options(0),
  ],
  enable: (context) => [
    context.random.of<() => unknown>([
      () => context.random.below(5),
      () => context.values.options(0),
      () => context.values.effective([one(context, 'EventFd'), null]),
    ])(),
  ],
  listen: ({ random, values }) => [
    values.handler(),
    random.chance(0.5) ? undefined : { vector: random.below(4) },
  ],
  'InterruptIndex.prototype.set': (context) => [
    context.random.below(5),
    context.random.chance(0.3) ? null : one(context, 'EventFd'),
  ],
  'VfioDevice.prototype.region': ({ random }) => [random.below(10)],
  'VfioDevice.prototype.irq': ({ random }) => [random.below(10)],
  'VfioDevice.prototype.attach': (context) => [one(context, 'AddressSpace', 'Hwpt')],
  unmap: ({ random }) => [page(random), 4096 * random.below(64)],
  unmapSync: ({ random }) => [page(random), 4096 * random.below(64)],
  bitmap: ({ random }) => [page(random), 4096 * random.below(64), 4096],
  'VfioDevice.open': opening,
  'VfioDevice.openSync': opening,
  'HotReset.prototype.run': (context) => [context.values.effective([one(context, 'VfioDevice')])],
  // Machines.
  'Kvm.open': () => [],
  createVm: ({ random, values }) => [
    values.effective(
      optional(random, { irqchip: random.of(['full', 'split', 'none']), pit: random.chance(0.3) }),
    ),
  ],
  createVcpu: ({ random }) => [random.below(300)],
  checkExtension: ({ random }) => [
    random.of(['IRQFD', 'IOEVENTFD', 'NR_MEMSLOTS', 'X2APIC', random.below(250)]),
  ],
  addMemory: (context) => [context.values.effective(guestMemory(context))],
  onMemoryChange: ({ values }) => [values.handler()],
  irqfd: (context) => [
    one(context, 'EventFd'),
    context.values.effective({
      gsi: gsi(context),
      ...optional(context.random, { resample: one(context, 'EventFd') }),
    }),
  ],
  'Vm.prototype.ioeventfd': (context) => [
    context.values.effective({
      ...doorbell(context),
      ...optional(context.random, { eventfd: one(context, 'EventFd') }),
    }),
  ],
  signalMsi: (context) => [context.values.effective(message(context))],
  setIrqLine: ({ random }) => [random.below(30), random.chance(0.5)],
  msi: (context) => [
    context.values.effective(message(context)),
    context.random.chance(0.5) ? undefined : { gsi: 24 + context.random.below(200) },
  ],
  pin: ({ random }) => [
    random.below(300),
    { chip: random.of(['ioapic', 'pic-master']), pin: random.below(24) },
  ],
  update: (context) => [context.values.effective(message(context))],
  'VmVfio.prototype.add': (context) => [one(context, 'VfioDevice')],
  'VmVfio.prototype.remove': (context) => [one(context, 'VfioDevice')],
  withTopology: ({ random, values }) => [
    values.effective([{ function: 1, index: 0, flags: 0, eax: 0, ebx: 0, ecx: 0, edx: 0 }]),
    values.effective({ apicId: random.below(4), vcpus: 1 + random.below(8) }),
  ],
  'set Vcpu.prototype.registers': ({ random, values }) => [
    values.effective({ rip: BigInt(random.below(3)), rflags: 2n, rax: BigInt(random.next()) }),
  ],
  'set Vcpu.prototype.cpuid': ({ random, values }) => [
    values.effective(
      Array.from({ length: random.below(4) }, (_, index) => ({
        ...{ function: random.of([0, 1, 0xb, 0x8000_0000]), index, flags: 1 },
        ...{ eax: random.next(), ebx: 0, ecx: 0, edx: 0 },
      })),
    ),
  ],
  'set Vcpu.prototype.immediateExit': ({ random }) => [random.chance(0.5)],
  'set Vcpu.prototype.mpState': ({ random }) => [random.below(4)],
  'set MemorySlot.prototype.logDirty': ({ random }) => [random.chance(0.5)],
  // Wires.
  wireMsi: (context) => [
    one(context, 'Vm'),
    one(context, 'EventFd'),
    context.values.effective({ ...message(context), masked: context.random.chance(0.5) }),
  ],
  wireIntx: (context) => [
    one(context, 'Vm'),
    one(context, 'VfioDevice'),
    context.values.effective({ gsi: context.random.below(24) }),
  ],
  wireDoorbell: (context) => [
    one(context, 'Vm'),
    context.values.effective(doorbell(context)),
    context.values.handler(),
  ],
  'new PciPassthrough': (context) => [
    one(context, 'Vm'),
    one(context, 'VfioDevice'),
    context.values.effective(passthroughOptions(context)),
  ],
  readConfig: ({ random }) => [random.below(280), random.of([1, 2, 4])],
  writeConfig: ({ random }) => [
    random.below(280),
    random.of([1, 2, 4]),
    random.of([0, 0xff, 2, 7, random.below(256)]),
  ],
  setBar: ({ random }) => [random.below(6), 0xe000_0000n + (BigInt(random.below(8)) << 24n)],
  handleMmio: ({ random, values }) => [
    values.effective({
      address: 0xe000_0000n + (BigInt(random.below(8)) << 24n) + BigInt(random.below(1024) * 4),
      length: random.of([1, 2, 4, 8]),
      isWrite: random.chance(0.5),
      data: new Uint8Array(8),
    }),
  ],
  handlePio: ({ random, values }) => [
    values.effective({
      port: 0xc000 + random.below(64),
      direction: random.of(['in', 'out']),
      size: random.of([1, 2, 4]),
      count: 1 + random.below(2),
      data: new Uint8Array(8),
    }),
  ],
  'set VfioDevice.prototype.onRequest': ({ values }) => [values.handler()],
  'set VfioDevice.prototype.onError': ({ values }) => [values.handler()],
  // Parts of a machine.
  'Bus.prototype.attachPorts': (context) => [
    context.random.below(0x10000),
    context.random.below(16),
    one(context, 'Serial', 'Power', 'Rtc', 'KeyboardReset'),
  ],
  'Bus.prototype.attachMemory': (context) => [
    BigInt(context.random.below(64)) << 12n,
    context.random.below(8192),
    one(context, 'Serial', 'Power', 'Rtc', 'KeyboardReset'),
  ],
  'Bus.prototype.serve': served,
  'ExitClient.prototype.ask': served,
  'PciHost.prototype.plug': (context) => [
    context.random.below(33),
    one(context, 'PluggedDevice'),
    context.random.below(9),
  ],
  'new PluggedDevice': (context) => [
    one(context, 'Vm'),
    one(context, 'Bus'),
    one(context, 'UserDevice'),
    context.values.effective({ gsi: context.random.below(24), onError: context.values.handler() }),
  ],
  'new VcpuLoop': (context) => {
    const vcpu = one(context, 'Vcpu')
    return [vcpu, { bus: one(context, 'Bus'), channel: briefChannel(vcpu), others: context.values.handler() }]
  },
  'Pc.prototype.attach': (context) => [one(context, 'Bus')],
  lineOf: ({ random }) => [random.below(33), random.below(6)],
  layOutGuest: ({ random }) => [4096 * random.of([0, 512, 4096, 1 << 20, 1 << 28])],
  acpiTables: ({ random, values }) => [
    values.effective({
      layout: layOutGuest(4 << 20),
      apicIds: Array.from({ length: random.below(1200) }, (_, i) => i),
    }),
  ],
  loadLinux: ({ values }) => [
    new Uint8Array(4 << 20),
    values.effective({ kernel: values.bytes(), cmdline: 'quiet', layout: layOutGuest(4 << 20) }),
  ],
  prepareStart: (context) => [
    one(context, 'Vcpu'),
    context.values.effective({ entry: context.random.below(8), registers: {} }),
  ],
  placeBars: (context) => [
    [{ slot: 3, number: 0, pciFunction: one(context, 'PluggedDevice') }],
    context.values.effective(layOutGuest(4 << 20)),
  ],
  // Of machines, what newer calls take.
  coalesce: ({ random, values }) => [
    values.effective({ mmio: 0xd100_0000n + BigInt(random.below(512) * 8), size: random.of([1, 4, 8, 0]) }),
  ],
  'DirtyRing.prototype.collect': (context) => [context.values.effective([one(context, 'Vcpu')])],
  enableCapability: ({ random, values }) => [
    random.of(['HALT_POLL', 'X86_USER_SPACE_MSR', 'EXCEPTION_PAYLOAD', 'SPLIT_IRQCHIP', 'X2APIC_API']),
    values.effective([BigInt(random.below(8))]),
  ],
  'VcpuMsrs.prototype.get': ({ random, values }) => [values.effective([0x10, 0x174 + random.below(4)])],
  'VcpuMsrs.prototype.set': ({ random, values }) => [
    values.effective([{ index: 0x174 + random.below(4), value: BigInt(random.below(1000)) }]),
  ],
  // The host's cards.
  'DrmCard.open': ({ random }) => [
    random.chance(0.8) ? SCREEN?.path : random.of(['/dev/null', '/nonexistent']),
  ],
  createBuffer: ({ random }) => [1 + random.below(2048), random.below(2048)],
  importBuffer: (context) => [one(context, 'DmaBufFile'), context.values.effective(picture(context.random))],
  framebuffer: ({ random }) => [random.of(['xrgb8888', 'argb8888', 'xbgr8888', 'rgb565'])],
  setMaster: ({ random }) => [random.chance(0.7)],
  show: (context) => [
    SCREEN?.crtc,
    context.random.chance(0.2) ? null : context.values.effective(showing(context)),
  ],
  showOver: (context) => [
    context.random.below(64),
    SCREEN?.crtc,
    context.random.chance(0.2) ? null : one(context, 'Framebuffer'),
  ],
  painted: ({ random, values }) => [
    values.effective({ x: random.below(4), y: 0, width: random.below(64), height: random.below(2) }),
  ],
  dmaBufOf: (context) => [context.values.effective([memoryPart(context), memoryPart(context)])],
  // Devices in user space.
  'new UserDevice': (context) => [context.values.effective(userDevice(context))],
  'UserDeviceServer.listen': (context) => [
    `named${context.random.below(8)}`,
    one(context, 'UserDevice'),
    context.values.effective(serverOptions(context)),
  ],
  'UserDeviceServer.fromFd': (context) => [context.random.below(1000), one(context, 'UserDevice')],
  'UserDeviceServer.fromListenFd': (context) => [context.random.below(1000), one(context, 'UserDevice')],
  raise: ({ random }) => [random.of(['intx', 'msi', 'msix', 'err', 'req']), random.below(9)],
  'DeviceDma.prototype.reach': (context) => [...range(context), context.random.of(['read', 'write'])],
  'DeviceDma.prototype.window': range,
  'DeviceDma.prototype.markDirty': range,
  ...Object.fromEntries(
    ['copyIn', 'copyOut', 'read', 'write'].map((name): [string, Maker] => [
      `DeviceDma.prototype.${name}`,
      (context) => [range(context)[0], context.values.bytes()],
    ]),
  ),
  ...Object.fromEntries(
    ['gather', 'scatter'].map((name): [string, Maker] => [`DeviceDma.prototype.${name}`, pieces]),
  ),
  // The host and its changes.
  plan: (context) => [context.values.effective(change(context)), changeOptions(context)],
  apply: (context) => [context.values.effective(planned(context)), changeOptions(context)],
  undo: (context) => [
    context.random.chance(0.6) ? undefined : 1 + context.random.below(12),
    context.values.effective(changeOptions(context)),
  ],
  listChanges: () => [{}],
  ...Object.fromEntries(
    ['listPciDevices', 'listIommuGroups', 'listMdevs', 'listMdevTypes', 'probeHost', 'mergedReport'].map(
      (name): [string, Maker] => [name, (context) => [treeLook(context)]],
    ),
  ),
  ...Object.fromEntries(
    ['readPciDevice', 'resolveDevice'].map((name): [string, Maker] => [
      name,
      (context) => [context.random.of(TREE_DEVICES), treeLook(context)],
    ]),
  ),
  readIommuGroup: (context) => [context.random.of([2, 6, 20, 21, 7]), treeLook(context)],
  readModule: (context) => [context.random.of(['nvidia', 'vfio', 'i915']), treeLook(context)],
  chooseVfioDriver: treePath,
  hostUses: treePath,
  readVgpu: treePath,
  deviceUsers: (context) => [[treePath(context)[0]], treeLook(context)],
  parseBdf: ({ random }) => [random.of(TREE_DEVICES)],
  withHooks: (context) => [mergedReport(treeOptions(context.random)), treeLook(context)],
}

function served({ random, values }: Context): unknown[] {
  const data = new Uint8Array(random.of([1, 2, 4, 8]))
  const exit = random.chance(0.5)
    ? {
        reason: 'mmio',
        address: BigInt(random.below(64)) << 12n,
        length: data.length,
        isWrite: random.chance(0.5),
      }
    : {
        ...{ reason: 'io', port: random.below(0x10000), direction: random.of(['in', 'out']) },
        ...{ size: data.length, count: random.of([1, 1, 2, 2 ** 53]) },
      }
  return [values.effective({ ...exit, data }), random.below(4)]
}

function userDevice({ random, values }: Context): object {
  const declared = deviceOptions(random)
  const size = (): number => random.of([16, 256, 4096, 65536, 3, 0])
  return optional(random, {
    ...declared,
    ...(random.chance(0.5) && { onRead: values.handler(random.below(300)), onReset: values.handler() }),
    ...(random.chance(0.5) && { regions: { bar0: { size: size() }, bar1: { size: size(), plain: true } } }),
    irqs: { intx: random.chance(0.5), msi: random.of([1, 4, 5]), msix: random.below(2050) },
    capabilities: [{ id: random.below(300), bytes: values.bytes() }],
    extendedCapabilities: [{ id: random.below(300), bytes: values.bytes() }],
  })
}

function serverOptions({ random, values }: Context): object {
  return optional(random, {
    mode: random.of(['loop', 'loop', 'thread', 'none']),
    spinMicros: random.below(50),
    onError: values.handler(),
    deadlineMillis: random.below(100),
    handshakeMillis: random.below(100),
    fileMode: 0o600,
    anyFile: random.chance(0.5),
  })
}

/** Of a client's memory, or just beside it. */
function range({ random }: Context): [bigint, number] {
  const base = random.of([0n, 0n, 1n << 32n])
  return [base + BigInt(random.below(0x11000)), random.below(9000)]
}

function pieces({ random, values }: Context): unknown[] {
  const list = Array.from({ length: random.below(5) }, () => [
    BigInt(random.below(0x10000)),
    BigInt(random.below(200)),
  ])
  const total = list.reduce((sum, [, size = 0n]) => sum + Number(size), 0)
  const bytes = random.chance(0.7) ? new Uint8Array(total) : values.bytes()
  return [BigUint64Array.from(list.flat()), bytes]
}

function gsi({ population, random }: Context): number {
  const route = population.value('MsiRoute', random) as { gsi: number } | undefined
  return route !== undefined && random.chance(0.5) ? route.gsi : random.below(30)
}

function mapping({ population, random, values }: Context): unknown[] {
  const memory = population.value('GuestMemory', random)
  const value = random.chance(0.5) && memory instanceof GuestMemory ? memory : population.any(random)
  return [memoryOf(value, random), values.options(0)]
}

function opening({ random, values }: Context): unknown[] {
  const addresses = Object.values(ADDRESSES)
  const id = addresses.length > 0 && random.chance(0.2) ? random.of(addresses) : values.value()
  return [id, ...values.list(random.below(3))]
}

function byPattern(key: string, { random, values }: Context): unknown[] | undefined {
  if (/^(read|write)(8|16|32|64)/.test(key)) {
    const wide = key.includes('64')
    const value = wide ? BigInt(random.below(1000)) : random.below(256)
    return key.startsWith('read') ? [values.number()] : [values.number(), value]
  }
  if (/^poll(32|64)$/.test(key)) return [random.below(64) * 8, values.options(0)]
  if (/^(mask|unmask|trigger|has)$/.test(key)) return [random.below(6)]
  if (/^(create|allocate|allocateSync|window|view|isMapped)$/.test(key))
    return [random.below(9000), random.chance(0.5) ? random.below(9000) : values.options(0)]
  return undefined
}

/** Half of them random, the others as the member wants them. */
export function argumentsFor(context: Context): unknown[] {
  const { member, random, values } = context
  const any = (): unknown[] => {
    if (member.action === 'set') return [random.chance(0.4) ? random.chance(0.5) : values.value()]
    return values.list(random.below(4))
  }
  if (random.chance(0.3)) return any()
  const key = String(member.key)
  const maker =
    BY_NAME[member.name] ??
    (member.action === 'call' && Object.hasOwn(BY_NAME, key) ? BY_NAME[key] : undefined)
  if (maker !== undefined) return maker(context)
  return (member.action === 'call' ? byPattern(key, context) : undefined) ?? any()
}
