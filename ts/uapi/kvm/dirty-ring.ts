// Entries of a dirty ring (struct kvm_dirty_gfn). Pure.
import { viewOf } from './fields.js'

/** @internal */
export interface DirtyEntry {
  slot: number
  /** Pages from the slot's start. */
  page: bigint
}

const SIZE = 16
/** Above these bits the kernel has an address space: system management mode. */
const SLOT_MASK = 0xffff

/** @internal */
export function decodeDirtyEntries(bytes: Uint8Array): DirtyEntry[] {
  const view = viewOf(bytes)
  return Array.from({ length: Math.floor(bytes.length / SIZE) }, (_, i) => ({
    slot: view.getUint32(i * SIZE + 4, true) & SLOT_MASK,
    page: view.getBigUint64(i * SIZE + 8, true),
  }))
}

/** Bytes of a ring of so many entries. @internal */
export function ringBytes(entries: number): number {
  return entries * SIZE
}
