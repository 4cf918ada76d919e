// What each capability decodes to, on hand-written dumps of four devices.

import test from 'ava'
import { PciConfig } from '../../../ts/pci/config.js'
import { E1000E, EDU, GPU, NVME, parseDump } from './dump.js'

const edu = (): PciConfig => new PciConfig(parseDump(256, EDU))
const e1000e = (): PciConfig => new PciConfig(parseDump(4096, E1000E))
const nvme = (): PciConfig => new PciConfig(parseDump(4096, NVME))
const gpu = (): PciConfig => new PciConfig(parseDump(4096, GPU))

const names = (list: readonly { name: string; offset: number }[]): string[] =>
  list.map(({ name, offset }) => `${name}@${offset.toString(16)}`)

test('lists, in order', (t) => {
  t.deepEqual(names(edu().capabilities()), ['msi@40'])
  t.deepEqual(names(e1000e().capabilities()), ['pm@c8', 'msi@d0', 'exp@e0', 'msix@a0'])
  t.deepEqual(names(e1000e().extendedCapabilities()), ['err@100', 'dsn@140'])
  t.deepEqual(names(nvme().capabilities()), ['msix@40', 'exp@80', 'pm@60'])
  t.deepEqual(names(nvme().extendedCapabilities()), [])
  t.deepEqual(names(gpu().capabilities()), ['vndr@40', 'exp@70', 'msi@ac', 'pm@d0', 'af@e0'])
  t.deepEqual(names(gpu().extendedCapabilities()), [
    'vndr@100',
    'err@140',
    'ats@200',
    'ari@210',
    'pasid@220',
    'pri@230',
    'sriov@320',
    'rebar@420',
    'acs@440',
    'dvsec@450',
    'dev3@460',
  ])
  for (const config of [edu(), e1000e(), nvme(), gpu()]) t.deepEqual(config.problems(), [])
})

test('every capability has id, title, offset and next', (t) => {
  t.like(e1000e().capability('msi'), {
    id: 5,
    title: 'Message Signalled Interrupts',
    offset: 0xd0,
    next: 0xe0,
  })
  t.like(e1000e().extendedCapability('err'), {
    id: 1,
    title: 'Advanced Error Reporting',
    offset: 0x100,
    next: 0x140,
    version: 1,
  })
})

test('MSI: 64-bit, one vector, off', (t) => {
  t.like(edu().capability('msi'), {
    enabled: false,
    vectorsCapable: 1,
    vectorsEnabled: 1,
    is64Bit: true,
    maskable: false,
    address: 0n,
    data: 0,
    mask: null,
    pending: null,
  })
})

test('MSI: 64-bit, maskable, on', (t) => {
  t.like(gpu().capability('msi'), {
    enabled: true,
    vectorsCapable: 16,
    vectorsEnabled: 1,
    is64Bit: true,
    maskable: true,
    address: 0xfee0000cn,
    data: 0x4022,
    mask: 1,
    pending: 1,
  })
})

test('MSI: the 32-bit layout', (t) => {
  const config = edu()
  config.space.write16(0x42, 0x0151) // on, maskable, 1 vector capable, 32 enabled
  config.space.write32(0x44, 0xfee01000)
  config.space.write32(0x48, 0x4041)
  config.space.write32(0x4c, 0x80000000)
  config.space.write32(0x50, 0x00000002)
  t.like(config.capability('msi'), {
    is64Bit: false,
    vectorsEnabled: 32,
    address: 0xfee01000n,
    data: 0x4041,
    mask: 0x80000000,
    pending: 2,
  })
})

test('MSI-X', (t) => {
  t.like(e1000e().capability('msix'), {
    enabled: true,
    functionMask: false,
    tableSize: 5,
    table: { bar: 3, offset: 0, size: 80 },
    pba: { bar: 3, offset: 0x2000, size: 8 },
  })
  t.like(nvme().capability('msix'), {
    enabled: false,
    tableSize: 65,
    table: { bar: 0, offset: 0x2000, size: 1040 },
    pba: { bar: 0, offset: 0x3000, size: 16 },
  })
})

