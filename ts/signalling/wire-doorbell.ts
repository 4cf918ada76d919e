// wireDoorbell: a guest's store becomes a device's register write, kernel to kernel, or a call of a JavaScript handler. Owns
// the eventfd in between.
import { type DeviceIoeventfd } from '../device/ioeventfd.js'
import { Region } from '../device/region.js'
import type { EventFd, SignalHandler } from '../event/eventfd.js'
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

  /** @internal */
  constructor(vm: Vm, doorbell: Doorbell, connect: (eventfd: EventFd) => () => void) {
    super()
    this.eventfd = vm.ioeventfd(doorbell)
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
 * together; so give `match` what the guest writes, and do not wire doorbells whose value matters, such as tail pointers.
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
  const connect =
    'region' in object(target, 'target')
      ? connectRegister(target as RegisterTarget)
      : connectHandler(target as HandlerTarget)
  return new DoorbellWire(vm, doorbell, connect)
}
