// Reads the signalling hooks from the devices themselves: what a virtual function or a mediated device offers is only known
// once it is open. Opening one resets it, so that only those are opened that nobody has, and only when asked.

import { join } from 'node:path'
import type { VfioDevice } from '../device/device.js'
import type { Region } from '../device/region.js'
import { VfioError } from '../errors.js'
import { array, object } from '../validate.js'
import { checkHostOptions, type HostOptions, sysfsRoot } from '../host/sysfs.js'
import { deviceUsers } from '../host/users.js'
import { FRAMEWORKS } from './frameworks/index.js'
import type { HookFinding, MergedReport, SharedDevice } from './types.js'

type Answer = Pick<HookFinding, 'answer' | 'why'>

/** What guests have of a device and nobody has open. */
function candidates(device: SharedDevice, options: HostOptions): string[] {
  const names = FRAMEWORKS[device.framework].openable(device)
  const paths = [...new Set(names)].map((name) => join(sysfsRoot(options), 'bus', name))
  return paths.filter((path) => deviceUsers([path], options).users.length === 0)
}

/** Sets one up and takes it back; nothing signals it in between. */
function tryIoeventfd(region: Region): Answer {
  for (const offset of [0, region.size - 4]) {
    try {
      region.ioeventfd(offset, { width: 4, data: 0 }).close()
      return { answer: 'yes', why: `${region.name} takes one (VFIO_DEVICE_IOEVENTFD)` }
    } catch (error) {
      // The MSI-X table is there: elsewhere, then.
      if (error instanceof RangeError) continue
      if (!(error instanceof VfioError)) throw error
      if (error.code === 'ENOTTY') return { answer: 'no', why: 'the device has no VFIO_DEVICE_IOEVENTFD' }
      return { answer: 'cannot-tell', why: `VFIO_DEVICE_IOEVENTFD answers ${error.code} for ${region.name}` }
    }
  }
  return { answer: 'cannot-tell', why: `${region.name} has nothing beside its MSI-X table` }
}

function ask(device: VfioDevice): HookFinding[] {
  const kinds = device.irqs().filter(({ count }) => count > 0)
  const byEventfd = kinds.filter(({ info, name }) => info.flags.eventfd && name !== 'err' && name !== 'req')
  const described = byEventfd.map(
    ({ name, count }) => `${name} with ${count} vector${count === 1 ? '' : 's'}`,
  )
  const intx = byEventfd.find(({ name }) => name === 'intx')
  const bar = device
    .regions()
    .find(({ index, size, flags }) => index <= 5 && size >= 8 && size % 4 === 0 && flags.write)
  const from = `read from ${device.name}`
  const irqfd: Answer =
    byEventfd.length > 0
      ? { answer: 'yes', why: `${described.join(', ')} (VFIO_DEVICE_GET_IRQ_INFO)` }
      : { answer: 'no', why: 'it has no interrupt that an eventfd can take (VFIO_DEVICE_GET_IRQ_INFO)' }
  const ioeventfd: Answer =
    bar === undefined ? { answer: 'no', why: 'it has no BAR that can be written' } : tryIoeventfd(bar)
  const level: Answer =
    intx === undefined
      ? { answer: 'no', why: 'it has no INTx' }
      : { answer: 'yes', why: `INTx${intx.info.flags.automasked ? ', masked when it fires' : ''}` }
  const told: [HookFinding['hook'], Answer][] = [
    ['irqfd', irqfd],
    ['ioeventfd', ioeventfd],
    ['level', level],
  ]
  return told.map(([hook, { answer, why }]) => ({ hook, answer, why: `${why}; ${from}` }))
}

/** The hooks of the first that can be opened; why not, where none can. */
async function hooksOf(device: SharedDevice, options: HostOptions): Promise<SharedDevice> {
  const problems: string[] = []
  for (const path of candidates(device, options)) {
    // Loaded only here: the report itself needs no addon.
    const { VfioDevice: Vfio } = await import('../device/device.js')
    let open: VfioDevice | undefined
    try {
      open = await Vfio.open(path, { ...options, watch: false })
      return { ...device, hooks: ask(open) }
    } catch (error) {
      problems.push(error instanceof Error ? error.message : String(error))
    } finally {
      await open?.close()
    }
  }
  const [problem = 'guests have nothing of it that could be opened'] = problems
  const hooks = device.hooks.map((hook) =>
    hook.answer === 'cannot-tell' ? { ...hook, why: `${hook.why}; ${problem}` } : hook,
  )
  return { ...device, hooks }
}

/**
 * The report with the hooks read from the devices themselves (VFIO_DEVICE_GET_IRQ_INFO, VFIO_DEVICE_IOEVENTFD). For each
 * shared device one virtual function or mediated device that nobody has open is opened, which resets it, and closed again.
 * What cannot be opened keeps its answer, with the reason.
 * @throws TypeError if an option is not a string
 */
export async function withHooks(report: MergedReport, options: HostOptions = {}): Promise<MergedReport> {
  checkHostOptions(options)
  const shared = array(object(report, 'report').devices, 'report.devices')
  for (const device of shared) object(device, 'a device of the report')
  const devices: SharedDevice[] = []
  // One after another: two may share a group.
  for (const device of shared) devices.push(await hooksOf(device, options))
  return { ...report, devices }
}