test('MSI-X: an offset in the upper half of a BAR stays positive', (t) => {
  const config = nvme()
  config.space.write32(0x44, 0xfffff005)
  config.space.write16(0x42, 0x47ff)
  t.like(config.capability('msix'), {
    functionMask: true,
    tableSize: 2048,
    table: { bar: 5, offset: 0xfffff000, size: 32768 },
    pba: { bar: 0, offset: 0x3000, size: 256 },
  })
})

test('PM', (t) => {
  t.like(e1000e().capability('pm'), {
    version: 2,
    state: 'D0',
    noSoftReset: true,
    d1Support: false,
    d2Support: false,
    pmeSupport: ['D0', 'D3hot', 'D3cold'],
    pmeEnabled: false,
    pmeStatus: false,
  })
  t.like(nvme().capability('pm'), { version: 3, state: 'D3hot', noSoftReset: true, pmeSupport: [] })
  t.like(gpu().capability('pm'), { version: 3, state: 'D3hot', noSoftReset: false, pmeEnabled: true })
})

test('PCI Express endpoint', (t) => {
  t.like(e1000e().capability('exp'), {
    version: 1,
    type: 'endpoint',
    slotImplemented: false,
    deviceCapabilities: { maxPayload: 128, extendedTags: false, flr: false },
    device2: null,
    link: { maxSpeed: 2.5, maxWidth: 1, speed: 2.5, width: 1, training: false, aspm: 'disabled' },
  })
  t.true(nvme().capability('exp')?.deviceCapabilities.flr)
})

test('PCI Express: device control and status, second registers, link', (t) => {
  const exp = gpu().capability('exp')
  t.like(exp, {
    version: 2,
    deviceCapabilities: { maxPayload: 128, extendedTags: true, flr: true },
    deviceControl: {
      correctableErrorReporting: true,
      nonFatalErrorReporting: true,
      fatalErrorReporting: true,
      unsupportedRequestReporting: true,
      relaxedOrdering: true,
      extendedTags: true,
      noSnoop: true,
      maxPayload: 256,
      maxReadRequest: 512,
    },
    deviceStatus: {
      correctableError: true,
      nonFatalError: false,
      fatalError: true,
      unsupportedRequest: false,
      transactionsPending: false,
    },
    link: { maxSpeed: 16, maxWidth: 16, speed: 8, width: 16, training: false, aspm: 'l1' },
    device2: {
      ariForwarding: true,
      ariForwardingEnabled: false,
      completionTimeoutDisable: true,
      atomicCompletion32: true,
      atomicCompletion64: true,
      atomicCompletion128: true,
      atomicRequestsEnabled: true,
    },
  })
})

test('PCI Express: integrated endpoints have no link', (t) => {
  const config = e1000e()
  config.space.write16(0xe2, 0x0091)
  t.like(config.capability('exp'), { type: 'rcEndpoint', link: null })
})

test('PCI Express: an unknown type and speed', (t) => {
  const config = e1000e()
  config.space.write16(0xe2, 0x00f1)
  config.space.write16(0xf2, 0x101f)
  t.like(config.capability('exp'), { type: 'reserved', link: { speed: null } })
})

test('AF, vendor-specific and bridge subsystem ids', (t) => {
  t.like(gpu().capability('af'), { flr: true, transactionsPendingSupport: true, transactionsPending: true })
  t.like(gpu().capability('vndr'), { length: 12 })
  const config = edu()
  config.space.write16(0x40, 0x000d)
  config.space.write32(0x44, 0x11001af4)
  t.like(config.capability('ssvid'), { vendorId: 0x1af4, deviceId: 0x1100 })
})

test('AER and serial number', (t) => {
  t.like(e1000e().extendedCapability('err'), {
    uncorrectableStatus: 0x00100000,
    uncorrectableMask: 0x00400000,
    uncorrectableSeverity: 0x00062030,
    correctableStatus: 0x2001,
    correctableMask: 0x2000,
    firstErrorPointer: 20,
  })
  t.is(e1000e().extendedCapability('dsn')?.serialNumber, 0x525400ffff123456n)
})

