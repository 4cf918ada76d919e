// The tables of ACPI: bytes where the specification has them, sums, pointers; and what ACPICA's own disassembler makes of them, where
// that is installed.
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import test from 'ava'

import * as aml from '../../../ts/vmm/acpi/aml.js'
import * as use from '../../../ts/vmm/acpi/resources.js'
import { acpiTables, layOutGuest } from '../../../ts/vmm/index.js'

const layout = layOutGuest(6 * 2 ** 30)
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')
const sum = (bytes: Uint8Array): number => bytes.reduce((total, byte) => (total + byte) & 0xff, 0)

/** A table by its address. */
interface Table {
  signature: string
  bytes: Uint8Array
  view: DataView
}

function tables(apicIds = [0, 1]): { root: DataView; at: (address: bigint) => Table; listed: Table[] } {
  const { address, bytes } = acpiTables({ layout, apicIds })
  const all = new DataView(bytes.buffer, bytes.byteOffset)
  const at = (where: bigint): Table => {
    const offset = Number(where - address)
    const part = bytes.subarray(offset, offset + all.getUint32(offset + 4, true))
    return {
      signature: Buffer.from(part.subarray(0, 4)).toString(),
      bytes: part,
      view: new DataView(part.buffer, part.byteOffset, part.length),
    }
  }
  const { view } = at(all.getBigUint64(24, true))
  const listed = Array.from({ length: (view.byteLength - 36) / 8 }, (_, i) =>
    at(view.getBigUint64(36 + 8 * i, true)),
  )
  return { root: all, at, listed }
}

test('the root pointer: where kernels look, with both sums right', (t) => {
  const { address, bytes } = acpiTables({ layout, apicIds: [0] })
  t.is(address, 0xe_0000n)
  t.is(Buffer.from(bytes.subarray(0, 8)).toString(), 'RSD PTR ')
  t.is(bytes[15], 2)
  t.deepEqual([sum(bytes.subarray(0, 20)), sum(bytes.subarray(0, 36))], [0, 0])
  t.is(tables().at(tables().root.getBigUint64(24, true)).signature, 'XSDT')
})

test('every table that is listed has its length and sum', (t) => {
  const { listed, at } = tables()
  t.deepEqual(
    listed.map(({ signature }) => signature),
    ['FACP', 'APIC', 'MCFG'],
  )
  const fadt = listed[0]?.view
  const dsdt = at(fadt?.getBigUint64(140, true) ?? 0n)
  t.is(dsdt.signature, 'DSDT')
  for (const { bytes, signature } of [...listed, dsdt]) t.is(sum(bytes), 0, signature)
  const facs = at(BigInt(fadt?.getUint32(36, true) ?? 0))
  t.deepEqual([facs.signature, facs.bytes.length], ['FACS', 64])
  t.is(facs.bytes.byteOffset % 64, 0)
})

test('the FADT: registers of power management, twice and the same; reset', (t) => {
  const fadt = tables().listed[0]
  t.is(fadt?.bytes.length, 276)
  const { view } = fadt as Table
  t.is(view.getUint16(46, true), 9)
  t.is(view.getUint32(48, true), 0, 'no command to turn ACPI on: it is')
  for (const [short, long, length, port] of [
    [56, 148, 88, 0x600],
    [64, 172, 89, 0x604],
    [76, 208, 91, 0x608],
  ] as const) {
    t.is(view.getUint32(short, true), port)
    t.is(view.getBigUint64(long + 4, true), BigInt(port))
    t.is(view.getUint8(long), 1, 'in I/O space')
    t.is(view.getUint8(long + 1), view.getUint8(length) * 8)
  }
  t.is(view.getBigUint64(120, true), 0x60cn)
  t.is(view.getUint8(128), 1)
  t.is(
    view.getUint32(112, true) & ((1 << 4) | (1 << 10) | (1 << 20)),
    1 << 10,
    'a power button, a reset register',
  )
})

test('the MADT: a local APIC for each processor, of the kind that its id takes', (t) => {
  const madt = tables([0, 1, 254, 255, 300]).listed[1] as Table
  t.is(madt.view.getUint32(36, true), 0xfee0_0000)
  t.is(
    hex(madt.bytes.subarray(44)),
    [
      '0008000001000000',
      '0008010101000000',
      '000802fe01000000',
      '09100000ff0000000100000003000000',
      '091000002c0100000100000004000000',
      '010c00000000c0fe00000000',
      '020a0009090000000d00',
    ].join(''),
  )
})

test('the MCFG: bus 0 in ECAM', (t) => {
  const { view } = tables().listed[2] as Table
  t.is(view.byteLength, 60)
  t.is(view.getBigUint64(44, true), layout.ecam.start)
  t.deepEqual([view.getUint16(52, true), view.getUint8(54), view.getUint8(55)], [0, 0, 0])
})

