// `vfio irq`: enables a device's interrupts and shows them as they arrive.
import type { VfioDevice } from '../device/device.js'
import type { PciIrqName } from '../device/interrupts.js'
import type { CliContext } from './context.js'
import { CliError, plural } from './format.js'
import { given } from './given.js'
import { reach } from './reach.js'

export interface IrqOptions {
  /** The vector to fire from the kernel, as the device would. */
  readonly trigger?: number
  /** Stop after so many interrupts. */
  readonly count?: number
  /** Seconds to wait at most. */
  readonly timeout?: number
}

const TRIGGER_TIMEOUT = 5

/** Resolves to how many arrived: at `count`, or when the time is up. */
function watch(
  context: CliContext,
  device: VfioDevice,
  name: PciIrqName,
  options: IrqOptions,
): Promise<number> {
  const irq = given(() => device.irq(name))
  const { count = Infinity, timeout, trigger } = options
  given(() => irq.enable(irq.count))
  context.err(`${name} of ${device.name}: ${plural(irq.count, 'vector')} enabled\n`)
  return new Promise((resolve) => {
    let arrived = 0
    const started = performance.now()
    for (let vector = 0; vector < irq.count; vector++) {
      const handler = (signals: number): void => {
        const seconds = ((performance.now() - started) / 1000).toFixed(6)
        context.out(`${seconds} s  ${name} vector ${vector}${signals === 1 ? '' : `, ${signals} times`}\n`)
        arrived += signals
        if (arrived < count) return
        clearTimeout(timer)
        resolve(arrived)
      }
      irq.listen(handler, { vector })
    }
    if (trigger !== undefined) given(() => irq.trigger(trigger))
    const timer = timeout === undefined ? undefined : setTimeout(() => resolve(arrived), timeout * 1000)
  })
}

export async function irq(
  context: CliContext,
  id: string,
  name: PciIrqName,
  options: IrqOptions,
): Promise<void> {
  const { trigger } = options
  const defaults = trigger === undefined ? {} : { count: 1, timeout: TRIGGER_TIMEOUT }
  const wanted = { ...defaults, ...options }
  const device = await reach(id, context)
  try {
    // An MSI is a write of the device's. Nothing is mapped for it, so that it reaches nothing else.
    if (device.info.bus === 'pci') device.config.command.busMaster = true
    const arrived = await watch(context, device, name, wanted)
    if (arrived < (wanted.count ?? 0)) {
      throw new CliError(
        `${arrived} of ${plural(wanted.count ?? 0, 'interrupt')} arrived within ${wanted.timeout ?? 0} s`,
      )
    }
  } finally {
    await device.close()
  }
}
