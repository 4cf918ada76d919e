// The types of a machine's and a vCPU's state.

import { expectTypeOf } from 'expect-type'
import {
  type DirtyPage,
  type DirtyRing,
  type FpuState,
  type GuestMemfd,
  type IoapicState,
  type KvmClock,
  type LapicState,
  MSR,
  type MsiMessage,
  type Vcpu,
  type VcpuEvents,
  type VcpuExit,
  type Vm,
  apicMessage,
} from '../../ts/kvm/index.js'

declare const vm: Vm
declare const vcpu: Vcpu

expectTypeOf(vcpu.state.fpu).toEqualTypeOf<FpuState>()
vcpu.state.fpu = { fcw: 0x37f }
// @ts-expect-error: XMM registers are bytes
vcpu.state.fpu = { xmm: [1n] }
expectTypeOf(vcpu.state.events).toEqualTypeOf<VcpuEvents>()
vcpu.state.events = { nmi: { pending: true } }
// @ts-expect-error: flags are booleans
vcpu.state.events = { nmi: { pending: 1 } }
expectTypeOf(vcpu.state.lapic).toEqualTypeOf<LapicState>()
expectTypeOf(vcpu.msrs.read(MSR.EFER)).toBeBigInt()
// @ts-expect-error: values are bigints
vcpu.msrs.write(MSR.EFER, 0)
expectTypeOf(vcpu.tsc.offset).toBeBigInt()
expectTypeOf(vcpu.tsc.khz).toBeNumber()
vcpu.debug({ hardwareBreakpoints: [{ address: 0n, on: 'write', length: 4 }] })
// @ts-expect-error: three bytes are not watched
vcpu.debug({ hardwareBreakpoints: [{ address: 0n, length: 3 }] })

expectTypeOf(vm.state.clock).toEqualTypeOf<KvmClock>()
expectTypeOf(vm.state.ioapic).toEqualTypeOf<IoapicState>()
expectTypeOf(vm.enableDirtyRing()).toEqualTypeOf<DirtyRing>()
expectTypeOf(vm.enableDirtyRing().collect([vcpu])).toEqualTypeOf<DirtyPage[]>()
expectTypeOf(vm.createGuestMemfd({ size: 4096 })).toEqualTypeOf<GuestMemfd>()
expectTypeOf(apicMessage({ apicId: 300, vector: 0x40 })).toEqualTypeOf<MsiMessage>()
vm.coalesce({ pio: 0x80, size: 1 })
// @ts-expect-error: a zone has a place
vm.coalesce({ size: 1 })
// @ts-expect-error: there is no such extension
vm.enableCapability('TELEPORT')

declare const exit: VcpuExit
if (exit.reason === 'msr-read') {
  expectTypeOf(exit.answer).parameters.toEqualTypeOf<[bigint]>()
  // @ts-expect-error: a read has no value yet
  exit.value.toString()
}
if (exit.reason === 'memory-fault') expectTypeOf(exit.isPrivate).toBeBoolean()
