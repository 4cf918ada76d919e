// Vcpu: a virtual processor. run() blocks its thread, so it belongs in a Worker; kick() reaches it from any other.
import { VfioError } from '../errors.js'
import { type ShareToken, SharedHandle } from '../handle.js'
import { addon, type NativeHandle } from '../native/index.js'
import { boolean, integer, internal } from '../validate.js'
import type { Capability } from '../uapi/kvm/capabilities.js'
import { type CoalescedWrite, decodeCoalesced } from '../uapi/kvm/coalesced.js'
import { type CpuidEntry, decodeCpuid, encodeCpuid } from '../uapi/kvm/cpuid.js'
import { MEMORY_FAULT, type VcpuExit, decodeExit, faultAddress } from '../uapi/kvm/exits.js'
import {
  type Registers,
  type SpecialRegisters,
  decodeRegisters,
  decodeSpecialRegisters,
  encodeRegisters,
  encodeSpecialRegisters,
} from '../uapi/kvm/registers.js'
import { type GuestDebug, encodeGuestDebug } from '../uapi/kvm/debug.js'
import { type Statistics, decodeStatistics } from '../uapi/kvm/statistics.js'
import { enableCapability } from './state/capability.js'
import { VcpuInterrupts } from './state/interrupts.js'
import { VcpuMsrs } from './state/msrs.js'
import { VcpuTsc } from './state/tsc.js'
import { VcpuState } from './state/vcpu-state.js'

/** Where `flags` of struct kvm_run is. */
const RUN_FLAGS = 14
/** KVM_RUN_X86_* */
const RUN_FLAG = { smm: 1, busLock: 2 } as const

/**
 * A virtual processor (x86). One thread runs it at a time: what needs it to stand still throws EBUSY meanwhile. A Worker
 * that is terminated, or a process that exits, leaves run() within 200 ms.
 */
export class Vcpu extends SharedHandle<'Vcpu'> {
  /** Model-specific registers. */
  readonly msrs: VcpuMsrs
  /** FPU, XSAVE, local APIC, events and debug registers. */
  readonly state: VcpuState
  /** The timestamp counter. */
  readonly tsc: VcpuTsc
  /** NMIs, and interrupts without an in-kernel chip. */
  readonly interrupts: VcpuInterrupts
  readonly #run: () => number | undefined
  readonly #window: DataView
  #exit: VcpuExit | undefined

