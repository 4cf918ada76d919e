// Zones whose writes wait in the kernel: the guest goes on, and its VMM reads them when it comes to it.
import { type VfioErrorContext, attempt } from '../errors.js'
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

function placeOf(options: CoalescedZoneOptions): { address: bigint; port: boolean } {
  const { mmio, pio, size } = object(options, 'options') as { mmio?: bigint; pio?: number; size: number }
  if ((mmio === undefined) === (pio === undefined)) throw new TypeError('give one of mmio and pio')
  if (pio !== undefined) {
    integer(pio, 'pio', 0, 0xffff)
    integer(size, 'size', 1, 0x1_0000 - pio)
    return { address: BigInt(pio), port: true }
  }
  integer(size, 'size', 1, 0xffff_ffff)
  return { address: bigint(mmio, 'mmio', 0n, (1n << 64n) - BigInt(size)), port: false }
}

/** @internal */
export function makeCoalescedZone(vm: ZonedVm, options: CoalescedZoneOptions): CoalescedZone {
  const { address, port } = placeOf(options)
  const { size } = options
  needCapability(vm.native, port ? 'COALESCED_PIO' : 'COALESCED_MMIO', 'KVM_REGISTER_COALESCED_MMIO')
  const subject = `${port ? 'port' : 'guest address'} 0x${address.toString(16)}, ${String(size)} bytes`
  const context = (error: { code: string }): VfioErrorContext =>
    error.code === 'ENOSPC'
      ? { subject, remedy: "KVM's bus of this kind is full (1000 devices): close some zones or doorbells." }
      : { subject }
  attempt(context, () => {
    addon().vmAddCoalesced(vm.native, address, size, port)
  })
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
    },
  }
}
