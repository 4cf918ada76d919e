// GsiRouting: which interrupt lines (GSIs) of a machine lead where. KVM_SET_GSI_ROUTING replaces the whole table, so the
// addon keeps the one table of a machine, for every Worker; this is the way to it.
import { ENOSPC, type VfioError, attempt } from '../errors.js'
import { addon, type NativeHandle } from '../native.js'
import { MAX_U64, bigint, integer, object, oneOf, options as optionsOf } from '../validate.js'

/** What a message-signalled interrupt writes, and where: a device's MSI address and data. */
export interface MsiMessage {
  address: bigint
  /** 32 bits. */
  data: number
}

/** A pin of an in-kernel interrupt chip. */
export interface InterruptPin {
  chip: 'pic-master' | 'pic-slave' | 'ioapic'
  /** 0 to 7 on a PIC, 0 to 23 on the IOAPIC. */
  pin: number
}

/** A GSI that sends a message. */
export interface MsiRoute {
  readonly gsi: number
  /** Sends another message from here on: what a VMM does when its guest rewrites a device's MSI. */
  update(message: MsiMessage): void
  /** Gives the GSI back. @throws VfioError EBUSY while an irqfd is on it */
  close(): void
}

/** A GSI that raises pins of the chip. */
export interface PinRoute {
  readonly gsi: number
  /** Gives the GSI back: those below 24 lead to the pins of their own number again. */
  close(): void
}

const CHIPS = { 'pic-master': 0, 'pic-slave': 1, ioapic: 2 } as const
const PIC_PINS = 8
const IOAPIC_PINS = 24

/** Checks a message; gives what the addon takes. @internal */
export function messageTarget(message: MsiMessage): [bigint, number] {
  const { address, data } = object(message, 'message')
  return [bigint(address, 'message.address', 0n, MAX_U64), integer(data, 'message.data', 0, 0xffff_ffff)]
}

/** The routing table of one machine. */
export class GsiRouting {
  readonly #vm: () => NativeHandle
  readonly #hasPins: () => boolean

  /** @internal */
  constructor(vm: () => NativeHandle, hasPins: () => boolean) {
    this.#vm = vm
    this.#hasPins = hasPins
  }

  /** How many entries the table can hold (KVM_CAP_IRQ_ROUTING), and the GSIs' upper bound. */
  get limit(): number {
    return addon().vmRouting(this.#vm()).limit
  }

  /** How many entries it holds. */
  get size(): number {
    return addon().vmRouting(this.#vm()).entries
  }

  /**
   * A free GSI, or the one asked for, routed to a message. With the split chip GSI 0 to 23 are the pins of the VMM's own
   * IOAPIC: a level-triggered message (bit 15 of data) from one of them ends in an exit of reason `ioapic-eoi`.
   * @param options `gsi` is 0 to limit - 1, from 24 on with the full chip, whose pins have those below
   * @throws VfioError ENOSPC when the table is full, EEXIST when the GSI was given out already
   */
  msi(message: MsiMessage, options?: { gsi?: number }): MsiRoute {
    const target = messageTarget(message)
    const { gsi: wanted } = optionsOf(options, 'options')
    const gsi =
      wanted === undefined
        ? this.#changing('a message', () => addon().vmAllocateRoute(this.#vm(), target))
        : this.#take(integer(wanted, 'gsi', this.#hasPins() ? IOAPIC_PINS : 0, this.limit - 1), target)
    return {
      gsi,
      update: (next) => {
        const changed = messageTarget(next)
        this.#changing(`GSI ${String(gsi)}`, () => {
          addon().vmUpdateRoute(this.#vm(), gsi, changed)
        })
      },
      close: () => {
        this.#free(gsi)
      },
    }
  }

  /**
   * A GSI of one's choice, routed to a pin of the in-kernel chip. GSI 0 to 23 lead to the pins of their number from the
   * start, where the chip is `full`.
   * @param gsi 0 to limit - 1
   * @throws VfioError EEXIST when the GSI was given out already
   */
  pin(gsi: number, target: InterruptPin): PinRoute {
    integer(gsi, 'gsi', 0, this.limit - 1)
    const { chip, pin } = object(target, 'target')
    oneOf(chip, 'target.chip', ['pic-master', 'pic-slave', 'ioapic'])
    integer(pin, 'target.pin', 0, (chip === 'ioapic' ? IOAPIC_PINS : PIC_PINS) - 1)
    if (!this.#hasPins()) throw new TypeError("pins need the in-kernel chip: createVm({ irqchip: 'full' })")
    this.#take(gsi, [CHIPS[chip], pin])
    return {
      gsi,
      close: () => {
        this.#free(gsi)
      },
    }
  }

  #take(gsi: number, target: readonly (bigint | number)[]): number {
    this.#changing(`GSI ${String(gsi)}`, () => {
      addon().vmTakeRoute(this.#vm(), gsi, target)
    })
    return gsi
  }

  #free(gsi: number): void {
    this.#changing(`GSI ${String(gsi)}`, () => {
      addon().vmFreeRoute(this.#vm(), gsi)
    })
  }

  #changing<T>(subject: string, call: () => T): T {
    return attempt((error) => this.#explain(subject, error), call)
  }

  #explain(subject: string, error: VfioError): { subject: string; remedy?: string } {
    if (error.errno !== ENOSPC) return { subject }
    return {
      subject,
      remedy: `The table holds ${String(this.limit)} entries at most: close routes that are not wired.`,
    }
  }
}
