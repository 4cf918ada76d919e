// Zones whose writes wait in the kernel: the guest goes on, and its VMM reads them when it comes to it.
import { EEXIST, VfioError, type VfioErrorContext, attempt } from '../errors.js'
import { addon, type NativeHandle } from '../native/index.js'
import { bigint, integer, object } from '../validate.js'
import { needCapability } from './state/capability.js'

/** Where writes wait: addresses without memory, or ports. */
export type CoalescedZoneOptions = ({ mmio: bigint } | { pio: number }) & {
  /** Bytes, 1 to 2^32 - 1; ports end at 0xffff. */
  size: number
}

/** A zone (KVM_REGISTER_COALESCED_MMIO). */
export interface CoalescedZone {
  readonly closed: boolean
  /** Its writes cause exits again. What waits stays in the ring. Idempotent. */
  close(): void
}

/** The machine, as far as zones need it. @internal */
export interface ZonedVm {
  readonly native: NativeHandle
  readonly closed: boolean
}

interface Place {
  readonly address: bigint
  readonly size: number
  readonly port: boolean
}

/** Zones that are there. KVM takes every zone away that holds the one to be taken away, so none may overlap another. */
const zones = new WeakMap<ZonedVm, Set<Place>>()

function overlap(a: Place, b: Place): boolean {
  return a.port === b.port && a.address < b.address + BigInt(b.size) && b.address < a.address + BigInt(a.size)
}

function placeOf(options: CoalescedZoneOptions): Place {
  const { mmio, pio, size } = object(options, 'options') as { mmio?: bigint; pio?: number; size: number }
  if ((mmio === undefined) === (pio === undefined)) throw new TypeError('give one of mmio and pio')
  if (pio !== undefined) {
    integer(pio, 'pio', 0, 0xffff)
    integer(size, 'size', 1, 0x1_0000 - pio)
    return { address: BigInt(pio), size, port: true }
  }
  integer(size, 'size', 1, 0xffff_ffff)
  return { address: bigint(mmio, 'mmio', 0n, (1n << 64n) - BigInt(size)), size, port: false }
}

/** @internal */
export function makeCoalescedZone(vm: ZonedVm, options: CoalescedZoneOptions): CoalescedZone {
  const place = placeOf(options)
  const { address, size, port } = place
  needCapability(vm.native, port ? 'COALESCED_PIO' : 'COALESCED_MMIO', 'KVM_REGISTER_COALESCED_MMIO')
  const subject = `${port ? 'port' : 'guest address'} 0x${address.toString(16)}, ${String(size)} bytes`
  const context = (error: { code: string }): VfioErrorContext =>
    error.code === 'ENOSPC'
      ? { subject, remedy: "KVM's bus of this kind is full (1000 devices): close some zones or doorbells." }
      : { subject }
  const others = zones.get(vm) ?? new Set()
  if ([...others].some((other) => overlap(other, place))) {
    throw new VfioError(EEXIST, 'KVM_REGISTER_COALESCED_MMIO', {
      subject,
      remedy: 'It overlaps a zone that is there: close that one first, or make one of both.',
    })
  }
  attempt(context, () => {
    addon().vmAddCoalesced(vm.native, address, size, port)
  })
  zones.set(vm, others.add(place))
  let open = true
  return {
    get closed() {
      return !open || vm.closed
    },
    close() {
      if (!open) return
      // With its machine it is gone.
      if (!vm.closed) {
        attempt({ subject }, () => {
          addon().vmRemoveCoalesced(vm.native, address, size, port)
        })
      }
      open = false
      others.delete(place)
    },
  }
}
