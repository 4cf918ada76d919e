// The example's assembler: each form of each instruction, as GNU as encodes it (or in a longer form of the same), labels,
// and what it refuses.
import test from 'ava'

import { Assembler, at, dword } from '../../../examples/vmm/guest/assembler.js'

function bytesOf(write: (code: Assembler) => unknown, origin = 0x8000): string {
  const code = new Assembler(origin)
  write(code)
  return Buffer.from(code.assemble()).toString('hex')
}

// What objdump shows for the bytes is the comment.
const FORMS: [string, (code: Assembler) => unknown, string][] = [
  ['mov $0x12345678,%esi', (c) => c.mov('esi', 0x12345678), 'be78563412'],
  ['mov $0x7f,%cl', (c) => c.mov('cl', 0x7f), 'b17f'],
  ['mov %ebx,%esp', (c) => c.mov('esp', 'ebx'), '89dc'],
  ['mov %al,%cl', (c) => c.mov('cl', 'al'), '88c1'],
  ['mov 0xfee00020,%ebx', (c) => c.mov('ebx', dword(0xfee00020)), '8b1d2000e0fe'],
  ['mov %ecx,0x0(%edi)', (c) => c.mov(dword('edi'), 'ecx'), '898f00000000'],
  ['movl $0x1ff,0xfee000f0', (c) => c.mov(dword(0xfee000f0), 0x1ff), 'c705f000e0feff010000'],
  ['movl $0x1,0x60(%edi)', (c) => c.mov(dword('edi', 0x60), 1), 'c7876000000001000000'],
  ['xchg %eax,0x8000', (c) => c.xchg(dword(0x8000), 'eax'), '870500800000'],
  ['add $0x10000,%ebx', (c) => c.arithmetic('add', 'ebx', 0x10000), '81c300000100'],
  ['or $0x1,%al', (c) => c.arithmetic('or', 'al', 1), '80c801'],
  ['and $0x20,%al', (c) => c.arithmetic('and', 'al', 0x20), '80e020'],
  ['sub $0x4,%ebp', (c) => c.arithmetic('sub', 'ebp', 4), '81ed04000000'],
  ['xor %edx,%edx', (c) => c.arithmetic('xor', 'edx', 'edx'), '31d2'],
  ['cmpl $0x0,0xc(%ebx)', (c) => c.arithmetic('cmp', dword('ebx', 12), 0), '81bb0c00000000000000'],
  ['cmp %eax,0x4(%ebx)', (c) => c.arithmetic('cmp', dword('ebx', 4), 'eax'), '398304000000'],
  ['cmp 0x4(%ebx),%eax', (c) => c.arithmetic('cmp', 'eax', dword('ebx', 4)), '3b8304000000'],
  ['test %al,%al', (c) => c.test('al', 'al'), '84c0'],
  ['test %ecx,%ecx', (c) => c.test('ecx', 'ecx'), '85c9'],
  ['shr $0x18,%ebx', (c) => c.shift('shr', 'ebx', 24), 'c1eb18'],
  ['shl $0xc,%ebx', (c) => c.shift('shl', 'ebx', 12), 'c1e30c'],
  ['incl 0x4(%ebx)', (c) => c.inc(dword('ebx', 4)), 'ff8304000000'],
  ['dec %ecx', (c) => c.dec('ecx'), 'ffc9'],
  ['div %ecx', (c) => c.div('ecx'), 'f7f1'],
  ['push %edx', (c) => c.push('edx'), '52'],
  ['pop %eax', (c) => c.pop('eax'), '58'],
  ['in (%dx),%al; in (%dx),%eax', (c) => c.in('al').in('eax'), 'eced'],
  ['out %al,(%dx); out %eax,(%dx)', (c) => c.out('al').out('eax'), 'eeef'],
  ['jmp *%eax', (c) => c.jmpTo('eax'), 'ffe0'],
  ['mov %eax,%ds; mov %eax,%ss', (c) => c.movSegment('ds', 'eax').movSegment('ss', 'eax'), '8ed88ed0'],
  ['ljmp $0x8,$0x8016', (c) => c.jmpFar(8, 0x8016), 'ea168000000800'],
  ['lgdtl 0x8317; lidtl 0x8317', (c) => c.lgdt(0x8317).lidt(0x8317), '0f0115178300000f011d17830000'],
  ['cld cli hlt lods ret sti', (c) => c.op('cld', 'cli', 'hlt', 'lodsb', 'ret', 'sti'), 'fcfaf4acc3fb'],
  [
    'data and values',
    (c) => c.data('A').values(2, 0x1234).values(4, 1, 0xffffffff),
    '41341201000000ffffffff',
  ],
]

for (const [name, write, expected] of FORMS) {
  test(name, (t) => {
    t.is(bytesOf(write), expected)
  })
}

test('jumps reach labels before and behind them', (t) => {
  const code = new Assembler(0x8000)
  code.label('start').jmp('end').j('ne', 'start').call('start').label('end').op('hlt')
  // e9 +11; 0f 85 -11; e8 -16
  t.is(Buffer.from(code.assemble()).toString('hex'), 'e90b0000000f85f5ffffffe8f0fffffff4')
  t.is(code.address('end'), 0x8010)
})

test('addresses of labels, with numbers added, in operands and tables', (t) => {
  const write = (code: Assembler): unknown =>
    code
      .mov('esi', at('text'))
      .mov('eax', dword(at('text', 4)))
      .label('text')
      .values(2, at('text'))
      .values(4, at('text', 1))
  t.is(bytesOf(write), 'be0b8000008b050f8000000b800c800000')
})

test('from 16-bit code to protected mode', (t) => {
  const write = (code: Assembler): unknown => code.enterProtectedMode(0x8208, 8, 0x8016)
  // cli; lgdt 0x8208; mov %cr0,%eax; or $1,%al; mov %eax,%cr0; data32 ljmp $0x8,$0x8016
  t.is(bytesOf(write), 'fa0f011608820f20c00c010f22c066ea168000000800')
})

test('what it refuses', (t) => {
  const code = new Assembler(0)
  t.throws(() => code.label('twice').label('twice'), { message: /twice is there already/ })
  t.throws(() => new Assembler(0).jmp('nowhere').assemble(), { message: /no label nowhere/ })
  t.throws(() => code.mov('al', at('twice')), { instanceOf: TypeError })
  t.throws(() => code.mov('eax', dword('esp', 4)), { instanceOf: TypeError })
})
