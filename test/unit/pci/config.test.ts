// The header, as PciConfig decodes it, on hand-written dumps of four devices.

import test from 'ava'
import { PciConfig } from '../../../ts/pci/config.js'
import { PCI_COMMAND, PCI_COMMAND_MASTER, PCI_COMMAND_MEMORY } from '../../../ts/pci/registers.js'
import { BufferConfig, E1000E, EDU, GPU, NVME, parseDump } from './dump.js'

const edu = (): PciConfig => new PciConfig(parseDump(256, EDU))
const e1000e = (): PciConfig => new PciConfig(parseDump(4096, E1000E))
const nvme = (): PciConfig => new PciConfig(parseDump(4096, NVME))
const gpu = (): PciConfig => new PciConfig(parseDump(4096, GPU))

test('identity of edu', (t) => {
  const config = edu()
  t.true(config.present)
  t.is(config.vendorId, 0x1234)
  t.is(config.deviceId, 0x11e8)
  t.is(config.revision, 0x10)
  t.deepEqual(config.classCode, { code: 0x00ff00, base: 0, sub: 0xff, progIf: 0 })
  t.deepEqual(config.subsystem, { vendorId: 0x1af4, deviceId: 0x1100 })
  t.is(config.headerType, 0)
  t.false(config.multifunction)
  t.is(config.interruptLine, 11)
  t.is(config.interruptPin, 'INTA')
  t.deepEqual(config.rom, { address: 0n, enabled: false })
  t.deepEqual(config.problems(), [])
})

test('class, cache line, ROM and multifunction', (t) => {
  t.deepEqual(nvme().classCode, { code: 0x010802, base: 1, sub: 8, progIf: 2 })
  t.is(e1000e().cacheLineSize, 64)
  t.is(e1000e().latencyTimer, 0)
  t.deepEqual(e1000e().rom, { address: 0xfe800000n, enabled: true })
  t.true(gpu().multifunction)
  t.is(gpu().headerType, 0)
  t.is(gpu().interruptPin, null)
})

test('BARs: 32-bit memory and I/O', (t) => {
  const memory = { kind: 'memory', is64Bit: false, prefetchable: false, below1M: false } as const
  t.deepEqual(e1000e().bars, [
    { ...memory, index: 0, address: 0xfe840000n },
    { ...memory, index: 1, address: 0xfe860000n },
    { kind: 'io', index: 2, address: 0xc080n },
    { ...memory, index: 3, address: 0xfe880000n },
  ])
})

test('BARs: 64-bit ones take two registers', (t) => {
  const memory = { kind: 'memory', is64Bit: true, below1M: false } as const
  t.deepEqual(nvme().bars, [{ ...memory, index: 0, address: 0x38_0000_0000n, prefetchable: false }])
  t.deepEqual(gpu().bars, [
    { ...memory, index: 0, address: 0xa0000000n, prefetchable: false },
    { ...memory, index: 2, address: 0x2080_0000_0000n, prefetchable: true },
  ])
})

test('BARs: a 64-bit one in the last register has its lower half alone', (t) => {
  const config = edu()
  config.space.write32(0x10, 0)
  config.space.write32(0x24, 0xe0000004)
  config.space.write32(0x28, 0x12345678) // CardBus CIS, which is no BAR
  t.deepEqual(config.bars, [
    { kind: 'memory', index: 5, address: 0xe0000000n, is64Bit: true, prefetchable: false, below1M: false },
  ])
})

test('BARs: the obsolete type below 1 MiB', (t) => {
  const config = edu()
  config.space.write32(0x10, 0x000a0002)
  t.like(config.bars[0], { address: 0xa0000n, below1M: true, is64Bit: false })
})

test('bridges have two BARs, another ROM register and no subsystem', (t) => {
  const config = edu()
  config.space.write8(0x0e, 1)
  config.space.write32(0x18, 0x00010100) // bus numbers, which are no BAR
  config.space.write32(0x38, 0xfeb00801)
  t.is(config.headerType, 1)
  t.deepEqual(
    config.bars.map(({ index }) => index),
    [0],
  )
  t.is(config.subsystem, null)
  t.deepEqual(config.rom, { address: 0xfeb00800n, enabled: true })
})

