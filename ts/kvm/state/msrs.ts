// Model-specific registers of a vCPU, of the host's offer, and what a machine's guest may do with its own. KVM takes lists up
// to the first register that it refuses: here that register is named.
import { EINVAL, VfioError } from '../../errors.js'
import { addon, type NativeHandle } from '../../native/index.js'
import { array, bigint, integer, MAX_U64, object, oneOf } from '../../validate.js'
import {
  type MsrEntry,
  type MsrFilterRange,
  decodeMsrs,
  encodeMsrs,
  flatMsrRanges,
} from '../../uapi/kvm/msrs.js'

/** As many as KVM takes in one call: it refuses 256. */
const MOST = 255

function refused(call: string, index: number, remedy: string): VfioError {
  return new VfioError(EINVAL, call, { subject: `MSR 0x${index.toString(16)}`, remedy })
}

function indicesOf(indices: readonly number[]): MsrEntry[] {
  return array(indices, 'indices').map((index, i) => ({
    index: integer(index, `indices[${String(i)}]`, 0, 0xffff_ffff),
    value: 0n,
  }))
}

function* lists(entries: readonly MsrEntry[]): Generator<readonly MsrEntry[]> {
  for (let at = 0; at < entries.length; at += MOST) yield entries.slice(at, at + MOST)
}

function readAll(
  indices: readonly number[],
  read: (bytes: Uint8Array) => Uint8Array,
  remedy: string,
): bigint[] {
  const values: bigint[] = []
  for (const list of lists(indicesOf(indices))) {
    const taken = decodeMsrs(read(encodeMsrs(list)))
    const next = list[taken.length]
    if (next !== undefined) throw refused('KVM_GET_MSRS', next.index, remedy)
    values.push(...taken.map(({ value }) => value))
  }
  return values
}

/** KVM_GET_MSRS on /dev/kvm. @internal */
export function featureMsrs(kvm: NativeHandle, indices: readonly number[]): bigint[] {
  return readAll(
    indices,
    (bytes) => addon().kvmGetMsrs(kvm, bytes),
    'It is no feature register of this host: see kvm.featureMsrIndices().',
  )
}

/** The model-specific registers of a vCPU. Its guest must stand still: EBUSY otherwise. */
export class VcpuMsrs {
  readonly #native: () => NativeHandle

  /** @internal */
  constructor(native: () => NativeHandle) {
    this.#native = native
  }

  /**
   * The values of registers, in the order asked for (KVM_GET_MSRS).
   * @throws VfioError EINVAL that names the first register which this vCPU does not have
   */
  get(indices: readonly number[]): bigint[] {
    return readAll(
      indices,
      (bytes) => addon().vcpuGetMsrs(this.#native(), bytes),
      'The vCPU has no such register: see kvm.msrIndices(), and set its CPUID first.',
    )
  }

  /**
   * Sets registers in order (KVM_SET_MSRS). Those before one that is refused stay set.
   * @throws VfioError EINVAL that names the first register which is not there or does not take the value
   */
  set(entries: readonly MsrEntry[]): void {
    array(entries, 'entries')
    encodeMsrs(entries)
    for (const list of lists(entries)) {
      const next = list[addon().vcpuSetMsrs(this.#native(), encodeMsrs(list))]
      if (next !== undefined) {
        throw refused(
          'KVM_SET_MSRS',
          next.index,
          'The vCPU has no such register, or the value has bits that its CPUID does not offer: set CPUID first.',
        )
      }
    }
  }

  /** One register's value. */
  read(index: number): bigint {
    const [value = 0n] = this.get([index])
    return value
  }

  /** Sets one register. @param value 0 to 2^64 - 1 */
  write(index: number, value: bigint): void {
    this.set([{ index: integer(index, 'index', 0, 0xffff_ffff), value: bigint(value, 'value', 0n, MAX_U64) }])
  }
}

/** What a guest may do with model-specific registers, before its own KVM decides. */
export interface MsrFilter {
  /** What holds for registers outside of all ranges. */
  default: 'allow' | 'deny'
  /** At most 16. Those of the local APIC in x2APIC mode (0x800 to 0x8ff) are always allowed. */
  ranges: readonly MsrFilterRange[]
}

const DENY = 1

/** KVM_X86_SET_MSR_FILTER. @internal */
export function setMsrFilter(vm: NativeHandle, filter: MsrFilter): void {
  object(filter, 'filter')
  const deny = oneOf(filter.default, 'filter.default', ['allow', 'deny']) === 'deny'
  const ranges = flatMsrRanges(filter.ranges)
  if (deny && ranges.length === 0) {
    throw new RangeError('filter.ranges must not be empty where the default is to deny')
  }
  addon().vmSetMsrFilter(vm, deny ? DENY : 0, ranges)
}
