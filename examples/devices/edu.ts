// A twin of QEMU's edu device (its docs/specs/edu.rst) in TypeScript: identification, an inverter, factorials, interrupts, and a
// DMA engine of 28 bits over 4 KiB of memory of its own. Drivers of the one work with the other.
import { UserDevice } from 'node-vfio/vfio-user'

const VENDOR = 0x1234
const DEVICE = 0x11e8
const CLASS = 0x00ff00
const REVISION = 0x10

const BAR_BYTES = 1 << 20
const IDENTIFICATION = 0x0100_00ed

const REGISTER = {
  identification: 0x00,
  liveness: 0x04,
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

/** In the status register: the driver wants an interrupt for each factorial. */
const STATUS_INTERRUPT = 0x80
const CAUSE_FACTORIAL = 0x001
const CAUSE_DMA = 0x100

const DMA_START = 1
const DMA_FROM_DEVICE = 2
const DMA_INTERRUPT = 4

/** What the DMA engine can address, and where it finds the device's own memory. */
const DMA_MASK = (1n << 28n) - 1n
const MEMORY_AT = 0x4_0000n
const MEMORY_BYTES = 4096

const ALL_ONES_64 = (1n << 64n) - 1n

/** n! modulo 2^32. From 34 on it is 0, so that no number takes long. */
function factorial(n: number): number {
  let product = 1
  for (let i = 2; i <= n && product !== 0; i++) product = Math.imul(product, i) >>> 0
  return product
}

type DmaRegister = 'source' | 'target' | 'length' | 'command'
const DMA_REGISTERS: Record<number, DmaRegister> = {
  [REGISTER.dmaSource]: 'source',
  [REGISTER.dmaTarget]: 'target',
  [REGISTER.dmaLength]: 'length',
  [REGISTER.dmaCommand]: 'command',
}

export class Edu {
  /** What a server is given. */
  readonly device: UserDevice
  readonly #memory = new Uint8Array(MEMORY_BYTES)
  #inverted = 0
  #factorial = 0
  #status = 0
  #causes = 0
  #dma: Record<DmaRegister, bigint> = { source: 0n, target: 0n, length: 0n, command: 0n }

  constructor({ name = 'edu' }: { name?: string } = {}) {
    this.device = new UserDevice({
      name,
      pci: { vendorId: VENDOR, deviceId: DEVICE, classCode: CLASS, revision: REVISION },
      regions: {
        bar0: {
          size: BAR_BYTES,
          // Narrower ones read as zero, in the one and in the other.
          read: (offset, width) => (width === 4 ? this.#read(offset) : 0),
          write: (offset, width, value) => (width === 4 ? this.#write(offset, value) : undefined),
          // Only the registers of the DMA engine are that wide.
          read64: (offset) => this.#dmaRegister(offset) ?? ALL_ONES_64,
          write64: (offset, value) => this.#setDma(offset, value),
        },
      },
      irqs: { intx: true, msi: 1 },
      onReset: () => this.#reset(),
    })
  }

  #reset(): void {
    this.#inverted = this.#factorial = this.#status = this.#causes = 0
    this.#dma = { source: 0n, target: 0n, length: 0n, command: 0n }
    this.#memory.fill(0)
    this.device.lower('intx')
  }

  #read(offset: number): number {
    switch (offset) {
      case REGISTER.identification:
        return IDENTIFICATION
      case REGISTER.liveness:
        return this.#inverted
      case REGISTER.factorial:
        return this.#factorial
      case REGISTER.status:
        return this.#status
      case REGISTER.interruptStatus:
        return this.#causes
      default:
        return Number((this.#dmaRegister(offset) ?? ALL_ONES_64) & 0xffff_ffffn)
    }
  }

  #write(offset: number, value: number): void {
    switch (offset) {
      case REGISTER.liveness:
        this.#inverted = ~value >>> 0
        break
      case REGISTER.factorial:
        this.#factorial = factorial(value)
        if ((this.#status & STATUS_INTERRUPT) !== 0) this.#raise(CAUSE_FACTORIAL)
        break
      case REGISTER.status:
        this.#status = value & STATUS_INTERRUPT
        break
      case REGISTER.interruptRaise:
        this.#raise(value)
        break
      case REGISTER.interruptAcknowledge:
        this.#causes = (this.#causes & ~value) >>> 0
        if (this.#causes === 0) this.device.lower('intx')
        break
      default:
        this.#setDma(offset, BigInt(value))
    }
  }

  /** By MSI where the driver has it on, else on the line, which stays up until all causes are acknowledged. */
  #raise(causes: number): void {
    this.#causes = (this.#causes | causes) >>> 0
    if (this.#causes === 0) return
    if (this.device.interruptMode === 'msi') this.device.raise('msi')
    else this.device.raise('intx')
  }

  #dmaRegister(offset: number): bigint | undefined {
    const register = DMA_REGISTERS[offset]
    return register && this.#dma[register]
  }

  #setDma(offset: number, value: bigint): void {
    const register = DMA_REGISTERS[offset]
    // A transfer that runs keeps its registers.
    if (register === undefined || (this.#dma.command & BigInt(DMA_START)) !== 0n) return
    this.#dma[register] = value
    if (register === 'command' && (value & BigInt(DMA_START)) !== 0n) void this.#transfer()
  }

  /** A transfer that leaves the device's memory moves nothing, and ends as others do. */
  async #transfer(): Promise<void> {
    const dma = this.#dma
    const command = Number(dma.command & 7n)
    const fromDevice = (command & DMA_FROM_DEVICE) !== 0
    const [inside, outside] = fromDevice ? [dma.source, dma.target] : [dma.target, dma.source]
    const at = inside - MEMORY_AT
    try {
      if (at >= 0n && at + dma.length <= BigInt(MEMORY_BYTES) && dma.length > 0n) {
        const bytes = this.#memory.subarray(Number(at), Number(at + dma.length))
        if (fromDevice) await this.device.dma.write(outside & DMA_MASK, bytes)
        else bytes.set(await this.device.dma.read(outside & DMA_MASK, bytes.length))
      }
    } catch {
      // There is no memory of the guest's there: on a bus, nobody would answer.
    }
    // A reset meanwhile gave the device new registers.
    if (dma !== this.#dma) return
    dma.command &= ~BigInt(DMA_START)
    if ((command & DMA_INTERRUPT) !== 0) this.#raise(CAUSE_DMA)
  }
}
