// What is refused before a vCPU's registers are set: a name that no register has would change nothing.
import test from 'ava'

import {
  encodeRegisters,
  encodeSpecialRegisters,
  type Registers,
  type SpecialRegisters,
} from '../../../../ts/uapi/kvm/registers.js'

// More than either structure has.
const bytes = new Uint8Array(1024)

test('a name that no general register has', (t) => {
  t.throws(
    () => {
      encodeRegisters(bytes, { rax: 1n, eax: 1n } as Partial<Registers>)
    },
    { instanceOf: TypeError, message: /^registers has no eax; it has rax, .*rflags$/ },
  )
  t.true(bytes.every((byte) => byte === 0))
})

test('a name that no special register has', (t) => {
  t.throws(
    () => {
      encodeSpecialRegisters(bytes, { cr1: 0n } as Partial<SpecialRegisters>)
    },
    { instanceOf: TypeError, message: /^specialRegisters has no cr1; it has cs, .*apicBase$/ },
  )
})
