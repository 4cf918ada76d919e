// The clock that KVM gives its guests (struct kvm_clock_data). Pure.
import { MAX_U64, bigint, object } from '../../validate.js'
import { viewOf } from './fields.js'

/** kvmclock as the guest sees it (KVM_GET_CLOCK). */
export interface KvmClock {
  /** Nanoseconds since the machine was made, or as it was set. */
  nanoseconds: bigint
  /** It is the same on all vCPUs, at any moment (KVM_CLOCK_TSC_STABLE). */
  stable: boolean
  /** The host's time of day when it was read, in nanoseconds since 1970; null before Linux 5.16 and where TSCs differ. */
  realtime: bigint | null
  /** The host's timestamp counter when it was read; null like `realtime`. */
  hostTsc: bigint | null
}

/** How the clock is set (KVM_SET_CLOCK). */
export interface KvmClockSetting {
  nanoseconds: bigint
  /**
   * The time of day, in nanoseconds since 1970, when the clock showed `nanoseconds`: what has passed since is added, as for a
   * guest that was moved. Null or nothing: none is added. Linux 5.16.
   */
  realtime?: bigint | null
}

const SIZE = 48
const FLAGS_AT = 8
const REALTIME_AT = 16
const HOST_TSC_AT = 24
const STABLE = 2
const REALTIME = 4
const HOST_TSC = 8

/** @internal */
export function decodeClock(bytes: Uint8Array): KvmClock {
  const view = viewOf(bytes)
  const flags = view.getUint32(FLAGS_AT, true)
  return {
    nanoseconds: view.getBigUint64(0, true),
    stable: (flags & STABLE) !== 0,
    realtime: (flags & REALTIME) !== 0 ? view.getBigUint64(REALTIME_AT, true) : null,
    hostTsc: (flags & HOST_TSC) !== 0 ? view.getBigUint64(HOST_TSC_AT, true) : null,
  }
}

/** @internal */
export function encodeClock(setting: KvmClockSetting): Uint8Array {
  const { nanoseconds, realtime } = object(setting, 'clock')
  const bytes = new Uint8Array(SIZE)
  const view = viewOf(bytes)
  view.setBigUint64(0, bigint(nanoseconds, 'clock.nanoseconds', 0n, MAX_U64), true)
  if (realtime !== undefined && realtime !== null) {
    view.setUint32(FLAGS_AT, REALTIME, true)
    view.setBigUint64(REALTIME_AT, bigint(realtime, 'clock.realtime', 0n, MAX_U64), true)
  }
  return bytes
}
