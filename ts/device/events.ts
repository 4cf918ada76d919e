// The two interrupts by which the kernel speaks of a device itself: it wants it back (REQ), its bus reports an error
// (ERR). Owns their eventfds and who answers; what closing a device takes is the device's own.
import { VfioError } from '../errors.js'
import { EventFd } from '../event/eventfd.js'
import { environmentPollers } from '../event/poller.js'
import type { DeviceCore } from './core.js'
import type { InterruptIndex } from './interrupts.js'
import { hasIrq } from './names.js'

type Event = 'req' | 'err'
type Handler<Device> = (device: Device) => unknown

/** Eventfds of devices that were collected unclosed: the background poller would hold them for ever. */
const orphans = new FinalizationRegistry<EventFd>((eventfd) => {
  eventfd.close()
})

const ANSWERS: Record<Event, (device: DeviceCore) => unknown> = { req: giveBack, err: silence }

/** Answers the request and error interrupts in the background: they do not keep the process alive. */
export class DeviceEvents<Device extends DeviceCore> {
  readonly #handlers: Record<Event, Handler<Device> | null> = { req: null, err: null }
  readonly #watched: EventFd[] = []

  get onRequest(): Handler<Device> | null {
    return this.#handlers.req
  }
  set onRequest(handler: Handler<Device> | null) {
    this.#handlers.req = checked(handler, 'onRequest')
  }

  get onError(): Handler<Device> | null {
    return this.#handlers.err
  }
  set onError(handler: Handler<Device> | null) {
    this.#handlers.err = checked(handler, 'onError')
  }

  /** @param irqOf gives the device's own index for an event */
  watch(device: Device, irqOf: (event: Event) => InterruptIndex): void {
    for (const event of ['req', 'err'] as const) {
      if (hasIrq(event, device.info.bus)) this.#watchOne(device, irqOf, event)
    }
  }

  closeWithDevice(): void {
    for (const eventfd of this.#watched) eventfd.close()
  }

  #watchOne(device: Device, irqOf: (event: Event) => InterruptIndex, event: Event): void {
    // Not made by enable(): such an eventfd would hold the device, and the poller holds the eventfd.
    const eventfd = new EventFd()
    try {
      const irq = irqOf(event)
      if (irq.count === 0 || !irq.info.flags.eventfd) {
        eventfd.close()
        return
      }
      irq.enable([eventfd])
    } catch (error) {
      eventfd.close()
      // Not every device has them: ERR is refused outside PCI Express, mediated devices refuse both.
      if (error instanceof VfioError && ['EINVAL', 'ENOTTY'].includes(error.code)) return
      throw error
    }
    this.#watched.push(eventfd)
    // Weakly, or the poller would keep a device that everybody else has forgotten; its handlers may hold it too.
    const weakDevice = new WeakRef(device)
    const weakEvents = new WeakRef(this)
    environmentPollers().background.add(eventfd, () => {
      const alive = weakDevice.deref()
      const events = weakEvents.deref()
      return alive === undefined || alive.closed ? undefined : events?.answer(event, alive)
    })
    orphans.register(device, eventfd)
  }

  /** Calls the handler, or does what is done without one. @internal */
  answer(event: Event, device: Device): unknown {
    return (this.#handlers[event] ?? ANSWERS[event])(device)
  }
}

function checked<Device>(handler: unknown, name: string): Handler<Device> | null {
  if (handler === null || typeof handler === 'function') return handler as Handler<Device> | null
  throw new TypeError(`${name} must be a function or null`)
}

async function giveBack(device: DeviceCore): Promise<void> {
  if (device.wired) {
    process.emitWarning(`the kernel asks for ${device.label} back, which a guest has`, {
      type: 'VfioRequestWarning',
      detail:
        'Set device.onRequest to take it from the guest and close it; until then whoever unbinds it waits.',
    })
    return
  }
  process.emitWarning(`the kernel asks for ${device.label} back; it is closed`, {
    type: 'VfioRequestWarning',
    detail: 'Set device.onRequest to handle this yourself.',
  })
  await device.close()
}

function silence(device: DeviceCore): void {
  process.emitWarning(`${device.label} reports an uncorrectable error; its bus mastering is turned off`, {
    type: 'VfioErrorWarning',
    detail: 'Set device.onError to handle this yourself.',
  })
  device.stopDma()
}
