// Model-specific registers: lists, values, and what a guest may do with them.
import { VfioError } from '../../ts/index.js'
import { Kvm, MSR, firmwareMtrrs } from '../../ts/kvm/index.js'

import { CODE, kvmTest, machine } from './support.js'

kvmTest('the lists of registers have numbers, and each feature has a value', (t) => {
  using kvm = Kvm.open()
  const indices = kvm.msrIndices()
  t.true(indices.includes(MSR.TSC) && indices.includes(MSR.STAR))
  const features = kvm.featureMsrIndices()
  t.true(features.length > 0)
  const values = kvm.featureMsrs(features)
  t.is(values.length, features.length)
  t.true(values.every((value) => value >= 0n && value < 1n << 64n))
  t.throws(() => kvm.featureMsrs([...features, 0x1234_5678]), {
    instanceOf: VfioError,
    code: 'EINVAL',
    message: /KVM_GET_MSRS.*MSR 0x12345678/,
  })
  t.throws(() => kvm.featureMsrs([-1]), { instanceOf: RangeError, message: /indices\[0\]/ })
})

kvmTest('registers come back as they were set, one and many', (t) => {
  using made = machine([0xf4], { irqchip: 'none' })
  const { msrs } = made.vcpu
  msrs.write(MSR.SYSENTER_EIP, 0x1234n)
  t.is(msrs.read(MSR.SYSENTER_EIP), 0x1234n)
  msrs.set([
    { index: MSR.STAR, value: 0x0023_0010_0000_0000n },
    { index: MSR.LSTAR, value: 0xffff_ffff_8100_0000n },
  ])
  t.deepEqual(msrs.get([MSR.LSTAR, MSR.STAR]), [0xffff_ffff_8100_0000n, 0x0023_0010_0000_0000n])
  // More than the kernel takes at once.
  const many = Array.from({ length: 300 }, () => ({ index: MSR.SYSENTER_CS, value: 8n }))
  msrs.set(many)
  t.deepEqual(
    msrs.get(many.map(({ index }) => index)),
    many.map(({ value }) => value),
  )
})

kvmTest('a register that is refused is named, and those before it stay set', (t) => {
  using made = machine([0xf4], { irqchip: 'none' })
  const { msrs } = made.vcpu
  const refused = { instanceOf: VfioError, code: 'EINVAL', message: /MSR 0x12345678/ } as const
  t.throws(() => msrs.read(0x1234_5678), refused)
  t.throws(
    () => {
      msrs.set([
        { index: MSR.SYSENTER_ESP, value: 0x77n },
        { index: 0x1234_5678, value: 1n },
        { index: MSR.SYSENTER_ESP, value: 0x78n },
      ])
    },
    { ...refused, message: /KVM_SET_MSRS.*MSR 0x12345678/ },
  )
  t.is(msrs.read(MSR.SYSENTER_ESP), 0x77n)
  // Nothing is set where an argument is wrong.
  t.throws(
    () => {
      msrs.set([
        { index: MSR.SYSENTER_ESP, value: 0x79n },
        { index: MSR.SYSENTER_ESP, value: -1n },
      ])
    },
    { instanceOf: RangeError, message: /entries\[1\]\.value/ },
  )
  t.is(msrs.read(MSR.SYSENTER_ESP), 0x77n)
})

kvmTest('memory types as firmware leaves them: MTRRs on, write-back', (t) => {
  using made = machine([0xf4])
  using kvm = Kvm.open()
  made.vcpu.cpuid = kvm.supportedCpuid()
  made.vcpu.msrs.set(firmwareMtrrs())
  t.is(made.vcpu.msrs.read(MSR.MTRR_DEF_TYPE), 0x806n)
})

// mov ecx, 0x174 (SYSENTER_CS); rdmsr; mov edx, 0; inc eax; wrmsr; hlt
const READ_WRITE = [
  ...[0x66, 0xb9, 0x74, 0x01, 0x00, 0x00, 0x0f, 0x32],
  ...[0x66, 0xba, 0x00, 0x00, 0x00, 0x00, 0x66, 0x40, 0x0f, 0x30, 0xf4],
]

kvmTest('what a filter denies a guest ends run(), and is answered there', (t) => {
  using made = machine(READ_WRITE, { irqchip: 'none' })
  const { vm, vcpu } = made
  vm.enableCapability('X86_USER_SPACE_MSR', [4n])
  vm.filterMsrs({
    default: 'allow',
    ranges: [{ base: MSR.SYSENTER_CS, bitmap: Uint8Array.of(0xfe) }],
  })
  const read = vcpu.run()
  t.like(read, { reason: 'msr-read', index: MSR.SYSENTER_CS, cause: 'filtered' })
  if (read.reason === 'msr-read') read.answer(0x41n)
  const write = vcpu.run()
  t.like(write, { reason: 'msr-write', index: MSR.SYSENTER_CS, cause: 'filtered', value: 0x42n })
  t.is(vcpu.run().reason, 'hlt')
  // Filters are about the guest, not about its VMM.
  t.is(vcpu.msrs.read(MSR.SYSENTER_CS), 0n)
})

kvmTest('a read that is refused raises #GP in the guest', (t) => {
  using made = machine(READ_WRITE, { irqchip: 'none' })
  const { vm, vcpu } = made
  // The handler of vector 13 in real mode: out 0x13, al; hlt
  made.bytes.set([0xe6, 0x13, 0xf4], CODE + 0x100)
  made.view.setUint16(13 * 4, CODE + 0x100, true)
  vm.enableCapability('X86_USER_SPACE_MSR', [4n])
  vm.filterMsrs({ default: 'allow', ranges: [{ base: MSR.SYSENTER_CS, bitmap: Uint8Array.of(0) }] })
  const read = vcpu.run()
  if (read.reason === 'msr-read') read.refuse()
  t.like(vcpu.run(), { reason: 'io', port: 0x13 })
})

kvmTest('filters that mean nothing are refused before the kernel is asked', (t) => {
  using made = machine([0xf4], { irqchip: 'none' })
  const { vm } = made
  const range = { base: 0, bitmap: new Uint8Array(1) }
  t.throws(() => vm.filterMsrs({ default: 'deny', ranges: [] }), { instanceOf: RangeError })
  t.throws(() => vm.filterMsrs({ default: 'maybe' as never, ranges: [] }), { instanceOf: TypeError })
  t.throws(() => vm.filterMsrs({ default: 'allow', ranges: Array.from({ length: 17 }, () => range) }), {
    message: /at most 16/,
  })
  t.throws(() => vm.filterMsrs({ default: 'allow', ranges: [{ ...range, bitmap: new Uint8Array(1537) }] }), {
    message: /1 to 1536/,
  })
  t.throws(() => vm.filterMsrs({ default: 'allow', ranges: [{ ...range, base: 2 ** 32 - 7 }] }), {
    instanceOf: RangeError,
  })
  t.throws(() => vm.filterMsrs({ default: 'allow', ranges: [{ ...range, read: false, write: false }] }), {
    message: /reading, writing or both/,
  })
})
