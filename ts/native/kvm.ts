// What native/kvm gives to JavaScript: machines, their memory, wires and vCPUs. A part of NativeAddon.
import type { NativeHandle } from './handle.js'

/** The functions of native/kvm. */
export interface KvmFunctions {
  // -- /dev/kvm --
  kvmOpen(path: string): NativeHandle
  kvmFromFd(fd: number): NativeHandle
  kvmGetApiVersion(kvm: NativeHandle): number
  /** Of /dev/kvm, of a machine, or of a vCPU's machine. */
  kvmCheckExtension(kvm: NativeHandle, extension: number): number
  kvmGetSupportedCpuid(kvm: NativeHandle): Uint8Array
  kvmCreateVm(kvm: NativeHandle, irqchip: string): NativeHandle
  /** Numbers of 32 bits. */
  kvmGetMsrIndexList(kvm: NativeHandle): Uint8Array
  kvmGetMsrFeatureIndexList(kvm: NativeHandle): Uint8Array
  /** Of feature registers: the entries with their values, up to the first that is refused. */
  kvmGetMsrs(kvm: NativeHandle, entries: Uint8Array): Uint8Array
  /** Of a machine or a vCPU. */
  kvmEnableCap(handle: NativeHandle, capability: number, args: readonly bigint[]): void
  /** The bytes of the statistics file of a machine or a vCPU. */
  kvmStatistics(handle: NativeHandle): Uint8Array

  // -- machines --
  vmFromFd(fd: number, irqchip: string, firstSlot: number): NativeHandle
  vmIrqchip(vm: NativeHandle): 'full' | 'split' | 'none'
  vmSetTssAddress(vm: NativeHandle, address: bigint): void
  vmSetIdentityMapAddress(vm: NativeHandle, address: bigint): void
  vmCreateIrqchip(vm: NativeHandle): void
  vmCreatePit(vm: NativeHandle): void

  /** Flags, base and bitmap of each range, flat. */
  vmSetMsrFilter(vm: NativeHandle, flags: number, ranges: readonly (number | Uint8Array)[]): void

  // -- a machine's state --
  vmGetClock(vm: NativeHandle): Uint8Array
  vmSetClock(vm: NativeHandle, bytes: Uint8Array): void
  vmGetPit(vm: NativeHandle): Uint8Array
  vmSetPit(vm: NativeHandle, bytes: Uint8Array): void
  vmSetPitReinjection(vm: NativeHandle, on: boolean): void
  /** 512 bytes of the chip of that number. */
  vmGetIrqchip(vm: NativeHandle, chip: number): Uint8Array
  vmSetIrqchip(vm: NativeHandle, chip: number, bytes: Uint8Array): void
  vmGetTscKhz(vm: NativeHandle): number
  vmSetTscKhz(vm: NativeHandle, khz: number): void

  /** How messages name APICs: what vmSetApicIds was told last, 0 at first. */
  vmApicIds(vm: NativeHandle): number
  vmSetApicIds(vm: NativeHandle, mark: number): void

  // -- memory slots --
  /** The slot's number. `memory` is memory or a region's registers. */
  vmAddMemory(
    vm: NativeHandle,
    guestAddress: bigint,
    memory: NativeHandle,
    offset: number,
    size: number,
    flags: number,
    guestMemfd: NativeHandle | null,
    guestMemfdOffset: number,
  ): number
  vmChangeMemory(vm: NativeHandle, slot: number, flags: number): void
  vmRemoveMemory(vm: NativeHandle, slot: number): void
  vmDirtyLog(vm: NativeHandle, slot: number): Uint8Array
  /** The entries of each vCPU's dirty ring that nobody has taken. @throws TypeError for a vCPU of another machine */
  vmHarvestDirty(vm: NativeHandle, vcpus: readonly NativeHandle[]): Uint8Array[]
  vmResetDirtyRings(vm: NativeHandle): number
  vmAddCoalesced(vm: NativeHandle, address: bigint, size: number, port: boolean): void
  vmRemoveCoalesced(vm: NativeHandle, address: bigint, size: number, port: boolean): void
  /** The machine's writes that wait, by any of its vCPUs. */
  vcpuDrainCoalesced(vcpu: NativeHandle): Uint8Array
  vmSetMemoryAttributes(vm: NativeHandle, address: bigint, size: bigint, attributes: bigint): void
  vmCreateGuestMemfd(vm: NativeHandle, size: number, flags: number): NativeHandle

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
  /** The entries with their values, up to the first that is refused. */
  vcpuGetMsrs(vcpu: NativeHandle, entries: Uint8Array): Uint8Array
  /** How many were taken. */
  vcpuSetMsrs(vcpu: NativeHandle, entries: Uint8Array): number
  vcpuGetFpu(vcpu: NativeHandle): Uint8Array
  vcpuSetFpu(vcpu: NativeHandle, bytes: Uint8Array): void
  vcpuGetXsave(vcpu: NativeHandle): Uint8Array
  vcpuGetXsave2(vcpu: NativeHandle): Uint8Array
  vcpuSetXsave(vcpu: NativeHandle, bytes: Uint8Array): void
  vcpuGetXcrs(vcpu: NativeHandle): Uint8Array
  vcpuSetXcrs(vcpu: NativeHandle, bytes: Uint8Array): void
  vcpuGetLapic(vcpu: NativeHandle): Uint8Array
  vcpuSetLapic(vcpu: NativeHandle, bytes: Uint8Array): void
  vcpuGetEvents(vcpu: NativeHandle): Uint8Array
  vcpuSetEvents(vcpu: NativeHandle, bytes: Uint8Array): void
  vcpuGetDebugRegs(vcpu: NativeHandle): Uint8Array
  vcpuSetDebugRegs(vcpu: NativeHandle, bytes: Uint8Array): void
  vcpuSetGuestDebug(vcpu: NativeHandle, bytes: Uint8Array): void
  vcpuGetTscKhz(vcpu: NativeHandle): number
  vcpuSetTscKhz(vcpu: NativeHandle, khz: number): void
  vcpuGetTscOffset(vcpu: NativeHandle): bigint
  vcpuSetTscOffset(vcpu: NativeHandle, offset: bigint): void
  vcpuNmi(vcpu: NativeHandle): void
  vcpuInterrupt(vcpu: NativeHandle, vector: number): void
  vcpuKick(vcpu: NativeHandle): void
  vcpuHold(vcpu: NativeHandle, held: boolean): void
  vcpuHeld(vcpu: NativeHandle): boolean
}
