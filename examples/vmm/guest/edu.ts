// The guest that drives an edu device: finds it at its place on the PCI bus, has it compute, then lets it interrupt as often
// as its mailbox says, each time when the interrupt before was taken. It counts both.
import { type Assembler, dword } from './assembler.js'
import {
  assembleGuest,
  control,
  DONE,
  DOORBELLS,
  endInterrupt,
  type GuestProgram,
  mail,
  print,
  printNumber,
  READY,
  sleep,
  text,
  VECTOR,
} from './runtime.js'

/** Where the guest puts the device's registers. */
const REGISTERS = 0xe000_0000
const REGISTER = {
  identification: 0x00,
  factorial: 0x08,
  status: 0x20,
  raise: 0x60,
  acknowledge: 0x64,
} as const
const COMPUTING = 1
const EDU = 0xed

const CONFIG_ADDRESS = 0xcf8
const CONFIG_DATA = 0xcfc
const CONFIG_ENABLE = 0x8000_0000
const CONFIG = { command: 0x04, bar0: 0x10 } as const
const MEMORY_AND_MASTER = 6
const MSI = { control: 0, address: 4, addressHigh: 8, data: 12 } as const
const MSI_ENABLE = 1 << 16
const MSI_ADDRESS = 0xfee0_0000

export interface EduPlace {
  /** Number of its slot on bus 0. */
  slot: number
  /** Where its MSI capability, the 64-bit form, lies in its configuration space. */
  msi: number
}

export function eduGuest({ slot, msi }: EduPlace): GuestProgram {
  const register = (name: keyof typeof REGISTER): ReturnType<typeof dword> => dword('edi', REGISTER[name])
  const configure = (code: Assembler, offset: number, value: number): void => {
    code
      .mov('edx', CONFIG_ADDRESS)
      .mov('eax', CONFIG_ENABLE | (slot << 11) | offset)
      .out('eax')
    code.mov('edx', CONFIG_DATA).mov('eax', value).out('eax')
  }
  return assembleGuest(
    {
      main(code) {
        configure(code, CONFIG.bar0, REGISTERS)
        configure(code, msi + MSI.address, MSI_ADDRESS)
        configure(code, msi + MSI.addressHigh, 0)
        configure(code, msi + MSI.data, VECTOR.event)
        configure(code, msi + MSI.control, MSI_ENABLE)
        configure(code, CONFIG.command, MEMORY_AND_MASTER)
        code.mov('edi', REGISTERS)
        code.mov('eax', register('identification')).arithmetic('and', 'eax', 0xffff)
        code.arithmetic('cmp', 'eax', EDU).j('ne', 'missing')
        code.mov(register('factorial'), 10)
        code.label('computing').mov('eax', register('status')).arithmetic('and', 'eax', COMPUTING)
        code.j('ne', 'computing')
        print(code, 'factorial')
        printNumber(code, register('factorial'))
        print(code, 'end')
        control(code, READY)

        code
          .label('round')
          .mov('eax', mail('rounds'))
          .arithmetic('cmp', mail('doorbells'), 'eax')
          .j('ae', 'finished')
        code.inc(mail('doorbells')).mov(register('raise'), 1)
        code
          .label('wait')
          .mov('eax', mail('interrupts'))
          .arithmetic('cmp', 'eax', mail('doorbells'))
          .j('e', 'round')
        sleep(code).jmp('wait')

        // The VMM looks at its counters before it wakes the guest, which prints only then.
        code.label('finished').mov(dword(DOORBELLS), 'eax')
        code.label('untold').arithmetic('cmp', mail('stop'), 0).j('ne', 'told')
        sleep(code).jmp('untold')
        code.label('told')
        print(code, 'took')
        printNumber(code, mail('interrupts'))
        print(code, 'raised')
        printNumber(code, mail('doorbells'))
        print(code, 'end')
        control(code, DONE)
        code.label('halt').op('cli', 'hlt').jmp('halt')

        code.label('missing')
        print(code, 'noEdu')
        control(code, DONE)
        code.jmp('halt')
        text(code, 'factorial', 'guest: the edu says that 10! is ')
        text(code, 'took', 'guest: interrupts taken: ')
        text(code, 'raised', ', rounds: ')
        text(code, 'noEdu', 'guest: there is no edu\n')
        text(code, 'end', '\n')
      },
      onEvent(code) {
        code.mov(register('acknowledge'), 1).inc(mail('interrupts'))
        endInterrupt(code)
      },
    },
    { cpus: 1 },
  )
}
