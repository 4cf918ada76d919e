// What native/kvm gives to JavaScript: machines, their memory, wires and vCPUs. A part of NativeAddon.
import type { NativeHandle } from './handle.js'

/** The functions of native/kvm. */
export interface KvmFunctions {
  // -- /dev/kvm --
  kvmOpen(path: string): NativeHandle
  kvmFromFd(fd: number): NativeHandle
  kvmGetApiVersion(kvm: NativeHandle): number
  /** Of /dev/kvm or of a machine. */
  kvmCheckExtension(kvm: NativeHandle, extension: number): number
  kvmGetSupportedCpuid(kvm: NativeHandle): Uint8Array
  kvmCreateVm(kvm: NativeHandle, irqchip: string): NativeHandle
  /** The bytes of the statistics file of a machine or a vCPU. */
  kvmStatistics(handle: NativeHandle): Uint8Array

  // -- machines --
  vmFromFd(fd: number, irqchip: string, firstSlot: number): NativeHandle
  vmIrqchip(vm: NativeHandle): 'full' | 'split' | 'none'
  vmSetTssAddress(vm: NativeHandle, address: bigint): void
  vmSetIdentityMapAddress(vm: NativeHandle, address: bigint): void
  vmCreateIrqchip(vm: NativeHandle): void
  vmCreatePit(vm: NativeHandle): void

  // -- memory slots --
  /** The slot's number. `memory` is memory or a region's registers. */
  vmAddMemory(
    vm: NativeHandle,
    guestAddress: bigint,
    memory: NativeHandle,
    offset: number,
    size: number,
    flags: number,
  ): number
  vmChangeMemory(vm: NativeHandle, slot: number, flags: number): void
  vmRemoveMemory(vm: NativeHandle, slot: number): void
  vmDirtyLog(vm: NativeHandle, slot: number): Uint8Array

  // -- wires --
  /** Targets are flat pairs: address (bigint) and data, or chip and pin. */
  vmTakeRoute(vm: NativeHandle, gsi: number, targets: readonly (bigint | number)[]): void
  vmFreeRoute(vm: NativeHandle, gsi: number): void
  /**
   * All by one write of the table, or none: [null, targets] makes a route, [gsi, targets] changes one, [gsi, null] gives it
   * back. The GSIs, in order.
   */
  vmChangeRoutes(
    vm: NativeHandle,
    changes: readonly (readonly [gsi: number | null, targets: readonly (bigint | number)[] | null])[],
  ): number[]
  vmRouting(vm: NativeHandle): { limit: number; entries: number }
  vmSignalMsi(vm: NativeHandle, address: bigint, data: number): boolean
  vmSetIrqLine(vm: NativeHandle, gsi: number, level: boolean): void
  /** A handle that takes the wire away when it is released. */
  irqfdCreate(
    vm: NativeHandle,
    eventfd: NativeHandle,
    gsi: number,
    resample: NativeHandle | null,
  ): NativeHandle
  /** The same. */
  ioeventfdCreate(
    vm: NativeHandle,
    eventfd: NativeHandle,
    address: bigint,
    length: number,
    port: boolean,
    match: bigint | null,
  ): NativeHandle

  // -- the KVM-VFIO device --
  vmAddVfioFile(vm: NativeHandle, fd: number): void
  vmRemoveVfioFile(vm: NativeHandle, fd: number): void

  // -- vCPUs --
  vcpuCreate(vm: NativeHandle, id: number): NativeHandle
  vcpuFromFd(vm: NativeHandle, fd: number, id: number): NativeHandle
  vcpuId(vcpu: NativeHandle): number
  /** struct kvm_run and the page of port data. */
  vcpuWindow(vcpu: NativeHandle): ArrayBuffer
  /** Runs the guest; the exit's reason, 2^32 - 1 when a kick ended it, nothing when the environment is ending. */
  vcpuRunner(vcpu: NativeHandle): () => number | undefined
  vcpuGetRegs(vcpu: NativeHandle): Uint8Array
  vcpuSetRegs(vcpu: NativeHandle, bytes: Uint8Array): void
  vcpuGetSregs(vcpu: NativeHandle): Uint8Array
  vcpuSetSregs(vcpu: NativeHandle, bytes: Uint8Array): void
  vcpuGetMpState(vcpu: NativeHandle): number
  vcpuSetMpState(vcpu: NativeHandle, state: number): void
  vcpuGetCpuid(vcpu: NativeHandle): Uint8Array
  vcpuSetCpuid(vcpu: NativeHandle, entries: Uint8Array): void
  vcpuKick(vcpu: NativeHandle): void
  vcpuHold(vcpu: NativeHandle, held: boolean): void
  vcpuHeld(vcpu: NativeHandle): boolean
}
