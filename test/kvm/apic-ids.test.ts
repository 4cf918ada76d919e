// APIC ids above 254: a message reaches the vCPU that it names, or is refused.
import { VfioError } from '../../ts/index.js'
import {
  Kvm,
  type Vcpu,
  type Vm,
  apicMessage,
  withExtendedDestinationIds,
  withTopology,
} from '../../ts/kvm/index.js'

import { kvmTest } from './support.js'

const X2APIC = 0xfee0_0c00n

/** A vCPU whose APIC is on, in x2APIC mode. */
function made(kvm: Kvm, vm: Vm, id: number): Vcpu {
  const vcpu = vm.createVcpu(id)
  vcpu.cpuid = withTopology(kvm.supportedCpuid(), { apicId: id, vcpus: 512 })
  vcpu.specialRegisters = { apicBase: X2APIC }
  // Of x2APIC mode: on, with the spurious vector 255.
  vcpu.msrs.write(0x80f, 0x1ffn)
  return vcpu
}

kvmTest('messages for APIC 255 and 300 go to 255 and 300, and to no other', (t) => {
  using kvm = Kvm.open()
  using vm = kvm.createVm({ irqchip: 'split' })
  vm.enableWideApicIds()
  const vcpus = [44, 255, 300].map((id, i) => ({ id, vector: 0x40 + i, vcpu: made(kvm, vm, id) }))
  for (const { id, vector } of vcpus) {
    t.true(vm.signalMsi(apicMessage({ apicId: id, vector })), String(id))
    for (const other of vcpus) {
      t.is(other.vcpu.state.lapic.requested(vector), other.id === id, `${String(id)} at ${String(other.id)}`)
    }
  }
  for (const { vcpu } of vcpus) vcpu.close()
})

kvmTest('a guest’s own address with an extended id is understood when the machine is told', (t) => {
  using kvm = Kvm.open()
  using vm = kvm.createVm({ irqchip: 'split' })
  vm.enableWideApicIds({ extendedDestinationIds: true })
  using low = made(kvm, vm, 44)
  using high = made(kvm, vm, 300)
  // 300 is 0x12c: 0x2c in bits 19 to 12, 1 in bits 11 to 5.
  const message = { address: 0xfee0_0000n | (0x2cn << 12n) | (1n << 5n), data: 0x51 }
  t.true(vm.signalMsi(message))
  t.true(high.state.lapic.requested(0x51))
  t.false(low.state.lapic.requested(0x51))
  const route = vm.routing.msi(message)
  route.update({ ...message, data: 0x52 })
  route.close()
  t.throws(() => vm.signalMsi({ ...message, address: message.address | (1n << 40n) }), {
    instanceOf: VfioError,
    code: 'EINVAL',
    message: /twice/,
  })
})

kvmTest('without wide ids a message that KVM would cut is refused', (t) => {
  using kvm = Kvm.open()
  using vm = kvm.createVm({ irqchip: 'split' })
  using vcpu = vm.createVcpu(44)
  const message = apicMessage({ apicId: 300, vector: 0x40 })
  const refused = { instanceOf: VfioError, code: 'EINVAL', message: /enableWideApicIds/ } as const
  t.throws(() => vm.signalMsi(message), refused)
  t.throws(() => vm.routing.msi(message), refused)
  t.false(vcpu.state.lapic.requested(0x40))
  // Another Worker's object of the same machine knows too.
  vm.enableWideApicIds()
  t.notThrows(() => vm.routing.msi(message))
})

kvmTest('CPUID tells of extended ids in its own leaf', (t) => {
  using kvm = Kvm.open()
  const entries = kvm.supportedCpuid()
  const leaf = withExtendedDestinationIds(entries).find((entry) => entry.function === 0x4000_0001)
  t.is((leaf?.eax ?? 0) & 0x8000, 0x8000)
  t.throws(() => withExtendedDestinationIds([]), { instanceOf: RangeError })
})