test('terms: numbers in as few bytes as they take, ids, names', (t) => {
  t.deepEqual(
    [0, 1, 2, 0xff, 0x100, 0xffff, 0x1_0000, 0xffff_ffff, 1n << 32n].map((value) => hex(aml.number(value))),
    ['00', '01', '0a02', '0aff', '0b0001', '0bffff', '0c00000100', '0cffffffff', '0e0000000001000000'],
  )
  t.is(hex(aml.eisaId('PNP0A03')), '0c41d00a03')
  t.is(hex(aml.name('_UID', aml.number(0))), '085f55494400')
  t.is(hex(aml.name('\\_S5', aml.text('a'))), '085c5f53355f0d6100')
  t.is(hex(aml.name('\\_SB.PCI0', aml.number(1))), '085c2e5f53425f5043493001')
  t.is(hex(aml.name('A.B.C', aml.number(1))), '082f03415f5f5f425f5f5f435f5f5f01')
  t.is(hex(aml.method('_STA', aml.number(15))), '14095f53544100a40a0f')
  t.throws(() => aml.number(-1), { instanceOf: RangeError })
  t.throws(() => aml.name('lower', aml.number(1)), { instanceOf: RangeError })
  t.throws(() => aml.eisaId('PNP'), { instanceOf: RangeError })
})

test('terms: lengths count their own bytes, at every boundary', (t) => {
  for (const [length, prefix] of [
    [62, '3f'],
    [63, '4104'],
    [0x1000 - 3, '4fff'],
    [0x1000 - 2, '810001'],
  ] as const) {
    // A name of four bytes, and the rest.
    const scope = aml.scope('ABCD', new Uint8Array(length - 4))
    t.is(hex(scope.subarray(1, 1 + prefix.length / 2)), prefix, String(length))
  }
})

test('resources: descriptors as the specification draws them', (t) => {
  t.is(hex(use.ports(0x3f8, 8)), '4701f803f8030108')
  t.is(hex(use.isaInterrupt(4)), '221000')
  t.is(hex(use.memory32({ start: 0xe000_0000n, size: 0x10_0000n })), '86090001000000e000001000')
  t.is(hex(use.busWindow(0, 1)), '880d00020c0000000000000000000100')
  t.is(hex(use.portWindow(0xc000, 0x4000)), '880d00010c03000000c0ffff00000040')
  t.is(
    hex(use.memoryWindow32({ start: 0xc000_0000n, size: 0x2000_0000n })),
    '871700000c0100000000000000c0ffffffdf0000000000000020',
  )
  t.is(use.memoryWindow64({ start: 1n << 36n, size: 1n << 36n }).length, 46)
  t.is(hex(use.resourceTemplate(use.isaInterrupt(8))), '11080a052200017900')
})

test('what cannot be described is refused', (t) => {
  t.throws(() => acpiTables({ layout, apicIds: [] }), { instanceOf: RangeError })
  t.throws(() => acpiTables({ layout, apicIds: [-1] }), { instanceOf: RangeError })
  const many = Array.from({ length: 1024 }, (_, i) => i)
  t.true(acpiTables({ layout, apicIds: many }).bytes.length < 0x1_0000)
})

const iasl = spawnSync('iasl', ['-v']).error === undefined

const disassembled = iasl ? test : test.skip
const missing = iasl ? '' : ' (needs iasl, of acpica-tools)'

disassembled(`ACPICA reads the tables as they are meant${missing}`, (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'acpi-'))
  try {
    const { listed, at } = tables([0, 1, 300])
    const dsdt = at((listed[0] as Table).view.getBigUint64(140, true))
    const read = new Map<string, string>()
    for (const { signature, bytes } of [...listed, dsdt]) {
      const name = signature.toLowerCase()
      writeFileSync(join(folder, `${name}.aml`), bytes)
      execFileSync('iasl', ['-d', `${name}.aml`], { cwd: folder, stdio: 'pipe' })
      read.set(signature, readFileSync(join(folder, `${name}.dsl`), 'utf8'))
    }
    const description = read.get('DSDT') ?? ''
    t.regex(description, /Name \(\\_S5, Package \(0x04\)/)
    t.regex(description, /Device \(PCI0\)[^]*EisaId \("PNP0A08"\)/)
    t.regex(description, /EisaId \("PNP0C02"\)[^]*Memory32Fixed \(ReadWrite,\s*0xE0000000/)
    t.regex(description, /EisaId \("PNP0501"\)[^]*IO \(Decode16,\s*0x03F8/)
    t.regex(description, /QWordMemory \(ResourceProducer, PosDecode, MinFixed, MaxFixed/)
    t.is(
      [...description.matchAll(/0x[0-9A-F]*FFFF,\s+(?:Zero|One|0x0[23]),\s+Zero,\s+0x1[0-7]/g)].length,
      128,
    )
    // What was read is compiled again, without an error or a warning.
    const compiled = spawnSync('iasl', ['-p', 'again', 'dsdt.dsl'], { cwd: folder, encoding: 'utf8' })
    t.regex(compiled.stdout, /0 Errors, 0 Warnings/, compiled.stdout)
    t.regex(read.get('FACP') ?? '', /Reset Register Supported \(V2\) : 1/)
    t.regex(read.get('APIC') ?? '', /Processor x2Apic ID : 0000012C/)
    t.regex(read.get('MCFG') ?? '', /Base Address : 00000000E0000000/)
  } finally {
    rmSync(folder, { recursive: true })
  }
})
