// A vCPU's timestamp counter: its frequency and its distance from the host's.
import { attempt } from '../../errors.js'
import { addon, type NativeHandle } from '../../native/index.js'
import { MAX_U64, bigint, integer } from '../../validate.js'

/** The timestamp counter of a vCPU. */
export class VcpuTsc {
  readonly #native: () => NativeHandle

  /** @internal */
  constructor(native: () => NativeHandle) {
    this.#native = native
  }

  /**
   * Its frequency in kHz (KVM_GET_TSC_KHZ), at first the host's. Setting another needs a processor that scales it
   * (KVM_CAP_TSC_CONTROL).
   */
  get khz(): number {
    return addon().vcpuGetTscKhz(this.#native())
  }

  /** @throws VfioError EINVAL, ENOTTY for a frequency that this host cannot make */
  set khz(khz: number) {
    const subject = `${String(integer(khz, 'khz', 1, 0x7fff_ffff))} kHz`
    attempt({ subject }, () => {
      addon().vcpuSetTscKhz(this.#native(), khz)
    })
  }

  /**
   * What is added to the host's counter, modulo 2^64 (KVM_VCPU_TSC_OFFSET, Linux 5.16). Equal offsets keep the counters of
   * vCPUs equal: set it on all of them.
   */
  get offset(): bigint {
    return addon().vcpuGetTscOffset(this.#native())
  }

  /** @param offset 0 to 2^64 - 1; a negative distance is its two's complement */
  set offset(offset: bigint) {
    addon().vcpuSetTscOffset(this.#native(), bigint(offset, 'offset', 0n, MAX_U64))
  }
}