test('SR-IOV', (t) => {
  t.like(gpu().extendedCapability('sriov'), {
    vfEnable: true,
    vfMemorySpaceEnable: true,
    ariCapableHierarchy: true,
    vfMigrationCapable: true,
    initialVfs: 31,
    totalVfs: 31,
    numVfs: 2,
    functionDependencyLink: 0,
    vfOffset: 2,
    vfStride: 1,
    vfDeviceId: 0x56c1,
    supportedPageSizes: [0x1000, 0x2000, 0x10000, 0x40000, 0x100000, 0x400000],
    systemPageSize: 4096,
    vfBars: [
      {
        kind: 'memory',
        index: 0,
        address: 0x2020b0000000n,
        is64Bit: true,
        prefetchable: false,
        below1M: false,
      },
      {
        kind: 'memory',
        index: 2,
        address: 0x2090_0000_0000n,
        is64Bit: true,
        prefetchable: true,
        below1M: false,
      },
    ],
  })
})

test('SR-IOV: a page size register with several bits is no page size', (t) => {
  const config = gpu()
  config.space.write32(0x340, 3)
  t.is(config.extendedCapability('sriov')?.systemPageSize, null)
})

test('ATS, PRI, PASID and ARI', (t) => {
  t.like(gpu().extendedCapability('ats'), {
    enabled: true,
    invalidateQueueDepth: 32,
    pageAlignedRequest: true,
    smallestTranslationUnit: 4096,
  })
  t.like(gpu().extendedCapability('pri'), {
    enabled: true,
    responseFailure: false,
    stopped: true,
    pasidRequired: true,
    maxRequests: 256,
    allocatedRequests: 64,
  })
  t.like(gpu().extendedCapability('pasid'), {
    enabled: true,
    executePermission: true,
    privilegedMode: true,
    width: 20,
  })
  t.like(gpu().extendedCapability('ari'), { nextFunction: 1, acsFunctionGroups: false })
})

test('ACS', (t) => {
  const acs = gpu().extendedCapability('acs')
  t.deepEqual(acs?.supported, {
    sourceValidation: true,
    translationBlocking: true,
    requestRedirect: true,
    completionRedirect: true,
    upstreamForwarding: true,
    egressControl: false,
    directTranslated: true,
  })
  t.like(acs?.enabled, { sourceValidation: true, translationBlocking: false, directTranslated: false })
})

test('resizable BAR', (t) => {
  const gib = 1n << 30n
  t.deepEqual(gpu().extendedCapability('rebar')?.bars, [
    {
      bar: 2,
      supportedSizes: [256n << 20n, 512n << 20n, gib, 2n * gib, 4n * gib, 8n * gib, 16n * gib],
      size: 16n * gib,
    },
  ])
})

test('VSEC and DVSEC', (t) => {
  t.like(gpu().extendedCapability('vndr'), { vsecId: 0x1234, vsecRevision: 1, length: 12 })
  t.like(gpu().extendedCapability('dvsec'), { vendorId: 0x1e98, dvsecRevision: 1, dvsecId: 8, length: 60 })
})

test('the finder gives the first of a name, typed', (t) => {
  const config = edu()
  config.space.write32(0x40, 0x00105009)
  config.space.write32(0x50, 0x00140009)
  const vndr = config.capability('vndr')
  const length: number | undefined = vndr?.length
  t.is(length, 16)
  t.is(config.capability('msix'), null)
  t.is(config.extendedCapability('sriov'), null)
})

test('names without a decoder', (t) => {
  const config = edu()
  config.space.write16(0x40, 0x5003)
  config.space.write16(0x50, 0x0042)
  t.deepEqual(config.capabilities(), [
    { id: 3, name: 'vpd', title: 'Vital Product Data', offset: 0x40, next: 0x50 },
    { id: 0x42, name: 'unknown', title: 'Capability 0x42', offset: 0x50, next: 0 },
  ])
})
