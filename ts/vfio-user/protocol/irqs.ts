// DEVICE_SET_IRQS. Its eventfds come with the message, one for each vector, or none to take them away.
import { COMMAND, HEADER_BYTES, IRQ_ACTION, IRQ_DATA, MOST_VECTORS } from './constants.js'
import { writeCommand } from './header.js'

const FIXED = 20
/** From the message's start to the bytes of IRQ_DATA.bool. */
export const SET_IRQS_DATA = HEADER_BYTES + FIXED

export interface SetIrqs {
  /** One of IRQ_DATA. */
  readonly data: number
  /** One of IRQ_ACTION. */
  readonly action: number
  readonly index: number
  readonly start: number
  readonly count: number
}

const ONE_OF_DATA: readonly number[] = [IRQ_DATA.none, IRQ_DATA.bool, IRQ_DATA.eventfd]
const ONE_OF_ACTIONS: readonly number[] = [IRQ_ACTION.mask, IRQ_ACTION.unmask, IRQ_ACTION.trigger]

/**
 * Null for what is too short, for flags that are not one kind of data and one action, and for vectors that no interrupt has.
 * Whether the device's interrupt has them, and whether the descriptors are as many, is for the receiver.
 */
export function decodeSetIrqs(view: DataView, at: number, length: number): SetIrqs | null {
  if (length < SET_IRQS_DATA || view.getUint32(at + 16, true) < FIXED) return null
  const flags = view.getUint32(at + 20, true)
  const data = flags & IRQ_DATA.mask
  const action = flags & IRQ_ACTION.all
  if (!ONE_OF_DATA.includes(data) || !ONE_OF_ACTIONS.includes(action)) return null
  if (flags !== (data | action)) return null
  const start = view.getUint32(at + 28, true)
  const count = view.getUint32(at + 32, true)
  if (start + count > MOST_VECTORS) return null
  if (data === IRQ_DATA.bool && length < SET_IRQS_DATA + count) return null
  return { data, action, index: view.getUint32(at + 24, true), start, count }
}

/** @param bools one byte for each vector, with IRQ_DATA.bool */
export function encodeSetIrqs(
  view: DataView,
  at: number,
  id: number,
  { data, action, index, start, count }: SetIrqs,
  bools?: Uint8Array,
): number {
  const size = FIXED + (bools?.byteLength ?? 0)
  view.setUint32(at + 16, size, true)
  view.setUint32(at + 20, data | action, true)
  view.setUint32(at + 24, index, true)
  view.setUint32(at + 28, start, true)
  view.setUint32(at + 32, count, true)
  bools?.forEach((bool, i) => view.setUint8(at + SET_IRQS_DATA + i, bool))
  return writeCommand(view, at, id, COMMAND.deviceSetIrqs, HEADER_BYTES + size)
}
