// GuestDma: a guest's memory in an IOMMU address space, each slot at its guest address, kept so while slots come and go. One
// for each pair of a Vm and a space, whatever number of devices share it.
import type { AddressSpace } from '../../iommu/address-space.js'
import { GuestMemory } from '../../iommu/guest-memory.js'
import type { MemorySlot, Vm } from '../../kvm/index.js'

const shared = new WeakMap<AddressSpace, Map<Vm, GuestDma>>()

export class GuestDma {
  readonly #vm: Vm
  readonly #space: AddressSpace
  readonly #mapped = new Set<MemorySlot>()
  #subscription: { close(): void } | undefined
  #users = 0

  private constructor(vm: Vm, space: AddressSpace) {
    this.#vm = vm
    this.#space = space
  }

  static of(vm: Vm, space: AddressSpace): GuestDma {
    const byVm = shared.get(space) ?? new Map<Vm, GuestDma>()
    shared.set(space, byVm)
    const found = byVm.get(vm) ?? new GuestDma(vm, space)
    byVm.set(vm, found)
    return found
  }

  /**
   * Maps what memory there is, and from then on what comes.
   * @throws what `space.map` throws: the memory is pinned (RLIMIT_MEMLOCK), and its addresses must be among `iovaRanges`
   */
  async join(): Promise<void> {
    this.#users++
    try {
      this.#subscription ??= this.#vm.onMemoryChange(({ kind, slot }) => {
        if (kind === 'added') this.#mapSync(slot)
        else this.#unmap(slot)
      })
      for (const slot of this.#vm.memorySlots) await this.#map(slot)
    } catch (error) {
      this.leave()
      throw error
    }
  }

  /** Unmaps everything once nobody needs it. */
  leave(): void {
    if (--this.#users > 0) return
    this.#subscription?.close()
    this.#subscription = undefined
    for (const slot of this.#mapped) this.#unmap(slot)
    shared.get(this.#space)?.delete(this.#vm)
  }

  async #map(slot: MemorySlot): Promise<void> {
    const { memory } = slot
    if (!this.#claim(slot) || !(memory instanceof GuestMemory)) return
    const { guestAddress: iova, offset, size, readOnly } = slot
    try {
      await this.#space.map(memory, { iova, offset, size, write: !readOnly })
    } catch (error) {
      this.#mapped.delete(slot)
      throw error
    }
    // The slot went while it was being mapped.
    if (!this.#mapped.has(slot)) this.#space.unmapSync(iova, size)
  }

  #mapSync(slot: MemorySlot): void {
    const { memory } = slot
    if (!this.#claim(slot) || !(memory instanceof GuestMemory)) return
    const { guestAddress: iova, offset, size, readOnly } = slot
    try {
      this.#space.mapSync(memory, { iova, offset, size, write: !readOnly })
    } catch (error) {
      this.#mapped.delete(slot)
      throw error
    }
  }

  /** False for a slot that is mapped already, or is a BAR: devices reach only memory. */
  #claim(slot: MemorySlot): boolean {
    if (this.#mapped.has(slot) || !(slot.memory instanceof GuestMemory)) return false
    this.#mapped.add(slot)
    return true
  }

  #unmap(slot: MemorySlot): void {
    if (!this.#mapped.delete(slot) || this.#space.closed) return
    this.#space.unmapSync(slot.guestAddress, slot.size)
  }
}
