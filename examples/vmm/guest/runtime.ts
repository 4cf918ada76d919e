// What every guest here has in common: how a processor gets going, its local APIC, the tables that interrupts need,
// printing over the serial port. A guest adds its main routine and its interrupt handlers.
//
// Registers, throughout: ebx points to the processor's mailbox, esp lies at the end of the mailbox's page.
import { Assembler, at, dword, type Memory } from './assembler.js'

/** Where a guest's program lies and starts. Below 64 KiB and on a page, for the processors that wake up in 16-bit code. */
export const PROGRAM = 0x8000
/** The mailboxes: a page per processor, with its stack at the page's end. */
export const MAILBOXES = 0x10000
export const PAGE = 0x1000
/** Serial port and control port of the VMM. */
export const SERIAL = 0x3f8
export const CONTROL = 0xf4
/** What a guest writes to the control port: ready for interrupts; done, with nothing more to run. */
export const READY = 1
export const DONE = 2

/** The doorbells of the VMM: 4 bytes of memory for each processor. */
export const DOORBELLS = 0xd000_0000

/** Interrupt vectors: the first is the guest's own; the second only wakes it. */
export const VECTOR = { event: 0x20, wake: 0x21 } as const

/** The 32-bit numbers of a mailbox, by their index. The guest writes the first three, the VMM the others. */
export const MAIL = {
  /** Interrupts taken. */
  interrupts: 0,
  /** Doorbells rung. */
  doorbells: 1,
  /** What `request` was when the last interrupt was taken. */
  seen: 2,
  /** Any number. */
  request: 3,
  /** Doorbells to ring per interrupt. */
  burst: 4,
  /** Not 0: print the counts and end. */
  stop: 5,
  /** Rounds to run, for a guest that runs by itself. */
  rounds: 6,
} as const

/** A program, to be started in 32-bit code with flat segments and interrupts off. */
export interface GuestProgram {
  /** What to load at PROGRAM. */
  image: Uint8Array
  /** Where the first processor starts. */
  entry: number
}

/** Address of a processor's mailbox. */
export function mailboxAddress(cpu: number): number {
  return MAILBOXES + cpu * PAGE
}

/** Address of a processor's doorbell. */
export function doorbellAddress(cpu: number): number {
  return DOORBELLS + cpu * 4
}

/** A field of this processor's mailbox. */
export function mail(name: keyof typeof MAIL): Memory {
  return dword('ebx', MAIL[name] * 4)
}

const APIC = 0xfee00000
const APIC_ID = dword(APIC + 0x20)
const APIC_EOI = dword(APIC + 0xb0)
const APIC_SPURIOUS = dword(APIC + 0xf0)
const APIC_COMMAND = dword(APIC + 0x300)
const APIC_ENABLED = 0x1ff
/** To all processors but this one: INIT, and start at the page of PROGRAM. */
const SEND_INIT = 0xc4500
const SEND_START = 0xc4600 | (PROGRAM / PAGE)

const CODE_SELECTOR = 8
const DATA_SELECTOR = 16
const GATES = VECTOR.wake + 1
const LINE_STATUS = SERIAL + 5
const LINE_EMPTY = 0x20

/**
 * Ends an interrupt, and with it the sleep that it found: execution goes on behind `sleep`, with interrupts off. Without
 * iret: where KVM has to emulate a guest's instructions, it knows that one in 16-bit code only.
 */
export function endInterrupt(code: Assembler): Assembler {
  // What the processor pushed goes: eip, cs and the flags. Beneath lies where the sleep was called from. Going back to the
  // place of the interrupt would not do: it may lie before hlt, which nothing would then end.
  return code.mov(APIC_EOI, 0).arithmetic('add', 'esp', 12).op('ret')
}

/** Tells the VMM. */
export function control(code: Assembler, value: number): Assembler {
  return code.mov('edx', CONTROL).mov('eax', value).out('al')
}

/** A text to print. */
export function text(code: Assembler, label: string, content: string): Assembler {
  return code.label(label).data(`${content}\0`)
}

/** Keeps other processors from printing, until `endLine`: they share the serial port. */
export function beginLine(code: Assembler): Assembler {
  return code.call('beginLine')
}

export function endLine(code: Assembler): Assembler {
  return code.mov(dword(at('printing')), 0)
}

/** Prints a text of the guest's. */
export function print(code: Assembler, label: string): Assembler {
  return code.mov('esi', at(label)).call('print')
}

