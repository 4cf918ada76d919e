// BarDoorbells: the writes to one BAR that the device takes by eventfd, given to KVM where the guest has the BAR: a ring then costs
// an exit into the kernel and no more. Knows nothing of memory slots.
import type { RegionDoorbell } from '../../device/backend.js'
import type { Region } from '../../device/region.js'
import type { RegionArea } from '../../uapi/vfio/device-info.js'
import { EventFd } from '../../event/eventfd.js'
import type { Vm } from '../../kvm/index.js'
import { type Shortfalls, isRefusal } from './shortfalls.js'

const WIDTHS = [0, 1, 2, 4, 8] as const

export class BarDoorbells {
  readonly #vm: Vm
  readonly #region: Region
  readonly #bells: readonly RegionDoorbell[]
  readonly #shortfalls: Shortfalls
  /** A hold of its own on each eventfd: closing it takes the wire away, and the eventfd stays the device's. */
  #wired: EventFd[] = []

  /**
   * @param memory what of the BAR is the guest's memory, where nothing exits and nothing would ring
   * @param trapped what is to exit whatever the device offers
   */
  constructor(
    vm: Vm,
    region: Region,
    { memory, trapped }: { memory: readonly RegionArea[]; trapped: readonly RegionArea[] },
    shortfalls: Shortfalls,
  ) {
    this.#vm = vm
    this.#region = region
    this.#shortfalls = shortfalls
    this.#bells = region.doorbells.filter(
      (bell) => ![...memory, ...trapped].some((area) => touches(bell, area)),
    )
  }

  /** The BAR is at an address of the guest's. */
  place(address: bigint): void {
    this.remove()
    for (const { offset, width, match, eventfd } of this.#bells) {
      const length = WIDTHS.find((each) => each === width)
      if (length === undefined) continue
      const own = EventFd.claim(eventfd.share())
      this.#wired.push(own)
      try {
        const wanted = match === null || length === 0 ? {} : { match }
        this.#vm.ioeventfd({ mmio: address + BigInt(offset), length, eventfd: own, ...wanted })
      } catch (error) {
        if (!isRefusal(error)) throw error
        const what = `a doorbell of ${this.#region.name} is not wired, its writes exit`
        this.#shortfalls.count('unmappedBars', what, error)
      }
    }
  }

  /** It is there no more. */
  remove(): void {
    for (const eventfd of this.#wired) eventfd.close()
    this.#wired = []
  }
}

function touches({ offset, width }: RegionDoorbell, area: RegionArea): boolean {
  return offset < area.offset + area.size && offset + Math.max(width, 1) > area.offset
}
