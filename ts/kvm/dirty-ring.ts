// DirtyRing: the pages that vCPUs wrote to, one ring per vCPU, instead of a bitmap per slot. Asks the machine which slot is
// where, and nothing else of it.
import { EIO, VfioError, type VfioErrorContext, attempt } from '../errors.js'
import { addon, type NativeHandle } from '../native/index.js'
import { pageSize } from '../memory/page.js'
import { array, instance, integer, object } from '../validate.js'
import { decodeDirtyEntries, ringBytes } from '../uapi/kvm/dirty-ring.js'
import { enableCapability, needCapability } from './state/capability.js'
import { Vcpu } from './vcpu.js'

/** A page that a guest wrote to. */
export interface DirtyPage {
  /** The slot's number, as `MemorySlot.number` has it. */
  slot: number
  /** Bytes from the slot's start. */
  offset: bigint
  /** Where the guest sees it; null for a slot that was not added through this object, or that is gone. */
  guestAddress: bigint | null
}

/** The machine, as far as the ring needs it. @internal */
export interface RingedVm {
  readonly native: () => NativeHandle
  /** What memory it has. */
  readonly slots: () => readonly { readonly number: number; readonly guestAddress: bigint }[]
}

export interface DirtyRingOptions {
  /** Per vCPU: a power of two, at least 1024 on x86. Default 4096. */
  entries?: number
}

/**
 * The dirty rings of a machine (KVM_CAP_DIRTY_LOG_RING, Linux 5.11). Slots with `logDirty` report to them; `dirtyBitmap()` is
 * refused then. A vCPU whose ring is nearly full ends its run() with `dirty-ring-full`: `collect` it, and run it again.
 */
export class DirtyRing {
  /** Of each vCPU. */
  readonly entries: number
  readonly #vm: RingedVm

  /** @internal */
  constructor(vm: RingedVm, entries: number) {
    this.#vm = vm
    this.entries = entries
  }

  /**
   * The pages that these vCPUs wrote to since the last time, oldest first, a page once or more. The kernel watches them again
   * from then on (KVM_RESET_DIRTY_RINGS). Works while they run; what they have not come out of the guest with yet is missing:
   * kick them first for a complete answer.
   * @throws TypeError for a vCPU of another machine; VfioError EIO when a ring ran over, which only a KVM that emulates its guest lets happen: pages are missing; EFAULT for an adopted
   *   vCPU that is another machine's
   */
  collect(vcpus: readonly Vcpu[]): DirtyPage[] {
    const natives = array(vcpus, 'vcpus').map((vcpu, i) => instance(vcpu, Vcpu, `vcpus[${String(i)}]`).native)
    const page = BigInt(pageSize())
    const lists = attempt(explainFault, () => addon().vmHarvestDirty(this.#vm.native(), natives)).map(
      decodeDirtyEntries,
    )
    const found = lists.flat()
    if (found.length > 0) addon().vmResetDirtyRings(this.#vm.native())
    // KVM stops a vCPU while there is room left. Where it emulates its guest it can come too late, and writes over entries.
    if (lists.some(({ length }) => length === this.entries)) {
      throw new VfioError(EIO, 'KVM_RESET_DIRTY_RINGS', {
        subject: `a ring of ${String(this.entries)} entries`,
        remedy:
          'It ran over, and pages are missing: take all memory as written, and make the machine anew with a larger ring, or with bitmaps.',
      })
    }
    if (found.length === 0) return []
    const starts = new Map(this.#vm.slots().map(({ number, guestAddress }) => [number, guestAddress]))
    return found.map(({ slot, page: number }) => {
      const offset = number * page
      const start = starts.get(slot)
      return { slot, offset, guestAddress: start === undefined ? null : start + offset }
    })
  }
}

function explainFault({ code }: VfioError): VfioErrorContext {
  if (code !== 'EFAULT') return {}
  return { subject: 'a vCPU', remedy: 'It has no such ring: it was adopted, and belongs to another machine.' }
}

const LEAST = 1024
const DEFAULT = 4096

/** Turns the rings on. @internal */
export function makeDirtyRing(vm: RingedVm, options: DirtyRingOptions): DirtyRing {
  const { entries = DEFAULT } = object(options, 'options')
  const native = vm.native()
  const most = needCapability(native, 'DIRTY_LOG_RING_ACQ_REL', 'KVM_ENABLE_CAP') / ringBytes(1)
  integer(entries, 'entries', LEAST, most)
  if (!Number.isInteger(Math.log2(entries))) throw new RangeError('entries must be a power of two')
  enableCapability(native, 'DIRTY_LOG_RING_ACQ_REL', [BigInt(ringBytes(entries))])
  return new DirtyRing(vm, entries)
}