/** Prints a number in decimal. */
export function printNumber(code: Assembler, value: Memory): Assembler {
  return code.mov('eax', value).call('printNumber')
}

/** Sleeps until the processor was interrupted, off before and after: handlers may use eax, ecx and edx. */
export function sleep(code: Assembler): Assembler {
  return code.call('sleep')
}

/**
 * Assembles a guest. `main` runs on every processor, with its mailbox in ebx; `onEvent` handles VECTOR.event, with
 * interrupts off; both use `endInterrupt`.
 */
export function assembleGuest(
  parts: { main: (code: Assembler) => void; onEvent: (code: Assembler) => void },
  { cpus }: { cpus: number },
): GuestProgram {
  const code = new Assembler(PROGRAM)
  code.enterProtectedMode(at('gdtDescription'), CODE_SELECTOR, at('start'))
  start(code, cpus)
  parts.main(code)
  parts.onEvent(code.label('onEvent'))
  code.label('onWake')
  endInterrupt(code)
  // A processor takes no interrupt between the two, so that none slips in before hlt. Where a hypervisor runs in another
  // one that can be wrong (QEMU's SVM forgets it when the outer one interrupts there): a handler ends the sleep anyway.
  code.label('sleep').op('sti', 'hlt', 'cli', 'ret')
  printing(code)
  tables(code)
  return { image: code.assemble(), entry: code.address('start') }
}

function start(code: Assembler, cpus: number): void {
  code.label('start').lgdt(at('gdtDescription')).mov('eax', DATA_SELECTOR)
  for (const segment of ['ds', 'es', 'ss'] as const) code.movSegment(segment, 'eax')
  // Processor n has mailbox n.
  code.mov('ebx', APIC_ID).shift('shr', 'ebx', 24).shift('shl', 'ebx', 12).arithmetic('add', 'ebx', MAILBOXES)
  code.mov('esp', 'ebx').arithmetic('add', 'esp', PAGE)
  code.lidt(at('idtDescription')).mov(APIC_SPURIOUS, APIC_ENABLED)
  if (cpus === 1) return
  // The first one wakes the others.
  code.arithmetic('cmp', 'ebx', MAILBOXES).j('ne', 'started')
  code.mov(APIC_COMMAND, SEND_INIT).mov(APIC_COMMAND, SEND_START).label('started')
}

function printing(code: Assembler): void {
  code
    .label('beginLine')
    .mov('eax', 1)
    .xchg(dword(at('printing')), 'eax')
    .test('eax', 'eax')
  code.j('ne', 'beginLine').op('ret').label('printing').values(4, 0)
  // esi: a text that ends with a zero.
  code.label('print').op('cld').label('printNext').op('lodsb').test('al', 'al').j('e', 'printed')
  code.call('putc').jmp('printNext').label('printed').op('ret')
  // al: a character.
  code.label('putc').mov('cl', 'al').mov('edx', LINE_STATUS)
  code.label('putcWait').in('al').arithmetic('and', 'al', LINE_EMPTY).j('e', 'putcWait')
  code.mov('edx', SERIAL).mov('al', 'cl').out('al').op('ret')
  // eax: a number. Digits come out from the last to the first: the stack turns them round.
  code.label('printNumber').mov('ecx', 10).arithmetic('xor', 'edx', 'edx').div('ecx').push('edx')
  code.test('eax', 'eax').j('e', 'printDigit').call('printNumber')
  code.label('printDigit').pop('eax').arithmetic('add', 'al', '0'.charCodeAt(0)).jmp('putc')
}

function tables(code: Assembler): void {
  code.label('gdt').values(4, 0, 0)
  code.values(4, 0x0000ffff, 0x00cf9b00).values(4, 0x0000ffff, 0x00cf9300)
  code.label('gdtEnd').label('gdtDescription').values(2, 23).values(4, at('gdt'))
  code.label('idt')
  for (let vector = 0; vector < GATES; vector++) {
    const handler = vector === VECTOR.event ? 'onEvent' : 'onWake'
    // Only the two vectors have gates; an exception finds none, which stops the processor.
    if (vector < VECTOR.event) code.values(4, 0, 0)
    else code.values(2, at(handler), CODE_SELECTOR, 0x8e00, 0)
  }
  code
    .label('idtDescription')
    .values(2, GATES * 8 - 1)
    .values(4, at('idt'))
}
