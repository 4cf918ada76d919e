// Runs a processor in its Worker: exits for devices that live there are answered on the spot, and only the others go to the main thread.
// Knows no device; how the guest ended is what it gives.
import { Vcpu, type VcpuExit } from '../../kvm/index.js'
import { callable, instance, object } from '../../validate.js'
import { Bus } from '../bus.js'
import type { ExitClient } from './channel.js'

/**
 * How a processor ended: `stopped` from outside, `off` and `reset` as the guest wanted, `shutdown` by a triple fault, `failed` when KVM
 * could not go on.
 */
export interface VcpuEnd {
  readonly reason: 'stopped' | 'off' | 'reset' | 'shutdown' | 'failed'
  readonly detail: string
}

export interface VcpuLoopOptions {
  /** The devices of this thread. */
  readonly bus: Bus
  /** The way to those of the main thread. */
  readonly channel: Pick<ExitClient, 'ask' | 'stopped'>
  /**
   * Exits that are no access to a device and end nothing: what the machine asked KVM for, such as breakpoints, full dirty rings, model-specific
   * registers and hypercalls. Gives true when the guest may go on; without, or with false, the loop does what it does by itself.
   */
  readonly others?: (exit: OtherExit) => boolean
}

/** An exit that `others` is asked about. */
export type OtherExit = Exclude<
  VcpuExit,
  { reason: 'io' | 'mmio' | 'interrupted' | 'shutdown' | 'system-event' | 'fail-entry' | 'internal-error' }
>

/** KVM_SYSTEM_EVENT_RESET. */
const EVENT_RESET = 2
/** -KVM_ENOSYS, by which a guest learns that nobody knows its hypercall. */
const NO_SUCH_HYPERCALL = 2n ** 64n - 1000n

export class VcpuLoop {
  readonly #vcpu: Vcpu
  readonly #bus: Bus
  readonly #channel: Pick<ExitClient, 'ask' | 'stopped'>
  readonly #others: ((exit: OtherExit) => boolean) | undefined
  #end: VcpuEnd | undefined
  #local = 0
  #forwarded = 0

  constructor(vcpu: Vcpu, options: VcpuLoopOptions) {
    const { bus, channel, others } = object(options, 'options')
    this.#vcpu = instance(vcpu, Vcpu, 'vcpu')
    this.#bus = instance(bus, Bus, 'bus')
    this.#channel = object(channel, 'channel')
    this.#others = others === undefined ? undefined : callable(others, 'others')
  }

  /** How many exits were answered here, and how many by the main thread. */
  get counters(): { readonly local: number; readonly forwarded: number } {
    return { local: this.#local, forwarded: this.#forwarded }
  }

  /** Ends it once the exit at hand is answered: for devices by which a guest turns its machine off, or begins anew. */
  end(reason: VcpuEnd['reason'], detail = 'by the guest'): void {
    this.#end ??= { reason, detail }
  }

  /** Runs the guest until it ends, or is stopped. Blocks, and throws nothing that a guest can cause. */
  run(): VcpuEnd {
    const { id } = this.#vcpu
    while (this.#end === undefined) {
      if (this.#channel.stopped) return { reason: 'stopped', detail: 'by the machine' }
      try {
        this.#serve(this.#vcpu.run(), id)
      } catch (error) {
        return { reason: 'failed', detail: error instanceof Error ? error.message : String(error) }
      }
    }
    return this.#end
  }

  #serve(exit: VcpuExit, cpu: number): void {
    switch (exit.reason) {
      case 'io':
      case 'mmio':
        if (this.#bus.serve(exit, cpu)) {
          this.#local++
        } else {
          this.#forwarded++
          this.#channel.ask(exit)
        }
        return
      case 'interrupted':
        return
      case 'shutdown':
        this.end('shutdown', 'by a triple fault')
        return
      case 'system-event':
        this.end(exit.type === EVENT_RESET ? 'reset' : 'shutdown', `by system event ${exit.type}`)
        return
      case 'fail-entry':
      case 'internal-error':
        this.end('failed', this.#describe(exit))
        return
      default:
        if (this.#others?.(exit) !== true) this.#settle(exit)
    }
  }

  /** What the guest gets for an exit that nobody serves: what it would get on a machine without the feature. */
  #settle(exit: OtherExit): void {
    switch (exit.reason) {
      case 'msr-read':
      case 'msr-write':
        exit.refuse()
        return
      case 'hypercall':
        exit.answer(NO_SUCH_HYPERCALL)
        return
      case 'bus-lock':
      case 'set-tpr':
      case 'tpr-access':
      case 'interrupt-window':
      case 'ioapic-eoi':
        return // KVM tells of these, and waits for no answer.
      case 'notify':
        if (exit.contextValid) return
        break
      case 'hlt':
      case 'debug':
      case 'exception':
      case 'memory-fault':
      case 'dirty-ring-full':
      case 'ap-reset-hold':
      case 'hyperv':
      case 'xen':
      case 'unknown-hardware':
      case 'unknown':
        break // The guest would be here again at once, or cannot go on.
    }
    this.end('failed', this.#describe(exit))
  }

  #describe(exit: VcpuExit): string {
    const { rip } = this.#vcpu.registers
    const detail = JSON.stringify(exit, (_, value: unknown) =>
      typeof value === 'bigint' ? `0x${value.toString(16)}` : value,
    )
    return `at 0x${rip.toString(16)}: ${detail}`
  }
}
