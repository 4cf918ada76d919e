// GuestDma: a guest's memory in an IOMMU address space, each slot at its guest address, kept so while slots come and go. One
// for each pair of a Vm and a space, whatever number of devices share it.
import type { AddressSpace } from '../../iommu/address-space.js'
import { GuestMemory } from '../../memory/guest-memory.js'
import type { MemorySlot, Vm } from '../../kvm/index.js'

const shared = new WeakMap<AddressSpace, Map<Vm, GuestDma>>()

/** Somebody who needs the memory mapped. */
export interface DmaUser {
  /** True once it needs it no more: what is still being mapped for it stops. */
  readonly closed: boolean
}

export class GuestDma {
  readonly #vm: Vm
  readonly #space: AddressSpace
  readonly #users = new Set<DmaUser>()
  readonly #mapped = new Set<MemorySlot>()
  /** What is being mapped, by whomever: others wait for the same. */
  readonly #underWay = new Map<MemorySlot, Promise<void>>()
  #subscription: { close(): void } | undefined

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
   * Maps what memory there is, and from then on what comes, until `leave`. When it fails, or the user has closed meanwhile,
   * the user has left.
   * @throws what `space.map` throws: the memory is pinned (RLIMIT_MEMLOCK), and its addresses must be among `iovaRanges`
   */
  async join(user: DmaUser): Promise<void> {
    this.#users.add(user)
    try {
      this.#subscription ??= this.#vm.onMemoryChange(({ kind, slot }) => {
        if (kind === 'added') this.#mapSync(slot)
        else this.#unmap(slot)
      })
      // Slots may come and go while one is mapped.
      for (let slot = this.#next(); slot !== undefined && !user.closed; slot = this.#next())
        await (this.#underWay.get(slot) ?? this.#map(slot))
    } catch (error) {
      try {
        this.leave(user)
      } catch {
        // The first error is the one that says why.
      }
      throw error
    }
    if (user.closed) this.leave(user)
  }

  /** Unmaps everything once nobody needs it. Idempotent. */
  leave(user: DmaUser): void {
    if (!this.#users.delete(user) || this.#users.size > 0) return
    this.#subscription?.close()
    this.#subscription = undefined
    const errors: unknown[] = []
    for (const slot of [...this.#mapped]) {
      try {
        this.#unmap(slot)
      } catch (error) {
        // The others still have to go.
        errors.push(error)
      }
    }
    this.#forgetUnused()
    if (errors.length > 0) throw errors[0]
  }

  /** Guest memory that devices do not reach yet. A BAR is none: they reach only memory. */
  #next(): MemorySlot | undefined {
    return this.#vm.memorySlots.find((slot) => slot.memory instanceof GuestMemory && !this.#mapped.has(slot))
  }

  #map(slot: MemorySlot): Promise<void> {
    const mapping = this.#mapAlone(slot)
    this.#underWay.set(slot, mapping)
    return mapping
  }

  async #mapAlone(slot: MemorySlot): Promise<void> {
    const { memory, guestAddress: iova, offset, size, readOnly } = slot
    try {
      if (memory instanceof GuestMemory)
        await this.#space.map(memory, { iova, offset, size, write: !readOnly })
      this.#mapped.add(slot)
      // The slot, or everybody who needs it, went while it was being mapped.
      if (slot.closed || this.#users.size === 0) this.#unmap(slot)
    } finally {
      this.#underWay.delete(slot)
      this.#forgetUnused()
    }
  }

  #mapSync(slot: MemorySlot): void {
    const { memory, guestAddress: iova, offset, size, readOnly } = slot
    if (this.#mapped.has(slot) || !(memory instanceof GuestMemory)) return
    this.#space.mapSync(memory, { iova, offset, size, write: !readOnly })
    this.#mapped.add(slot)
  }

  #unmap(slot: MemorySlot): void {
    if (!this.#mapped.delete(slot) || this.#space.closed) return
    this.#space.unmapSync(slot.guestAddress, slot.size)
  }

  /** While something is under way the next user finds this one: the same address cannot be mapped twice. */
  #forgetUnused(): void {
    if (this.#users.size > 0 || this.#underWay.size > 0) return
    const byVm = shared.get(this.#space)
    if (byVm?.get(this.#vm) === this) byVm.delete(this.#vm)
  }
}
