// Writes that waited in the kernel (struct kvm_coalesced_mmio). Pure.
import { viewOf } from './fields.js'

/** A write of the guest's that caused no exit of its own. */
export interface CoalescedWrite {
  /** A guest address, or a port. */
  address: bigint
  port: boolean
  /** What was written, 1 to 8 bytes. */
  data: Uint8Array
}

const SIZE = 24
const DATA_AT = 16
const MOST_DATA = 8

/** @internal */
export function decodeCoalesced(bytes: Uint8Array): CoalescedWrite[] {
  const view = viewOf(bytes)
  return Array.from({ length: Math.floor(bytes.length / SIZE) }, (_, i) => {
    const at = i * SIZE
    const length = Math.min(view.getUint32(at + 8, true), MOST_DATA)
    return {
      address: view.getBigUint64(at, true),
      port: view.getUint32(at + 12, true) !== 0,
      data: bytes.slice(at + DATA_AT, at + DATA_AT + length),
    }
  })
}
