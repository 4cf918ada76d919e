// BarWindow: one BAR of the device in the guest's memory. Owns its memory slots, which are there exactly while the BAR
// answers and nothing else of the guest's memory is in its place.
import type { RegionArea } from '../../uapi/vfio/device-info.js'
import type { Region } from '../../device/region.js'
import type { MemorySlot, Vm } from '../../kvm/index.js'
import { BarDoorbells } from './bar-doorbells.js'
import { type Shortfalls, isRefusal } from './shortfalls.js'

export class BarWindow {
  readonly region: Region
  readonly #vm: Vm
  readonly #areas: readonly RegionArea[]
  readonly #shortfalls: Shortfalls
  readonly #doorbells: BarDoorbells
  #slots: MemorySlot[] = []
  #address: bigint | null = null
  #covered = false

  /**
   * @param areas what becomes memory of the guest; accesses elsewhere exit
   * @param trapped what has to exit as it is
   */
  constructor(
    vm: Vm,
    region: Region,
    areas: readonly RegionArea[],
    trapped: readonly RegionArea[],
    shortfalls: Shortfalls,
  ) {
    this.#vm = vm
    this.region = region
    this.#areas = areas
    this.#shortfalls = shortfalls
    this.#doorbells = new BarDoorbells(vm, region, { memory: areas, trapped }, shortfalls)
  }

  /** Where the BAR answers; null while it does not. */
  get address(): bigint | null {
    return this.#address
  }

  /** The guest's memory that is the device's, now. */
  get slots(): readonly MemorySlot[] {
    return this.#slots
  }

  /** Whether it waits for other memory of the guest to leave its place. */
  get covered(): boolean {
    return this.#covered
  }

  /** Puts it at an address, unless it is there already. It must have left the one where it was. */
  place(address: bigint): void {
    if (address === this.#address && !this.#covered) return
    this.#address = address
    // A guest that sizes a BAR, or puts one over its own memory, gets what hardware gives: the memory wins.
    this.#covered = this.#overlaps(address)
    if (this.#covered) return
    this.#doorbells.place(address)
    for (const { offset, size } of this.#areas) {
      const slot = this.#add(address + BigInt(offset), offset, size)
      if (slot === undefined) return
      this.#slots.push(slot)
    }
  }

  /** Takes it away. */
  remove(): void {
    this.#address = null
    this.#covered = false
    this.#doorbells.remove()
    const slots = this.#slots
    this.#slots = []
    const errors: unknown[] = []
    for (const slot of slots) {
      try {
        slot.close()
      } catch (error) {
        // The others still have to go.
        errors.push(error)
      }
    }
    this.#slots.push(...slots.filter(({ closed }) => !closed))
    if (errors.length > 0) throw errors[0]
  }

  #overlaps(address: bigint): boolean {
    return this.#areas.some((area) =>
      this.#vm.memorySlots.some(
        (slot) =>
          address + BigInt(area.offset) < slot.guestAddress + BigInt(slot.size) &&
          address + BigInt(area.offset + area.size) > slot.guestAddress,
      ),
    )
  }

  /** Where KVM takes no slot (it has none left, or the address is beyond the guest's) the accesses exit and are forwarded. */
  #add(guestAddress: bigint, offset: number, size: number): MemorySlot | undefined {
    try {
      return this.#vm.addMemory({ guestAddress, memory: this.region, offset, size })
    } catch (error) {
      if (!isRefusal(error)) throw error
      const what = `${this.region.name} is not mapped into the guest, its accesses exit`
      this.#shortfalls.count('unmappedBars', what, error)
      return undefined
    }
  }
}
