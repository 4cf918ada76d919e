// A PCI device of the host in the guest's slot: opens it through VFIO and lets the guest's accesses reach it.
import { PciPassthrough, VfioDevice } from 'node-vfio'
import type { Access } from './exit-channel.js'
import type { EduPlace } from './guest/edu.js'
import type { Machine } from './machine.js'
import { CONFIG_LENGTH, CONFIG_PORT, HOST_BRIDGE, PciBus } from './pci.js'

/** Where the guest finds it on bus 0. */
const SLOT = 1
const EDU = { vendor: 0x1234, device: 0x11e8 }

export class PassedThrough {
  readonly #device: VfioDevice
  readonly #passthrough: PciPassthrough

  private constructor(device: VfioDevice, passthrough: PciPassthrough) {
    this.#device = device
    this.#passthrough = passthrough
  }

  /** Opens a device that is on vfio-pci, and plugs it in. The guest's memory becomes reachable for it. */
  static async open(machine: Machine, bdf: string): Promise<PassedThrough> {
    const { vm, bus } = machine
    const device = await VfioDevice.open(bdf, { vm })
    const passthrough = new PciPassthrough(vm, device)
    try {
      await passthrough.start()
    } catch (error) {
      await device.close()
      throw error
    }
    const pci = new PciBus()
    pci.plug(0, HOST_BRIDGE)
    pci.plug(SLOT, passthrough)
    bus.attach('port', CONFIG_PORT, CONFIG_LENGTH, pci)
    const result = new PassedThrough(device, passthrough)
    // Its BARs lie where the guest puts them.
    bus.attachMovable((access) => result.#access(access))
    return result
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
    return { slot: SLOT, msi: msi.offset }
  }

  async close(): Promise<void> {
    this.#passthrough.close()
    await this.#device.close()
  }

  /** An access that may be the device's: to what of it is not mapped into the guest. */
  #access({ space, address, size, value }: Access): bigint | undefined {
    const data = new Uint8Array(8)
    const view = new DataView(data.buffer)
    view.setBigUint64(0, value ?? 0n, true)
    const bytes = data.subarray(0, size)
    const isWrite = value !== undefined
    const answered =
      space === 'memory'
        ? this.#passthrough.handleMmio({ address, length: size, isWrite, data: bytes })
        : this.#passthrough.handlePio({
            port: Number(address),
            direction: isWrite ? 'out' : 'in',
            size,
            count: 1,
            data: bytes,
          })
    return answered ? view.getBigUint64(0, true) : undefined
  }
}
