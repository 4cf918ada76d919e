// What `vfio serve` says of an event of a broker's: as fields for programs, as a line for people.
import type { AccessEvent, BrokerEvent } from '../vfio-user/index.js'
import { hex, plural } from './format.js'
import type { ServeEvent } from './output.js'

/** The fields beside what it is. */
export type Detail = Omit<ServeEvent, 'schema' | 'seconds' | 'event'>

export function detailOf(event: BrokerEvent | AccessEvent): Detail {
  switch (event.what) {
    case 'read':
    case 'write': {
      const { space, offset, size, value, outcome } = event
      return { space, offset, width: size, value: value === null ? null : hex(value, 2 * size), outcome }
    }
    case 'interrupts': {
      const { irq, action, start, count, given } = event
      return { irq, action, start, count, given }
    }
    case 'map': {
      const access = `${event.read ? 'r' : ''}${event.write ? 'w' : ''}`
      return { iova: hex(event.iova), size: hex(event.size), access }
    }
    case 'unmap':
      return { iova: hex(event.iova), size: hex(event.size) }
    case 'reset':
      return { by: event.by }
    case 'refusing':
      return { message: event.error.message }
    default:
      return {}
  }
}

function accessText(
  what: string,
  { space = '', offset = 0, width = 0, value, outcome = 'done' }: Detail,
): string {
  const arrow = what === 'read' ? '->' : '<-'
  const ending = outcome === 'done' ? '' : `  ${outcome}`
  return `${what.padEnd(5)} ${space}+${hex(offset)}/${width} ${arrow} ${value ?? 'nothing'}${ending}`
}

function interruptText({ irq = '', action = 'off', start = 0, count = 0, given = 0 }: Detail): string {
  const vectors = count === 1 ? `vector ${start}` : `vectors ${start}-${start + count - 1}`
  if (action === 'assign') return `${irq} ${vectors}: ${plural(given, 'eventfd')}`
  return action === 'off' ? `${irq} off` : `${irq} ${vectors}: ${action}`
}

export function textOf(event: ServeEvent['event'], detail: Detail): string {
  const { device = '', socket = '', message = '', by, iova = '', size = '', access = '' } = detail
  switch (event) {
    case 'listening':
      return `${device} is served on ${socket}`
    case 'connected':
      return 'a client has the device'
    case 'gone':
      return 'the client is gone'
    case 'reset':
      return by === 'client' ? 'reset by the client' : 'reset, for the next client'
    case 'refusing':
      return `no further client: ${message}`
    case 'requested':
      return 'the kernel asks for the device back'
    case 'bus-error':
      return 'the bus reports an uncorrectable error of the device; its DMA is off'
    case 'error':
      return message
    case 'read':
    case 'write':
      return accessText(event, detail)
    case 'interrupts':
      return interruptText(detail)
    case 'map':
      return `map   ${iova} + ${size} ${access === '' ? 'out of reach: memory of no file' : access}`
    case 'unmap':
      return `unmap ${iova}: ${size} bytes`
  }
}
