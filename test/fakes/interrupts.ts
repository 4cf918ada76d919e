// The interrupts of a fake device: which eventfds it was given, what is masked, and what happens when one fires.
import { IRQ_ACTION, type IrqData } from '../../ts/device/backend.js'
import type { IrqInfo } from '../../ts/device/info.js'
import { EINVAL, ENOSPC, ENOTTY, VfioError } from '../../ts/errors.js'
import type { EventFd } from '../../ts/index.js'

const CALL = 'VFIO_DEVICE_SET_IRQS'
/** Of INTx, MSI and MSI-X, the last. */
const LAST_EXCLUSIVE = 2

export class FakeInterrupts {
  readonly infos: readonly IrqInfo[]
  /** Vectors that the host can spare. */
  spare = Infinity
  readonly #eventfds = new Map<number, (EventFd | null)[]>()
  readonly #masked = new Set<string>()
  readonly #pending = new Set<string>()

  constructor(infos: readonly IrqInfo[]) {
    this.infos = infos
  }

  info(index: number): IrqInfo {
    const info = this.infos.find((each) => each.index === index)
    if (info === undefined) throw new VfioError(EINVAL, 'VFIO_DEVICE_GET_IRQ_INFO')
    return info
  }

  /** Which indices are on. */
  get enabled(): number[] {
    return [...this.#eventfds.keys()]
  }

  isMasked(index: number, vector = 0): boolean {
    return this.#masked.has(`${String(index)}:${String(vector)}`)
  }

  /** The device raises an interrupt. One that is masked waits. */
  fire(index: number, vector = 0): void {
    const name = `${String(index)}:${String(vector)}`
    if (this.#masked.has(name)) {
      this.#pending.add(name)
      return
    }
    if (this.info(index).flags.automasked) this.#masked.add(name)
    this.#eventfds.get(index)?.[vector]?.signal()
  }

  set(action: number, index: number, start: number, count: number, data: IrqData): void {
    const { count: vectors } = this.info(index)
    if (start + count > vectors) throw new VfioError(EINVAL, CALL)
    if (action === IRQ_ACTION.trigger && data !== null && !(data instanceof Uint8Array)) {
      this.#assign(index, start, data)
      return
    }
    if (!this.#eventfds.has(index)) throw new VfioError(EINVAL, CALL)
    if (action !== IRQ_ACTION.trigger) this.#mask(action, index, start, count)
    else if (count === 0) this.off(index)
    else {
      for (let i = 0; i < count; i++) {
        if (data?.[i] !== 0) this.#eventfds.get(index)?.[start + i]?.signal()
      }
    }
  }

  off(index: number): void {
    this.#eventfds.delete(index)
    for (const set of [this.#masked, this.#pending])
      for (const name of set) if (name.startsWith(`${String(index)}:`)) set.delete(name)
  }

  #assign(index: number, start: number, eventfds: readonly (EventFd | null)[]): void {
    const other = this.enabled.find((each) => each !== index && each <= LAST_EXCLUSIVE)
    if (index <= LAST_EXCLUSIVE && other !== undefined) throw new VfioError(EINVAL, CALL)
    if (start + eventfds.length > this.spare) throw new VfioError(ENOSPC, CALL, { available: this.spare })
    const held = this.#eventfds.get(index) ?? []
    eventfds.forEach((eventfd, i) => (held[start + i] = eventfd))
    this.#eventfds.set(index, held)
  }

  #mask(action: number, index: number, start: number, count: number): void {
    if (!this.info(index).flags.maskable) throw new VfioError(ENOTTY, CALL)
    for (let vector = start; vector < start + count; vector++) {
      const name = `${String(index)}:${String(vector)}`
      if (action === IRQ_ACTION.mask) {
        this.#masked.add(name)
        continue
      }
      this.#masked.delete(name)
      if (this.#pending.delete(name)) this.fire(index, vector)
    }
  }
}
