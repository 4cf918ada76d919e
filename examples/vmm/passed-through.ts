// A PCI device of the host in a slot of the guest's: opens it through VFIO and lets the guest's accesses reach it.
import { PciPassthrough, VfioDevice } from 'node-vfio'
import type { EduPlace } from './guest/edu.js'
import type { Machine } from './machine.js'

/** Where the guest finds the first of them on bus 0; the others follow. */
export const FIRST_SLOT = 4
const EDU = { vendor: 0x1234, device: 0x11e8 }

export class PassedThrough {
  readonly #device: VfioDevice
  readonly #passthrough: PciPassthrough
  readonly #slot: number

  private constructor(device: VfioDevice, passthrough: PciPassthrough, slot: number) {
    this.#device = device
    this.#passthrough = passthrough
    this.#slot = slot
  }

  /** Opens a device that is on vfio-pci, and plugs it in. The guest's memory becomes reachable for it. */
  static async open(machine: Machine, bdf: string, slot: number): Promise<PassedThrough> {
    const { vm, pci, movable } = machine
    const device = await VfioDevice.open(bdf, { vm })
    const passthrough = new PciPassthrough(vm, device)
    try {
      await passthrough.start()
    } catch (error) {
      await device.close()
      throw error
    }
    pci.plug(slot, passthrough)
    // Its BARs lie where the guest puts them.
    movable.push((exit) =>
      exit.reason === 'mmio' ? passthrough.handleMmio(exit) : passthrough.handlePio(exit),
    )
    return new PassedThrough(device, passthrough, slot)
  }

  /**
   * What the project's own guest has to know of an edu.
   * @throws Error when the device is another
   */
  eduPlace(): EduPlace {
    const { config, name } = this.#device
    const msi = config.capabilities().find((capability) => capability.name === 'msi')
    if (config.vendorId !== EDU.vendor || config.deviceId !== EDU.device || msi === undefined) {
      throw new Error(`${name} is not an edu, which the guest could drive: boot Linux with --kernel`)
    }
    return { slot: this.#slot, msi: msi.offset }
  }

  async close(): Promise<void> {
    this.#passthrough.close()
    await this.#device.close()
  }
}
