// A driver of virtio 1 over PCI, as little of one as tests need: finds the registers by the capabilities, agrees on features, puts
// queues into memory, sends chains. It must not know any kind of device.
import { type Guest } from './guest.js'
import { type Msix, PciFunction } from './pci.js'
import { SLOT } from './qemu.js'
import { eventually } from './served.js'

const CAP_VENDOR = 0x09
const KIND = { common: 1, notify: 2, isr: 3, device: 4 } as const
type Kind = keyof typeof KIND

export const STATUS = { acknowledge: 1, driver: 2, driverOk: 4, featuresOk: 8, needsReset: 64 } as const

const QUEUE_SIZE = 16
/** Where queues are, a page for each of their parts, and behind them buffers. */
const QUEUES = 0x10_0000
const QUEUE_BYTES = 0x3000
const MESSAGES = 0x20_0000
export const BUFFERS = 0x30_0000

export interface ChainBuffer {
  address: number
  length: number
  /** Whether the device writes it. */
  write?: boolean
}

export class VirtioDriver {
  readonly guest: Guest
  readonly pci: PciFunction
  readonly #at: Readonly<Record<Kind, number>>
  readonly #step: number
  readonly #offered: number[] = []
  readonly msix: Msix

  private constructor(guest: Guest, pci: PciFunction, at: Record<Kind, number>, step: number, msix: Msix) {
    this.guest = guest
    this.pci = pci
    this.#at = at
    this.#step = step
    this.msix = msix
  }

  static async find(guest: Guest): Promise<VirtioDriver> {
    const pci = new PciFunction(guest, SLOT)
    const bars: Record<number, number> = {}
    for (let bar = 0; bar < 6; bar++) if ((await pci.barSize(bar)) > 0) bars[bar] = await pci.place(bar)
    await pci.enable()
    const at = { common: 0, notify: 0, isr: 0, device: 0 }
    let step = 0
    for (const capability of await pci.capabilities(CAP_VENDOR)) {
      const kind = await pci.config8(capability + 3)
      const name = (Object.keys(KIND) as Kind[]).find((each) => KIND[each] === kind)
      if (name === undefined) continue
      const bar = bars[await pci.config8(capability + 4)] ?? 0
      at[name] = bar + (await pci.config32(capability + 8))
      if (name === 'notify') step = await pci.config32(capability + 16)
    }
    return new VirtioDriver(guest, pci, at, step, await pci.msix(bars))
  }

  get status(): Promise<number> {
    return this.guest.read8(this.#at.common + 20)
  }

  async setStatus(status: number): Promise<void> {
    await this.guest.write8(this.#at.common + 20, status)
  }

  async features(): Promise<bigint> {
    const parts: bigint[] = []
    for (const select of [0, 1]) {
      await this.guest.write32(this.#at.common, select)
      parts.push(BigInt(await this.guest.read32(this.#at.common + 4)))
    }
    return (parts[0] ?? 0n) | ((parts[1] ?? 0n) << 32n)
  }

  async accept(features: bigint): Promise<void> {
    for (const select of [0, 1]) {
      await this.guest.write32(this.#at.common + 8, select)
      await this.guest.write32(this.#at.common + 12, Number((features >> BigInt(32 * select)) & 0xffff_ffffn))
    }
  }

  /** Accepts all that is offered, and starts with so many queues, a vector for each, or the pin. */
  async start(queues: number, { msix = true }: { msix?: boolean } = {}): Promise<void> {
    await this.setStatus(0)
    await this.setStatus(STATUS.acknowledge | STATUS.driver)
    await this.accept(await this.features())
    await this.setStatus(STATUS.acknowledge | STATUS.driver | STATUS.featuresOk)
    const { common } = this.#at
    for (let queue = 0; queue < queues; queue++) {
      this.#offered[queue] = 0
      await this.guest.fill(QUEUES + queue * QUEUE_BYTES, QUEUE_BYTES, 0)
      await this.guest.write16(common + 22, queue)
      await this.guest.write16(common + 24, QUEUE_SIZE)
      if (msix) {
        await this.msix.route(queue, MESSAGES + 4 * queue, 1)
        await this.guest.write16(common + 26, queue)
      }
      for (const [index, offset] of [32, 40, 48].entries()) {
        await this.guest.write32(common + offset, QUEUES + queue * QUEUE_BYTES + index * 0x1000)
        await this.guest.write32(common + offset + 4, 0)
      }
      await this.guest.write16(common + 28, 1)
    }
    if (msix) await this.msix.enable()
    await this.setStatus(STATUS.acknowledge | STATUS.driver | STATUS.featuresOk | STATUS.driverOk)
  }

  /** Makes a chain available, beginning with descriptor 0, and rings the bell. */
  async offer(queue: number, buffers: readonly ChainBuffer[]): Promise<void> {
    const base = QUEUES + queue * QUEUE_BYTES
    for (const [index, { address, length, write = false }] of buffers.entries()) {
      const more = index + 1 < buffers.length
      await this.guest.write64(base + 16 * index, BigInt(address))
      await this.guest.write32(base + 16 * index + 8, length)
      await this.guest.write32(
        base + 16 * index + 12,
        (more ? 1 : 0) | (write ? 2 : 0) | ((more ? index + 1 : 0) << 16),
      )
    }
    const offered = this.#offered[queue] ?? 0
    await this.guest.write16(base + 0x1000 + 4 + 2 * (offered % QUEUE_SIZE), 0)
    this.#offered[queue] = offered + 1
    await this.guest.write16(base + 0x1002, offered + 1)
    await this.ring(queue)
  }

  async ring(queue: number): Promise<void> {
    await this.guest.write16(this.#at.notify + queue * this.#step, queue)
  }

  /** Waits until all that was offered is back: how many bytes the device wrote last. */
  async back(queue: number): Promise<number> {
    const used = QUEUES + queue * QUEUE_BYTES + 0x2000
    const offered = this.#offered[queue] ?? 0
    if (!(await eventually(async () => (await this.guest.read16(used + 2)) === offered)))
      throw new Error(`chain ${String(offered)} of queue ${String(queue)} did not come back`)
    return this.guest.read32(used + 4 + 8 * ((offered - 1) % QUEUE_SIZE) + 4)
  }

  /** Whether a queue's vector has been raised since the last time. */
  async interrupted(queue: number): Promise<boolean> {
    const came = await eventually(async () => (await this.guest.read32(MESSAGES + 4 * queue)) === 1)
    await this.guest.write32(MESSAGES + 4 * queue, 0)
    return came
  }

  isr(): Promise<number> {
    return this.guest.read8(this.#at.isr)
  }

  config32(offset: number): Promise<number> {
    return this.guest.read32(this.#at.device + offset)
  }

  config16(offset: number): Promise<number> {
    return this.guest.read16(this.#at.device + offset)
  }
}
