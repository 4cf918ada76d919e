// The state in which a boot loader leaves a processor, given to a vCPU. What is loaded, it is told.
import { type Registers, type SpecialRegisters, Vcpu } from '../kvm/index.js'
import { instance, integer, object } from '../validate.js'
import type { Start } from './boot/start.js'

const FLAT = {
  base: 0n,
  limit: 0xffff_ffff,
  present: true,
  dpl: 0,
  db: true,
  s: true,
  l: false,
  g: true,
  avl: false,
  unusable: false,
}
const CODE = { ...FLAT, selector: 8, type: 11 }
const DATA = { ...FLAT, selector: 16, type: 3 }
const PROTECTED_MODE = 1n
/** The bit of the flags that is always set. */
const RESERVED_FLAG = 2n

/** Lets a processor start where a boot loader would jump to: flat segments, no paging, interrupts off. */
export function prepareStart(vcpu: Vcpu, start: Start): void {
  instance(vcpu, Vcpu, 'vcpu')
  const { entry, registers } = object(start, 'start')
  integer(entry, 'start.entry', 0, 0xffff_ffff)
  object(registers, 'start.registers')
  const special: Partial<SpecialRegisters> = {
    cs: CODE,
    ds: DATA,
    es: DATA,
    fs: DATA,
    gs: DATA,
    ss: DATA,
    cr0: vcpu.specialRegisters.cr0 | PROTECTED_MODE,
  }
  vcpu.specialRegisters = special
  const general: Partial<Registers> = { rip: BigInt(entry), rflags: RESERVED_FLAG, ...registers }
  vcpu.registers = general
}
