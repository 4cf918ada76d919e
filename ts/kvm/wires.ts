// The two wires between eventfds and a machine: irqfd and ioeventfd. Knows which eventfd belongs to which wire, so that
// each is taken away before its eventfd or its machine goes.
import { EINVAL, VfioError, attempt, type VfioErrorContext } from '../errors.js'
import { EventFd } from '../event/eventfd.js'
import { addon, type NativeHandle } from '../native/index.js'
import { MAX_U64, bigint, instance, integer, object } from '../validate.js'

export interface IrqfdOptions {
  /** Below 24 a pin of the full in-kernel chip, or what `routing` gave out. */
  gsi: number
  /** Signalled when the guest has handled a level interrupt (KVM_IRQFD_FLAG_RESAMPLE); only with `irqchip: 'full'`. */
  resample?: EventFd
}

/** A signal of an eventfd becomes an interrupt of the guest, without user space. */
export interface Irqfd {
  readonly gsi: number
  readonly closed: boolean
  /** Takes the wire away; when it returns the kernel no longer looks at the eventfd. Idempotent. */
  close(): void
}

export type IoeventfdOptions = ({ mmio: bigint } | { pio: number }) & {
  /** Bytes of the write that counts: 1, 2, 4 or 8 (up to 4 at a port); 0 for any. */
  length: 0 | 1 | 2 | 4 | 8
  /** Only writes of this value; not with length 0. */
  match?: number | bigint
  /** What is signalled (default: an EventFd made for it). */
  eventfd?: EventFd
}

/** The machine, as far as wires need it. @internal */
export interface WiredVm {
  readonly native: NativeHandle
  readonly irqchip: 'full' | 'split' | 'none'
  beforeClose(undo: () => void): () => unknown
}

/** Lets go of the native wire once, whoever closes first: the caller, the eventfd or the machine. */
function wire(
  native: NativeHandle,
  owners: readonly { beforeClose(undo: () => void): () => unknown }[],
): { close: () => void; closed: () => boolean } {
  let open = true
  const forget: (() => unknown)[] = []
  const close = (): void => {
    if (!open) return
    open = false
    for (const each of forget) each()
    addon().handleRelease(native, true)
  }
  for (const owner of owners) forget.push(owner.beforeClose(close))
  return { close, closed: () => !open }
}

function irqfdContext(vm: WiredVm, gsi: number, error: VfioError): VfioErrorContext {
  const subject = `GSI ${String(gsi)}`
  switch (error.code) {
    case 'EBUSY':
      return {
        subject,
        reason: 'eventfd-in-use',
        remedy: 'An eventfd has one consumer: take it from its poller, waiter, loop or other wire first.',
      }
    case 'ENOENT':
      return {
        subject,
        remedy: 'The GSI has no route: add one first, with vm.routing.msi() or vm.routing.pin().',
      }
    case 'EINVAL':
      return {
        subject,
        remedy:
          vm.irqchip === 'none'
            ? "Interrupts need an in-kernel chip: createVm({ irqchip: 'full' }) or 'split'."
            : 'Only a pin of the in-kernel chip can be resampled, not a message.',
      }
    default:
      return { subject }
  }
}

/** KVM_IRQFD. @internal */
export function makeIrqfd(vm: WiredVm, eventfd: EventFd, options: IrqfdOptions): Irqfd {
  instance(eventfd, EventFd, 'eventfd')
  const { gsi, resample } = object(options, 'options')
  integer(gsi, 'gsi', 0, 0xffff_ffff)
  if (resample !== undefined) instance(resample, EventFd, 'resample')
  if (resample !== undefined && vm.irqchip !== 'full') {
    throw new VfioError(EINVAL, 'KVM_IRQFD', {
      subject: `GSI ${String(gsi)}`,
      remedy: `Resampling needs the full in-kernel chip, and this machine's is ${vm.irqchip}: the VMM emulates its IOAPIC and gets exits of reason ioapic-eoi.`,
    })
  }
  const native = attempt(
    (error) => irqfdContext(vm, gsi, error),
    () => addon().irqfdCreate(vm.native, eventfd.native, gsi, resample?.native ?? null),
  )
  const owners = resample === undefined ? [vm, eventfd] : [vm, eventfd, resample]
  const { close, closed } = wire(native, owners)
  return {
    gsi,
    close,
    get closed() {
      return closed()
    },
  }
}

function doorbellContext(place: string, error: VfioError): VfioErrorContext {
  switch (error.code) {
    case 'EEXIST':
      return {
        subject: place,
        remedy:
          'A doorbell that overlaps this one is there already: close it, or give each a different `match`.',
      }
    case 'EFAULT':
      return {
        subject: place,
        remedy:
          'The address is in writable guest memory, where no write is noticed: put the doorbell elsewhere.',
      }
    case 'ENOSPC':
      return {
        subject: place,
        remedy: "KVM's bus of this kind is full (1000 devices): close some doorbells.",
      }
    default:
      return { subject: place }
  }
}

function matchOf(match: number | bigint | undefined, length: number): bigint | null {
  if (match === undefined) return null
  if (length === 0) throw new RangeError('match needs a length of 1, 2, 4 or 8')
  const most = (1n << BigInt(length * 8)) - 1n
  if (typeof match === 'number')
    return BigInt(integer(match, 'match', 0, Number(most < 2n ** 53n ? most : 2n ** 53n)))
  return bigint(match, 'match', 0n, most)
}

function placeOf(options: IoeventfdOptions): { address: bigint; port: boolean; name: string } {
  const { mmio, pio } = options as { mmio?: bigint; pio?: number }
  if ((mmio === undefined) === (pio === undefined)) throw new TypeError('give one of mmio and pio')
  if (pio !== undefined) {
    return {
      address: BigInt(integer(pio, 'pio', 0, 0xffff)),
      port: true,
      name: `port 0x${pio.toString(16)}`,
    }
  }
  const address = bigint(mmio, 'mmio', 0n, MAX_U64)
  return { address, port: false, name: `guest address 0x${address.toString(16)}` }
}

/** KVM_IOEVENTFD. @internal */
export function makeIoeventfd(vm: WiredVm, options: IoeventfdOptions): EventFd {
  const { length, match, eventfd } = object(options, 'options')
  const { address, port, name } = placeOf(options)
  if (![0, 1, 2, 4, 8].includes(length)) throw new RangeError('length must be 0, 1, 2, 4 or 8')
  if (port && length === 8) throw new RangeError('length must be at most 4 at a port')
  const datamatch = matchOf(match, length)
  if (eventfd !== undefined) instance(eventfd, EventFd, 'eventfd')
  const target = eventfd ?? new EventFd()
  try {
    const native = attempt(
      (error) => doorbellContext(name, error),
      () => addon().ioeventfdCreate(vm.native, target.native, address, length, port, datamatch),
    )
    wire(native, [vm, target])
  } catch (error) {
    if (eventfd === undefined) target.close()
    throw error
  }
  return target
}
