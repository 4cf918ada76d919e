// DEVICE_SET_IRQS of a device behind a socket: eventfds go along as descriptors, as many as one message may have.
import { EOPNOTSUPP, VfioError } from '../../errors.js'
import type { IrqData } from '../../device/backend.js'
import type { EventFd } from '../../event/eventfd.js'
import { IRQ_DATA } from '../protocol/constants.js'
import { encodeSetIrqs } from '../protocol/irqs.js'
import type { Channel } from './channel.js'

/** Vectors side by side that all get an eventfd, or all lose theirs. */
interface Run {
  readonly start: number
  readonly eventfds: readonly (EventFd | null)[]
}

/** Nothing stands for "no eventfd" in a message: those without go apart. @param most eventfds of one run */
function* runsOf(start: number, eventfds: readonly (EventFd | null)[], most: number): Generator<Run> {
  for (let first = 0; first < eventfds.length;) {
    const absent = eventfds[first] === null
    let end = first + 1
    while (end < eventfds.length && (eventfds[end] === null) === absent && (absent || end - first < most))
      end++
    yield { start: start + first, eventfds: eventfds.slice(first, end) }
    first = end
  }
}

/** As `DeviceBackend.setIrqs`. Fails midway where a server refuses one message of several. */
export function setIrqs(
  channel: Channel,
  action: number,
  index: number,
  start: number,
  count: number,
  data: IrqData,
): void {
  if (data === null) {
    channel.ask((view) => encodeSetIrqs(view, 0, 0, { data: IRQ_DATA.none, action, index, start, count }))
    return
  }
  if (data instanceof Uint8Array) {
    const request = { data: IRQ_DATA.bool, action, index, start, count }
    channel.ask((view) => encodeSetIrqs(view, 0, 0, request, data), { room: 512 + data.byteLength })
    return
  }
  const most = channel.terms.mostDescriptors
  if (most === 0 && data.some((each) => each !== null)) {
    throw new VfioError(EOPNOTSUPP, 'VFIO_USER_DEVICE_SET_IRQS', {
      remedy: 'The server takes no descriptors (max_msg_fds is 0), so that no interrupt can be delivered.',
    })
  }
  for (const run of runsOf(start, data, most)) {
    const request = { data: IRQ_DATA.eventfd, action, index, start: run.start, count: run.eventfds.length }
    const handles = run.eventfds.flatMap((each) => (each === null ? [] : [each.native]))
    channel.ask((view) => encodeSetIrqs(view, 0, 0, request), { handles })
  }
}
