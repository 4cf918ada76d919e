// VmState: what a machine consists of beside its memory and its vCPUs: the clock, the timer and the chips that the kernel
// keeps for it.
import { addon, type NativeHandle } from '../../native/index.js'
import { attempt } from '../../errors.js'
import { boolean, integer } from '../../validate.js'
import { type KvmClock, type KvmClockSetting, decodeClock, encodeClock } from '../../uapi/kvm/clock.js'
import {
  type IoapicState,
  type PicState,
  decodeIoapic,
  decodePic,
  encodeIoapic,
  encodePic,
} from '../../uapi/kvm/irqchips.js'
import { type PitChannel, type PitState, decodePit, encodePit } from '../../uapi/kvm/pit.js'

/** KVM_IRQCHIP_* */
const CHIP = { picMaster: 0, picSlave: 1, ioapic: 2 } as const

/** State of a machine, part by part. Assigning changes the members that are named. */
export class VmState {
  readonly #native: () => NativeHandle

  /** @internal */
  constructor(native: () => NativeHandle) {
    this.#native = native
  }

  /** kvmclock (KVM_GET_CLOCK). */
  get clock(): KvmClock {
    return decodeClock(addon().vmGetClock(this.#native()))
  }

  /** Sets the clock (KVM_SET_CLOCK). @throws VfioError EINVAL for `realtime` before Linux 5.16 */
  set clock(setting: KvmClockSetting) {
    addon().vmSetClock(this.#native(), encodeClock(setting))
  }

  /** The timer (KVM_GET_PIT2). @throws VfioError ENXIO without `pit: true` */
  get pit(): PitState {
    return decodePit(addon().vmGetPit(this.#native()))
  }

  set pit(changes: Partial<Omit<PitState, 'channels'>> & { channels?: readonly Partial<PitChannel>[] }) {
    const bytes = addon().vmGetPit(this.#native())
    encodePit(bytes, changes)
    addon().vmSetPit(this.#native(), bytes)
  }

  /**
   * Whether ticks that the guest was too late for reach it later (KVM_REINJECT_CONTROL). At first they do: a guest that counts
   * them keeps its time, and one that was stopped for long gets many at once.
   */
  setPitReinjection(on: boolean): void {
    addon().vmSetPitReinjection(this.#native(), boolean(on, 'on'))
  }

  /** The first 8259, with pins 0 to 7 (KVM_GET_IRQCHIP). @throws VfioError ENXIO unless `irqchip` is `full` */
  get picMaster(): PicState {
    return decodePic(addon().vmGetIrqchip(this.#native(), CHIP.picMaster))
  }

  set picMaster(changes: Partial<PicState>) {
    this.#change(CHIP.picMaster, encodePic, changes)
  }

  /** The second 8259, with pins 8 to 15. */
  get picSlave(): PicState {
    return decodePic(addon().vmGetIrqchip(this.#native(), CHIP.picSlave))
  }

  set picSlave(changes: Partial<PicState>) {
    this.#change(CHIP.picSlave, encodePic, changes)
  }

  /** The IOAPIC, with 24 pins. */
  get ioapic(): IoapicState {
    return decodeIoapic(addon().vmGetIrqchip(this.#native(), CHIP.ioapic))
  }

  set ioapic(changes: Partial<IoapicState>) {
    this.#change(CHIP.ioapic, encodeIoapic, changes)
  }

  /** The frequency in kHz with which timestamp counters of new vCPUs begin (KVM_GET_TSC_KHZ of a machine, Linux 5.19). */
  get tscKhz(): number {
    return addon().vmGetTscKhz(this.#native())
  }

  /** @throws VfioError EINVAL, ENOTTY where KVM_CAP_VM_TSC_CONTROL is 0 or vCPUs are there */
  set tscKhz(khz: number) {
    const subject = `${String(integer(khz, 'tscKhz', 1, 0x7fff_ffff))} kHz`
    attempt({ subject }, () => {
      addon().vmSetTscKhz(this.#native(), khz)
    })
  }

  #change<Changes>(
    chip: number,
    encode: (bytes: Uint8Array, changes: Changes) => void,
    changes: Changes,
  ): void {
    const bytes = addon().vmGetIrqchip(this.#native(), chip)
    encode(bytes, changes)
    addon().vmSetIrqchip(this.#native(), chip, bytes)
  }
}
