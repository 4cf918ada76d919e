// A driver for QEMU's edu device, as a model for drivers of other devices: registers, DMA and MSI behind methods that
// speak of what the device does. The device is described in QEMU's docs/specs/edu.rst.
import type { DmaBuffer, InterruptIndex, Region, VfioDevice } from 'node-vfio'

const REGISTER = {
  identification: 0x00,
  factorial: 0x08,
  status: 0x20,
  interruptStatus: 0x24,
  interruptRaise: 0x60,
  interruptAcknowledge: 0x64,
  dmaSource: 0x80,
  dmaTarget: 0x88,
  dmaLength: 0x90,
  dmaCommand: 0x98,
} as const

const STATUS_COMPUTING = 0x01
const DMA_START = 0x01
const DMA_FROM_DEVICE = 0x02
const DMA_INTERRUPT = 0x04
/** The bit of the interrupt status that a finished transfer sets. */
const CAUSE_DMA = 0x100

/** The memory of the device itself, as its DMA engine addresses it. */
const DEVICE_MEMORY = 0x40000n
const DMA_TIMEOUT_MS = 5000

/** What the device's DMA engine can address: 28 bits. */
const DMA_LIMIT = 1n << 28n
/** The most bytes per transfer. The memory is twice that, but QEMU aborts when its last byte is touched. */
export const DMA_MOST = 2048

const ids = (vendor: number, device: number): string => `${vendor.toString(16)}:${device.toString(16)}`

/** The driver of an open edu device. */
export class Edu {
  static readonly vendorId = 0x1234
  static readonly deviceId = 0x11e8

  /**
   * Memory that the device reaches. It stays mapped as long as the device is open: closing a DmaBuffer turns bus
   * mastering off, since the device might still write to it, and with that its MSIs.
   */
  readonly dma: DmaBuffer
  /** Its one MSI. */
  readonly msi: InterruptIndex
  readonly #registers: Region
  readonly #name: string

  private constructor(device: VfioDevice, dma: DmaBuffer) {
    this.dma = dma
    this.msi = device.irq('msi')
    this.#registers = device.region('bar0')
    this.#name = device.name
    // Off after opening. Both DMA and message signalled interrupts are writes that the device issues.
    device.config.command.busMaster = true
  }

  /**
   * Prepares an open device.
   * @param dmaSize bytes of memory to share with it
   */
  static async attach(device: VfioDevice, dmaSize: number): Promise<Edu> {
    const { vendorId, deviceId } = device.config
    if (vendorId !== Edu.vendorId || deviceId !== Edu.deviceId) {
      throw new Error(
        `${device.name} is ${ids(vendorId, deviceId)}, not an edu device (${ids(Edu.vendorId, Edu.deviceId)})`,
      )
    }
    return new Edu(device, await device.addressSpace.allocate(dmaSize, { below: DMA_LIMIT }))
  }

  /** 0xRRrr00ed, where RR.rr is the version. */
  get identification(): number {
    return this.#registers.read32(REGISTER.identification)
  }

  /** n! modulo 2^32, computed by the device. */
  factorial(n: number): number {
    this.#registers.write32(REGISTER.factorial, n)
    this.#registers.poll32(REGISTER.status, { mask: STATUS_COMPUTING, equals: 0, timeoutMicros: 1_000_000 })
    return this.#registers.read32(REGISTER.factorial)
  }

  /** Makes the device interrupt. `causes` are added to what `acknowledge` gives. */
  raise(causes: number): void {
    this.#registers.write32(REGISTER.interruptRaise, causes)
  }

  /** Ends an interrupt: gives its causes and clears them. */
  acknowledge(): number {
    const causes = this.#registers.read32(REGISTER.interruptStatus)
    this.#registers.write32(REGISTER.interruptAcknowledge, causes)
    return causes
  }

  /** Copies `length` bytes of `dma` into the device's memory. Resolves when the device reports that it is done. */
  async toDevice(offset: number, length: number): Promise<void> {
    await this.#transfer(this.#iova(offset), DEVICE_MEMORY, length, DMA_START)
  }

  /** Copies `length` bytes of the device's memory into `dma`. */
  async fromDevice(offset: number, length: number): Promise<void> {
    await this.#transfer(DEVICE_MEMORY, this.#iova(offset), length, DMA_START | DMA_FROM_DEVICE)
  }

  #iova(offset: number): bigint {
    return this.dma.iova + BigInt(offset)
  }

  async #transfer(source: bigint, target: bigint, length: number, command: number): Promise<void> {
    if (!(length > 0 && length <= DMA_MOST))
      throw new RangeError(`length must be 1 to ${DMA_MOST}, not ${length}`)
    const done = this.#interrupt(CAUSE_DMA)
    this.#registers.write64(REGISTER.dmaSource, source)
    this.#registers.write64(REGISTER.dmaTarget, target)
    this.#registers.write64(REGISTER.dmaLength, BigInt(length))
    this.#registers.write64(REGISTER.dmaCommand, BigInt(command | DMA_INTERRUPT))
    await done
  }

  /** Resolves at the interrupt that has this cause. */
  #interrupt(cause: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const listener = this.msi.listen(() => {
        if ((this.acknowledge() & cause) === 0) return
        clearTimeout(timer)
        listener.close()
        resolve()
      })
      const timer = setTimeout(() => {
        listener.close()
        reject(new Error(`no interrupt from ${this.#name} within ${DMA_TIMEOUT_MS} ms`))
      }, DMA_TIMEOUT_MS)
    })
  }
}
