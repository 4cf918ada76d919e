// VcpuInterrupts: interrupts that a VMM gives to a vCPU itself: NMIs, and where the kernel has no chip every other one.
import { addon, type NativeHandle } from '../../native/index.js'
import { boolean, integer } from '../../validate.js'

// Of struct kvm_run.
const REQUEST_WINDOW = 0
const READY = 12
const INTERRUPT_FLAG = 13
const CR8 = 16

/**
 * Interrupts by hand. With `irqchip: 'none'` the VMM's own chip decides: when it has one and `ready` is false, set
 * `windowRequested`; run() then ends with `interrupt-window` as soon as the guest takes interrupts, and `inject()` works.
 */
export class VcpuInterrupts {
  readonly #native: () => NativeHandle
  readonly #window: DataView

  /** @internal */
  constructor(native: () => NativeHandle, window: DataView) {
    this.#native = native
    this.#window = window
  }

  /** The page that is shared with the kernel. @throws VfioError EBADF of a vCPU that is closed */
  get #page(): DataView {
    this.#native()
    return this.#window
  }

  /**
   * Gives the vCPU a non-maskable interrupt (KVM_NMI). One that comes while another is handled waits; further ones count as
   * that one.
   */
  nmi(): void {
    addon().vcpuNmi(this.#native())
  }

  /**
   * Has the next run() begin with an interrupt (KVM_INTERRUPT). Ask `ready` first. With `irqchip: 'none'` a second one takes
   * the place of the first; with `split` it is the one of the VMM's own PIC (ExtINT).
   * @param vector 0 to 255
   * @throws VfioError ENXIO with the full chip; with `split` EEXIST when one is waiting already
   */
  inject(vector: number): void {
    addon().vcpuInterrupt(this.#native(), integer(vector, 'vector', 0, 255))
  }

  /** Whether the guest would have taken an interrupt when the last run() ended (ready_for_interrupt_injection). */
  get ready(): boolean {
    return this.#page.getUint8(READY) !== 0
  }

  /** The guest's interrupt flag when the last run() ended (if_flag). */
  get enabled(): boolean {
    return this.#page.getUint8(INTERRUPT_FLAG) !== 0
  }

  /** While set, run() ends with `interrupt-window` once the guest takes interrupts (request_interrupt_window). */
  get windowRequested(): boolean {
    return this.#page.getUint8(REQUEST_WINDOW) !== 0
  }

  set windowRequested(requested: boolean) {
    this.#page.setUint8(REQUEST_WINDOW, Number(boolean(requested, 'windowRequested')))
  }

  /**
   * The task priority that the next run() begins with, and that the last one ended with, 0 to 15: interrupts of that class
   * and below wait. Without an in-kernel chip only; with one it is the local APIC's, and what is set here is not looked at.
   */
  get taskPriority(): number {
    return Number(this.#page.getBigUint64(CR8, true) & 0xfn)
  }

  set taskPriority(priority: number) {
    this.#page.setBigUint64(CR8, BigInt(integer(priority, 'taskPriority', 0, 15)), true)
  }
}
