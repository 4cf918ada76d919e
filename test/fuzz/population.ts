// The objects that there are to call something on, by kind: the living, and some of the closed. It must not know how they are
// made.
import { InterruptIndex } from '../../ts/device/interrupts.js'
import { Region, VfioDevice } from '../../ts/index.js'
import { kindOf } from './kinds.js'
import { ADDRESSES, ON_HOST } from './options.js'
import type { Random } from './random.js'
import { isAllowed } from './judge.js'
import type { Target } from './target.js'

const LIVE_PER_KIND = 12
/** Where each costs a guest, or much time to make. */
const FEW: Readonly<Record<string, number>> = {
  Kvm: 4,
  Vm: 4,
  Vcpu: 6,
  PciPassthrough: 2,
  Iommufd: 4,
  GsiRouting: 2,
  VmVfio: 2,
  VmState: 2,
  VcpuMsrs: 3,
  VcpuState: 3,
  VcpuTsc: 3,
  VcpuInterrupts: 3,
  DirtyRing: 2,
  PluggedDevice: 4,
  ExitServer: 4,
  ExitClient: 4,
  OutputReceiver: 4,
  OutputSender: 4,
  MsiRoute: 4,
  PinRoute: 4,
  DrmCard: 4,
  CardBuffer: 4,
  Framebuffer: 4,
  // Each has a socket's buffers, and may have a client with as many.
  UserDeviceServer: 4,
}
const DEAD_PER_KIND = 8

/** Listeners and loops before what they listen to; devices before their space; what is in a machine before it. */
const CLOSED_FIRST = [
  ...[
    'PluggedDevice',
    'CoalescedZone',
    'PciPassthrough',
    'MsiWire',
    'IntxWire',
    'DoorbellWire',
    'DeviceIoeventfd',
    'Irqfd',
    'MsiRoute',
  ],
  ...['MemoryListener', 'MemorySlot', 'Vcpu', 'InterruptListener', 'EventIterator', 'SignalPoller'],
  ...['SignalWaiter', 'UserDeviceServer', 'DmaBuffer', 'Vm', 'Kvm', 'VfioDevice', 'AddressSpace'],
]

export function isClosed(value: object): boolean {
  try {
    return (value as { closed?: unknown }).closed === true
  } catch {
    // A stand-in without an inside.
    return false
  }
}

function nameOf(device: VfioDevice): string {
  return Object.entries(ADDRESSES).find(([, address]) => address === device.name)?.[0] ?? 'unknown'
}

export class Population {
  readonly #random: Random
  readonly #live = new Map<string, Target[]>()
  readonly #dead = new Map<string, Target[]>()

  constructor(random: Random) {
    this.#random = random
  }

  of(kind: string): Target[] {
    let pool = this.#live.get(kind)
    if (pool === undefined) this.#live.set(kind, (pool = []))
    return pool
  }

  /** How many are open. */
  count(kind: string): number {
    return this.#live.get(kind)?.length ?? 0
  }

  /** One of a kind: a living one where there is one, or a closed one where `alive` is false. */
  pick(kind: string, alive: boolean, random: Random): Target | null {
    for (const pools of alive ? [this.#live, this.#dead] : [this.#dead, this.#live]) {
      const targets = pools.get(kind)
      if (targets !== undefined && targets.length > 0) return random.of(targets)
    }
    return null
  }

  /** The value of a living one; undefined where there is none. */
  value(kind: string, random: Random): object | undefined {
    const pool = this.#live.get(kind)
    return pool === undefined || pool.length === 0 ? undefined : random.of(pool).value
  }

  /** Any, of any kind, open or closed. */
  any(random: Random): object {
    const kinds = [...this.#live.values(), ...this.#dead.values()].filter((pool) => pool.length > 0)
    return random.of(random.of(kinds)).value
  }

  everyone(): Target[] {
    return [...this.#live.values()].flat()
  }

  /** Takes in what a call gave. What has no place any more is closed. */
  async admit(value: unknown, device: string | null): Promise<void> {
    if (typeof value !== 'object' || value === null) return
    const kind = kindOf(value)
    if (kind === undefined) return
    const pool = this.of(kind)
    if (pool.some((each) => each.value === value)) return
    let evicted: Target | undefined
    if (pool.length >= (FEW[kind] ?? LIVE_PER_KIND))
      [evicted] = pool.splice(this.#random.below(pool.length), 1)
    pool.push({ value, kind, device: value instanceof VfioDevice ? nameOf(value) : device })
    if (evicted !== undefined) await this.#bury(evicted)
  }

  /** Puts those that are closed to the others. */
  prune(): void {
    for (const [kind, pool] of this.#live) {
      const gone = pool.filter(({ value }) => isClosed(value))
      if (gone.length === 0) continue
      this.#live.set(
        kind,
        pool.filter((target) => !gone.includes(target)),
      )
      for (const target of gone) this.#mourn(target)
    }
  }

  /** Closes everything, and forgets it. */
  async closeAll(): Promise<void> {
    this.prune()
    const rest = [...this.#live.keys()].filter((kind) => !CLOSED_FIRST.includes(kind))
    await this.closeKinds([...CLOSED_FIRST, ...rest])
    this.#live.clear()
    this.#dead.clear()
  }

  async closeKinds(kinds: readonly string[]): Promise<void> {
    for (const kind of kinds) for (const target of Array.from(this.of(kind))) await close(target)
    this.prune()
  }

  async #bury(target: Target): Promise<void> {
    if (!(target.value instanceof Region) && !(target.value instanceof InterruptIndex)) await close(target)
    this.#mourn(target)
  }

  #mourn(target: Target): void {
    let graves = this.#dead.get(target.kind)
    if (graves === undefined) this.#dead.set(target.kind, (graves = []))
    if (graves.length < DEAD_PER_KIND) graves.push(target)
    else graves[this.#random.below(DEAD_PER_KIND)] = target
  }
}

/** Closes one, whatever it says about it, as long as it is allowed to say it. */
async function close({ value }: Target): Promise<void> {
  try {
    if (value instanceof Region) {
      if (ON_HOST) value.closeWithDevice()
    } else if (value instanceof InterruptIndex) {
      if (ON_HOST) value.disable()
    } else {
      const closable = value as Partial<Record<'close' | 'return', () => unknown>>
      // No class of the surface keeps something open that has neither.
      await (closable.close ?? closable.return)?.call(value)
    }
  } catch (error) {
    if (!isAllowed(error)) throw error
  }
}