  private constructor(native: NativeHandle) {
    super(internal(native, 'Vcpu', 'vm.createVcpu()'), 'Vcpu')
    this.#run = addon().vcpuRunner(native)
    this.#window = new DataView(addon().vcpuWindow(native))
    const current = (): NativeHandle => this.native
    this.msrs = new VcpuMsrs(current)
    this.state = new VcpuState(current)
    this.tsc = new VcpuTsc(current)
    this.interrupts = new VcpuInterrupts(current, this.#window)
  }

  /** @internal */
  static over(native: NativeHandle): Vcpu {
    return new Vcpu(native)
  }

  /** The vCPU behind a token, in this environment. */
  static claim(token: ShareToken): Vcpu {
    return SharedHandle.claimed(token, 'Vcpu', Vcpu.over)
  }

  get id(): number {
    return addon().vcpuId(this.native)
  }

  /** The descriptor's number. The object keeps ownership. */
  get fd(): number {
    return addon().handleFd(this.native)
  }

  /**
   * Runs the guest until it needs its host (KVM_RUN). Blocks. What the exit before left to be answered (`data` of an IN or
   * of a read) is taken when this is called.
   * @throws VfioError EBUSY while another thread runs it; EFAULT, with the guest's address where KVM tells it, for memory
   * that is there for KVM and not for the process (a BAR whose device does not answer, a truncated file)
   */
  run(): VcpuExit {
    let reason: number | undefined
    try {
      reason = this.#run()
    } catch (error) {
      throw error instanceof VfioError ? this.#explained(error) : error
    }
    // Nothing: the environment is ending, and no JavaScript will see this.
    this.#exit =
      reason === undefined ? { reason: 'interrupted' } : decodeExit(this.#window, reason, this.#rip)
    return this.#exit
  }

  /** What the last run() ended with. */
  get exit(): VcpuExit | undefined {
    return this.#exit
  }

  /** Ends the run() under way, or else the next one, once, with `interrupted`. From any thread, never lost. */
  kick(): void {
    addon().vcpuKick(this.native)
  }

  /**
   * While set, every run() completes what the last exit left pending and returns `interrupted` without entering the guest
   * (immediate_exit): how state is made consistent before it is read or saved.
   */
  get immediateExit(): boolean {
    return addon().vcpuHeld(this.native)
  }

  set immediateExit(held: boolean) {
    addon().vcpuHold(this.native, boolean(held, 'immediateExit'))
  }

  /** All of the general registers. Assigning changes those that are named. */
  get registers(): Registers {
    return decodeRegisters(addon().vcpuGetRegs(this.native))
  }

  set registers(changes: Partial<Registers>) {
    const bytes = addon().vcpuGetRegs(this.native)
    encodeRegisters(bytes, changes)
    addon().vcpuSetRegs(this.native, bytes)
  }

  /** Segments, descriptor tables and control registers. Assigning changes those that are named. */
  get specialRegisters(): SpecialRegisters {
    return decodeSpecialRegisters(addon().vcpuGetSregs(this.native))
  }

  set specialRegisters(changes: Partial<SpecialRegisters>) {
    const bytes = addon().vcpuGetSregs(this.native)
    encodeSpecialRegisters(bytes, changes)
    addon().vcpuSetSregs(this.native, bytes)
  }

  /**
   * What the guest is told of its processor (KVM_SET_CPUID2), before the first run(): `kvm.supportedCpuid()`, or a choice of
   * it, with `withTopology` where the machine has several.
   */
  get cpuid(): CpuidEntry[] {
    return decodeCpuid(addon().vcpuGetCpuid(this.native))
  }

  set cpuid(entries: readonly CpuidEntry[]) {
    addon().vcpuSetCpuid(this.native, encodeCpuid(entries))
  }

  /** KVM_MP_STATE_*: 0 runnable, 1 uninitialized (waits for INIT), 2 INIT received, 3 halted, 4 SIPI received. */
  get mpState(): number {
    return addon().vcpuGetMpState(this.native)
  }

  set mpState(state: number) {
    addon().vcpuSetMpState(this.native, integer(state, 'mpState', 0, 10))
  }

  /**
   * Takes the writes that wait in the machine's zones (`vm.coalesce`), oldest first: those of all vCPUs, and each once,
   * whichever vCPU is asked. Do so before an exit is handled, which may depend on them.
   */
  coalescedWrites(): CoalescedWrite[] {
    return decodeCoalesced(addon().vcpuDrainCoalesced(this.native))
  }

  /** The last exit came while the guest was in system management mode (KVM_RUN_X86_SMM). */
  get inSmm(): boolean {
    return (this.#flags & RUN_FLAG.smm) !== 0
  }

  /** The guest made a bus lock, beside the reason of the last exit (KVM_RUN_X86_BUS_LOCK, X86_BUS_LOCK_EXIT). */
  get madeBusLock(): boolean {
    return (this.#flags & RUN_FLAG.busLock) !== 0
  }

  /**
   * Debugs the guest from outside (KVM_SET_GUEST_DEBUG): run() ends with `debug` where it is to stop. Null ends that. Needs
   * KVM_CAP_SET_GUEST_DEBUG.
   */
  debug(options: GuestDebug | null): void {
    addon().vcpuSetGuestDebug(this.native, encodeGuestDebug(options))
  }

  /**
   * Turns an extension on for this vCPU alone (KVM_ENABLE_CAP).
   * @param args up to 4, 0 to 2^64 - 1 each
   * @throws VfioError EOPNOTSUPP where this kernel does not have it, EINVAL where it is the machine's
   */
  enableCapability(capability: Capability | number, args: readonly bigint[] = []): void {
    enableCapability(this.native, capability, args)
  }

  /** KVM's counters of this vCPU, among them `exits`, `io_exits`, `mmio_exits` (KVM_GET_STATS_FD, Linux 5.14). */
  stats(): Statistics {
    return decodeStatistics(addon().kvmStatistics(this.native))
  }

  /** Idempotent. One that another Worker runs lives until that Worker lets go of it. */
  close(): void {
    this.closeNow()
  }

  [Symbol.dispose](): void {
    this.close()
  }

  get #flags(): number {
    this.refuseClosed()
    return this.#window.getUint16(RUN_FLAGS, true)
  }

  readonly #rip = (): bigint | null => {
    try {
      return this.registers.rip
    } catch {
      return null
    }
  }

  #explained(error: VfioError): VfioError {
    if (error.code !== 'EFAULT') return error
    const address = faultAddress(this.#window)
    // An exit all the same, for who tells private memory from shared.
    if (address !== null) this.#exit = decodeExit(this.#window, MEMORY_FAULT)
    const place = address === null ? '' : ` at guest address 0x${address.toString(16)}`
    return error.with({
      subject: `${this.label} ${String(this.id)}${place}`,
      remedy:
        'The guest reached a page that its slot has and the process cannot give: a BAR whose device does not decode (close its slots before decoding goes off), or a file that was truncated.',
    })
  }
}
