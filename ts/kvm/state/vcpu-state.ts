// VcpuState: what a vCPU consists of beside its registers, each part read and set as a typed object. Its guest must stand
// still meanwhile.
import { addon, type NativeHandle } from '../../native/index.js'
import { instance } from '../../validate.js'
import { CAPABILITIES } from '../../uapi/kvm/capabilities.js'
import { type DebugRegisters, decodeDebugRegisters, encodeDebugRegisters } from '../../uapi/kvm/debug.js'
import { type VcpuEventChanges, type VcpuEvents, decodeEvents, encodeEvents } from '../../uapi/kvm/events.js'
import {
  type ExtendedControl,
  type FpuState,
  type XsaveArea,
  decodeFpu,
  decodeXcrs,
  decodeXsave,
  encodeFpu,
  encodeXcrs,
  encodeXsave,
} from '../../uapi/kvm/fpu.js'
import { LapicState } from '../../uapi/kvm/lapic.js'

/**
 * State of a vCPU, part by part. Every part throws EBUSY while another thread runs the vCPU. After an exit that is to be
 * answered (`io`, `mmio`, `msr-read`), let run() complete it first, with `immediateExit` set.
 */
export class VcpuState {
  readonly #native: () => NativeHandle

  /** @internal */
  constructor(native: () => NativeHandle) {
    this.#native = native
  }

  /** x87 and SSE (KVM_GET_FPU). Assigning changes the members that are named (KVM_SET_FPU). */
  get fpu(): FpuState {
    return decodeFpu(addon().vcpuGetFpu(this.#native()))
  }

  set fpu(changes: Partial<FpuState>) {
    const bytes = addon().vcpuGetFpu(this.#native())
    encodeFpu(bytes, changes)
    addon().vcpuSetFpu(this.#native(), bytes)
  }

  /**
   * All that XSAVE saves: AVX and what came later too. Read by KVM_GET_XSAVE2 (Linux 5.17) where that has more than the 4096
   * bytes of KVM_GET_XSAVE. A component whose bit is not in `components` is in its initial state, whatever its bytes are: what
   * was set as `fpu` shows here once the guest has run.
   */
  get xsave(): XsaveArea {
    const native = this.#native()
    const size = addon().kvmCheckExtension(native, CAPABILITIES.XSAVE2)
    return decodeXsave(size > 4096 ? addon().vcpuGetXsave2(native) : addon().vcpuGetXsave(native))
  }

  /** @throws VfioError EINVAL for components that the host's processor does not have, or reserved bits of MXCSR */
  set xsave(area: XsaveArea) {
    addon().vcpuSetXsave(this.#native(), encodeXsave(area))
  }

  /** Extended control registers (KVM_GET_XCRS); empty where the host's processor has no XSAVE. */
  get xcrs(): ExtendedControl[] {
    return decodeXcrs(addon().vcpuGetXcrs(this.#native()))
  }

  /** @throws VfioError EINVAL for components that CPUID does not offer the guest: set CPUID first */
  set xcrs(xcrs: readonly ExtendedControl[]) {
    addon().vcpuSetXcrs(this.#native(), encodeXcrs(xcrs))
  }

  /**
   * The local APIC's registers, a copy (KVM_GET_LAPIC).
   * @throws VfioError EINVAL without an in-kernel chip
   */
  get lapic(): LapicState {
    return new LapicState(addon().vcpuGetLapic(this.#native()))
  }

  /** Sets all of them (KVM_SET_LAPIC): those that were read, changed. */
  set lapic(lapic: LapicState) {
    addon().vcpuSetLapic(this.#native(), instance(lapic, LapicState, 'lapic').bytes)
  }

  /** Exceptions, interrupts and NMIs that are on their way (KVM_GET_VCPU_EVENTS). */
  get events(): VcpuEvents {
    return decodeEvents(addon().vcpuGetEvents(this.#native()))
  }

  /** Changes the members that are named. */
  set events(changes: VcpuEventChanges) {
    const bytes = addon().vcpuGetEvents(this.#native())
    encodeEvents(bytes, changes)
    addon().vcpuSetEvents(this.#native(), bytes)
  }

  /** The guest's own debug registers (KVM_GET_DEBUGREGS). Assigning changes those that are named. */
  get debugRegisters(): DebugRegisters {
    return decodeDebugRegisters(addon().vcpuGetDebugRegs(this.#native()))
  }

  set debugRegisters(changes: Partial<DebugRegisters>) {
    const bytes = addon().vcpuGetDebugRegs(this.#native())
    encodeDebugRegisters(bytes, changes)
    addon().vcpuSetDebugRegs(this.#native(), bytes)
  }
}
