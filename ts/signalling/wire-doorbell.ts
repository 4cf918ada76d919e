// wireDoorbell: a guest's store becomes a device's register write, kernel to kernel, or a call of a JavaScript handler. Owns
// the eventfd in between.
import { type DeviceIoeventfd } from '../device/ioeventfd.js'
import { Region } from '../device/region.js'
import { EventFd, type SignalHandler } from '../event/eventfd.js'
import { SignalPoller, environmentPollers } from '../event/poller.js'
import { Vm } from '../kvm/index.js'
import { callable, instance, object } from '../validate.js'
import { Wire } from './wire.js'

/** What the guest writes, as for `vm.ioeventfd`. */
export type Doorbell = ({ mmio: bigint } | { pio: number }) & {
  /** Bytes of the write; 0 for any number. */
  length: 0 | 1 | 2 | 4 | 8
  /** Only writes of this value ring. */
  match?: number | bigint
}

/** A register that the kernel writes for each ring. */
export interface RegisterTarget {
  region: Region
  /** Of the register, a multiple of `width`. */
  offset: number
  width: 1 | 2 | 4 | 8
  /** What is written, whatever the guest wrote. */
  data: number | bigint
}

/** A handler that is called for rings. */
export interface HandlerTarget {
  /** Gets the number of rings since it was called last. */
  handler: SignalHandler
  /** The poller to wait on (default: the environment's own, which keeps the process alive). */
  poller?: SignalPoller
}

/** What `wireDoorbell` set up. */
export class DoorbellWire extends Wire {
  /** What KVM signals for a ring. */
  readonly eventfd: EventFd

  /**
   * @param own what is signalled, where it is not to be made
   * @internal
   */
  constructor(vm: Vm, doorbell: Doorbell, connect: (eventfd: EventFd) => () => void, own?: EventFd) {
    super()
    try {
      this.eventfd = vm.ioeventfd(own === undefined ? doorbell : { ...doorbell, eventfd: own })
    } catch (error) {
      own?.close()
      throw error
    }
    this.setUp(() => {
      // Closing the eventfd takes the doorbell from KVM first, so that nothing rings into what is gone.
      this.undoLater(() => {
        this.eventfd.close()
      })
      this.closeWith(vm)
      this.closeWith(this.eventfd)
      this.undoLater(connect(this.eventfd))
    })
  }
}

function connectRegister({ region, offset, width, data }: RegisterTarget): (eventfd: EventFd) => () => void {
  instance(region, Region, 'region')
  return (eventfd) => {
    const ioeventfd: DeviceIoeventfd = region.ioeventfd(offset, { width, data, eventfd })
    return () => {
      ioeventfd.close()
    }
  }
}

/**
 * A hold on the eventfd that the device itself takes in place of that write; undefined for one that brings none, the kernel's for
 * example.
 */
function broughtBy({ region, offset, width, data }: RegisterTarget): EventFd | undefined {
  const bell = instance(region, Region, 'region').doorbells.find(
    (each) =>
      each.offset === offset &&
      (each.width === 0 || each.width === width) &&
      (each.match === null || each.match === BigInt(data)),
  )
  return bell === undefined ? undefined : EventFd.claim(bell.eventfd.share())
}

function connectHandler({
  handler,
  poller = environmentPollers().waiting,
}: HandlerTarget): (eventfd: EventFd) => () => void {
  callable(handler, 'handler')
  instance(poller, SignalPoller, 'poller')
  return (eventfd) => {
    poller.add(eventfd, handler)
    return () => {
      if (!poller.closed) poller.remove(eventfd)
    }
  }
}

/**
 * Wires a guest's doorbell.
 *
 * To a register, `{ region, offset, width, data }`: KVM_IOEVENTFD in front of VFIO_DEVICE_IOEVENTFD. A ring costs the guest
 * an exit into KVM and user space nothing. The device gets `data`, whatever the guest wrote, and once for rings that come
 * together; so give `match` what the guest writes, and do not wire doorbells whose value matters, such as tail pointers. A device
 * behind a vfio-user socket has to take the write by eventfd (`region.doorbells`), which KVM then signals itself.
 *
 * To JavaScript, a handler or `{ handler, poller }`: it gets the number of rings. Rings that were not heard yet when the wire
 * closes are dropped.
 * @param doorbell `{ mmio | pio, length, match }`
 * @throws VfioError EEXIST when the same doorbell, or the same write, is wired already
 */
export function wireDoorbell(
  vm: Vm,
  doorbell: Doorbell,
  target: RegisterTarget | HandlerTarget | SignalHandler,
): DoorbellWire {
  instance(vm, Vm, 'vm')
  object(doorbell, 'doorbell')
  if (typeof target === 'function') return new DoorbellWire(vm, doorbell, connectHandler({ handler: target }))
  if (!('region' in object(target, 'target')))
    return new DoorbellWire(vm, doorbell, connectHandler(target as HandlerTarget))
  const register = target as RegisterTarget
  const own = broughtBy(register)
  return own === undefined
    ? new DoorbellWire(vm, doorbell, connectRegister(register))
    : new DoorbellWire(vm, doorbell, () => () => undefined, own)
}
