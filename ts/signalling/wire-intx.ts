// wireIntx: a device's interrupt line becomes a guest's. With the full in-kernel interrupt chip the kernel does it all; with
// the split one a VMM's own IOAPIC takes part.
import type { VfioDevice } from '../device/device.js'
import { VfioDevice as Device } from '../device/device.js'
import { EBUSY, EINVAL, VfioError, type VfioErrorContext, attempt } from '../errors.js'
import { EventFd } from '../event/eventfd.js'
import { SignalPoller, environmentPollers } from '../event/poller.js'
import { Vm } from '../kvm/index.js'
import { callable, instance, integer, object } from '../validate.js'
import { Wire } from './wire.js'

/** For a Vm with the full in-kernel interrupt chip. */
export interface KernelIntxOptions {
  /** The pin: 0 to 23 on the IOAPIC that KVM starts with. */
  gsi: number
}

/** For a VMM with an IOAPIC of its own (irqchip `split`). */
export interface OwnIntxOptions {
  /** The device's line went up: raise the pin. Not called again before `eoi()`. */
  onAssert: () => void
  /** The guest has finished with the interrupt: lower the pin. Called inside `eoi()`, before the device may raise it again. */
  onEoi: () => void
  /** Where the device's eventfd is waited for (default: the environment's own poller, which keeps the process alive). */
  poller?: SignalPoller
}

/** What `wireIntx` set up. */
export abstract class IntxWire extends Wire {
  /**
   * To be called for KVM_EXIT_IOAPIC_EOI of the vector that the pin raises, when the VMM has its own IOAPIC: the device is
   * let through again, and if its line is still up it asserts at once. The full chip needs no such call, and ignores it.
   */
  abstract eoi(): void
}

class KernelIntxWire extends IntxWire {
  constructor(vm: Vm, device: VfioDevice, gsi: number) {
    super()
    const intx = device.irq('intx')
    this.setUp(() => {
      const line = new EventFd()
      this.undoLater(() => {
        line.close()
      })
      const resample = new EventFd()
      this.undoLater(() => {
        resample.close()
      })
      this.closeWith(vm)
      this.closeWith(device)
      intx.enable([line])
      const disable = (): void => {
        if (!device.closed && intx.enabled) intx.disable()
      }
      this.undoLater(disable)
      // Held back until both directions are there: an interrupt that nobody resamples would stay masked for ever.
      intx.mask()
      const irqfd = vm.irqfd(line, { gsi, resample })
      this.undoLater(() => {
        irqfd.close()
      })
      // Undone first: the device is silenced before KVM stops listening.
      this.undoLater(disable)
      attempt(unmaskContext, () => {
        intx.setUnmaskEventFd(resample)
      })
      intx.unmask()
    })
  }

  override eoi(): void {
    // KVM signals the resample eventfd by itself.
  }
}

function unmaskContext({ code }: VfioError): VfioErrorContext {
  return code === 'ENOTTY'
    ? {
        remedy:
          "The device's driver unmasks by call only, which KVM cannot make: take irqchip 'split', and { onAssert, onEoi } for the VMM's own IOAPIC.",
      }
    : {}
}

class OwnIntxWire extends IntxWire {
  readonly #device: VfioDevice
  readonly #onEoi: () => void
  #asserted = false

  constructor(vm: Vm, device: VfioDevice, { onAssert, onEoi, poller }: Required<OwnIntxOptions>) {
    super()
    this.#device = device
    this.#onEoi = onEoi
    const intx = device.irq('intx')
    this.setUp(() => {
      const line = new EventFd()
      this.undoLater(() => {
        line.close()
      })
      this.closeWith(vm)
      this.closeWith(device)
      poller.add(line, () => {
        this.#asserted = true
        onAssert()
      })
      intx.enable([line])
      this.undoLater(() => {
        if (!device.closed) intx.disable()
      })
    })
  }

  override eoi(): void {
    if (!this.#asserted || this.closed) return
    this.#asserted = false
    this.#onEoi()
    // VFIO masked the line when it fired.
    this.#device.irq('intx').unmask()
  }
}

/**
 * Wires a device's INTx to a guest.
 *
 * With the full in-kernel interrupt chip, `{ gsi }`: VFIO's eventfd raises the pin (KVM_IRQFD with a resample eventfd), and
 * the guest's end of interrupt lowers it and lets the device through again, all in the kernel.
 *
 * With the split one, `{ onAssert, onEoi }`: the pin is the VMM's own, and the VMM calls `eoi()`.
 * @throws VfioError EBUSY when the device's INTx is enabled already, EINVAL when its MSI or MSI-X is, or when `{ gsi }` is
 *   given without the full interrupt chip; ENOTTY when the device's driver cannot unmask by eventfd (mtty)
 */
export function wireIntx(vm: Vm, device: VfioDevice, options: KernelIntxOptions | OwnIntxOptions): IntxWire {
  instance(vm, Vm, 'vm')
  instance(device, Device, 'device')
  const checked = checkIntx(vm, object(options, 'options'))
  const intx = device.irq('intx')
  if (intx.count === 0) throw new RangeError(`${device.name} has no intx interrupt`)
  if (intx.enabled) {
    throw new VfioError(EBUSY, 'VFIO_DEVICE_SET_IRQS', {
      subject: `intx of ${device.name}`,
      remedy:
        'INTx is enabled already, by enable(), listen() or another wire: disable() or close that first.',
    })
  }
  return 'gsi' in checked ? new KernelIntxWire(vm, device, checked.gsi) : new OwnIntxWire(vm, device, checked)
}

/** The most pins that an irqfd's route can name (KVM_MAX_IRQ_ROUTES of x86). */
const LAST_GSI = 4095

export function checkIntx(
  vm: Vm,
  options: KernelIntxOptions | OwnIntxOptions,
): KernelIntxOptions | Required<OwnIntxOptions> {
  if ('gsi' in options) {
    integer(options.gsi, 'gsi', 0, LAST_GSI)
    if (vm.irqchip === 'full') return { gsi: options.gsi }
    throw new VfioError(EINVAL, 'KVM_IRQFD', {
      subject: `gsi ${String(options.gsi)}`,
      remedy: `A resampled interrupt needs the full in-kernel interrupt chip; this Vm's is '${vm.irqchip}': give { onAssert, onEoi } for the VMM's own IOAPIC.`,
    })
  }
  const { onAssert, onEoi, poller = environmentPollers().waiting } = options
  callable(onAssert, 'onAssert')
  callable(onEoi, 'onEoi')
  return { onAssert, onEoi, poller: instance(poller, SignalPoller, 'poller') }
}
