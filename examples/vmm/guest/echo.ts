// The guest that answers: each interrupt makes it ring its doorbell, once or as often as its mailbox says. It counts both.
import { dword } from './assembler.js'
import {
  assembleGuest,
  beginLine,
  control,
  DONE,
  DOORBELLS,
  endInterrupt,
  endLine,
  type GuestProgram,
  mail,
  MAILBOXES,
  print,
  printNumber,
  READY,
  sleep,
  text,
} from './runtime.js'

/** @param cpus processors, each with a doorbell and an interrupt of its own */
export function echoGuest({ cpus }: { cpus: number }): GuestProgram {
  return assembleGuest(
    {
      main(code) {
        // edi: this processor's doorbell, ebp: its number.
        code.mov('ebp', 'ebx').arithmetic('sub', 'ebp', MAILBOXES).shift('shr', 'ebp', 12)
        code.mov('edi', 'ebp').shift('shl', 'edi', 2).arithmetic('add', 'edi', DOORBELLS)
        const introduce = (): void => {
          beginLine(code)
          print(code, 'processor')
          code.mov('eax', 'ebp').call('printNumber')
        }
        introduce()
        print(code, 'up')
        endLine(code)
        control(code, READY)
        code.label('loop').arithmetic('cmp', mail('stop'), 0).j('ne', 'stopped')
        sleep(code).jmp('loop')
        code.label('stopped')
        introduce()
        print(code, 'took')
        printNumber(code, mail('interrupts'))
        print(code, 'rang')
        printNumber(code, mail('doorbells'))
        print(code, 'doorbells')
        endLine(code)
        control(code, DONE)
        code.label('end').op('cli', 'hlt').jmp('end')
        text(code, 'processor', 'guest: processor ')
        text(code, 'up', ' is up\n')
        text(code, 'took', ': interrupts taken: ')
        text(code, 'rang', ', doorbells rung: ')
        text(code, 'doorbells', '\n')
      },
      onEvent(code) {
        code.inc(mail('interrupts')).mov('eax', mail('request')).mov(mail('seen'), 'eax')
        code.mov('ecx', mail('burst'))
        code.test('ecx', 'ecx').j('e', 'rung').label('ring')
        // Counted before it is rung: whoever hears the doorbell finds the count.
        code.inc(mail('doorbells')).mov(dword('edi'), 'ecx').dec('ecx').j('ne', 'ring').label('rung')
        endInterrupt(code)
      },
    },
    { cpus },
  )
}
