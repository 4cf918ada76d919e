// BarWindow: one BAR of the device in the guest's memory. Owns its memory slots, which are there exactly while the BAR
// answers.
import type { RegionArea } from '../../device/info.js'
import type { Region } from '../../device/region.js'
import { VfioError } from '../../errors.js'
import type { MemorySlot, Vm } from '../../kvm/index.js'

export class BarWindow {
  readonly region: Region
  readonly #vm: Vm
  readonly #areas: readonly RegionArea[]
  #slots: MemorySlot[] = []
  #address: bigint | null = null

  /** @param areas what becomes memory of the guest; accesses elsewhere exit */
  constructor(vm: Vm, region: Region, areas: readonly RegionArea[]) {
    this.#vm = vm
    this.region = region
    this.#areas = areas
  }

  /** Where the BAR answers; null while it does not. */
  get address(): bigint | null {
    return this.#address
  }

  /** The guest's memory that is the device's, now. */
  get slots(): readonly MemorySlot[] {
    return this.#slots
  }

  /** Puts it at an address, or (null) takes it away. Nothing happens when it is there already. */
  place(address: bigint | null): void {
    if (address === this.#address) return
    this.remove()
    this.#address = address
    // A guest that sizes a BAR, or puts one over its own memory, gets what hardware gives: the memory wins.
    if (address === null || this.#overlaps(address)) return
    for (const { offset, size } of this.#areas) {
      const slot = this.#add(address + BigInt(offset), offset, size)
      if (slot === undefined) return
      this.#slots.push(slot)
    }
  }

  /** Takes it away. */
  remove(): void {
    this.#address = null
    for (const slot of this.#slots) slot.close()
    this.#slots = []
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
      if (!(error instanceof VfioError) && !(error instanceof RangeError)) throw error
      process.emitWarning(
        `${this.region.name} is not mapped into the guest, its accesses exit: ${error.message}`,
        {
          type: 'VfioPassthroughWarning',
        },
      )
      return undefined
    }
  }
}