test('an unknown header type has no BARs and no ROM', (t) => {
  const config = edu()
  config.space.write8(0x0e, 0x55)
  t.deepEqual(config.bars, [])
  t.is(config.rom, null)
})

test('interrupt pin beyond INTD', (t) => {
  const config = edu()
  config.space.write8(0x3d, 4)
  t.is(config.interruptPin, 'INTD')
  config.space.write8(0x3d, 5)
  t.is(config.interruptPin, 'reserved')
})

test('status', (t) => {
  const config = edu()
  t.is(config.status.raw, 0x0010)
  t.true(config.status.capabilityList)
  t.false(config.status.interrupt)
  config.space.write16(0x06, 0xb918)
  t.like(config.status, {
    interrupt: true,
    masterParityError: true,
    signalledTargetAbort: true,
    receivedTargetAbort: true,
    receivedMasterAbort: true,
    signalledSystemError: false,
    detectedParityError: true,
  })
})

test('command bits read the device', (t) => {
  const { command } = edu()
  t.is(command.raw, 0x0103)
  t.true(command.ioSpace)
  t.true(command.memorySpace)
  t.false(command.busMaster)
  t.true(command.serr)
  t.false(command.interruptDisable)
})

test('assigning one command bit leaves the others', (t) => {
  const config = edu()
  config.command.busMaster = true
  t.is(config.space.read16(PCI_COMMAND), 0x0103 | PCI_COMMAND_MASTER)
  config.command.memorySpace = false
  t.is(config.space.read16(PCI_COMMAND), (0x0103 | PCI_COMMAND_MASTER) & ~PCI_COMMAND_MEMORY)
  config.command.raw = 0
  for (const bit of [
    'ioSpace',
    'memorySpace',
    'busMaster',
    'specialCycle',
    'memoryWriteInvalidate',
    'vgaPaletteSnoop',
    'parity',
    'serr',
    'fastBackToBack',
    'interruptDisable',
  ] as const) {
    config.command[bit] = true
    t.true(config.command[bit], bit)
  }
  t.is(config.command.raw, 0x077f)
})

test('writing the command register never touches the status register beside it', (t) => {
  const bytes = new Uint8Array(256)
  const writes: [number, number][] = []
  const config = new BufferConfig(bytes)
  config.write16 = (offset, value) => void writes.push([offset, value])
  new PciConfig(config).command.busMaster = true
  t.deepEqual(writes, [[PCI_COMMAND, PCI_COMMAND_MASTER]])
})

test('a device that does not answer', (t) => {
  const config = new PciConfig(new BufferConfig(new Uint8Array(4096).fill(0xff)))
  t.false(config.present)
  t.deepEqual(config.capabilities(), [])
  t.deepEqual(config.extendedCapabilities(), [])
  t.is(config.capability('msi'), null)
  t.deepEqual(
    config.problems().map(({ kind, list }) => [kind, list]),
    [['absent', 'header']],
  )
})

test('a device that is gone while VFIO still shows its ids', (t) => {
  const config = gpu()
  config.space.write32(8, 0xffffffff)
  t.not(config.vendorId, 0xffff)
  t.false(config.present)
  t.deepEqual(config.capabilities(), [])
  t.deepEqual(
    config.problems().map(({ kind }) => kind),
    ['absent'],
  )
})

test('a virtual function whose ids read all ones is present', (t) => {
  const config = gpu()
  config.space.write32(0, 0xffffffff)
  t.true(config.present)
  t.not(config.capability('exp'), null)
})

test('a space smaller than the header is refused', (t) => {
  t.throws(() => new PciConfig(new BufferConfig(new Uint8Array(60))), {
    instanceOf: RangeError,
    message: /60 bytes/,
  })
})
