// Vm: a virtual machine, its memory, its interrupts and its wires. vCPUs are Vcpu's business.
import { attempt } from '../errors.js'
import type { EventFd } from '../event/eventfd.js'
import { type ShareToken, SharedHandle } from '../handle.js'
import { addon, type NativeHandle } from '../native/index.js'
import {
  bigint,
  boolean,
  callable,
  integer,
  internal,
  object,
  oneOf,
  options as optionsOf,
} from '../validate.js'
import { type Capability, capabilityNumber } from '../uapi/kvm/capabilities.js'
import { type CoalescedZone, type CoalescedZoneOptions, makeCoalescedZone } from './coalesced.js'
import { type DirtyRing, type DirtyRingOptions, makeDirtyRing } from './dirty-ring.js'
import {
  GuestMemfd,
  type GuestMemfdOptions,
  type MemoryAttributes,
  setMemoryAttributes,
} from './guest-memfd.js'
import { type MemoryChange, MemoryMap } from './memory-map.js'
import { addMemory, placeOf } from './memory-place.js'
import { type AddMemoryOptions, MemorySlot } from './memory-slot.js'
import { type MsiMessage, type WideApicIdOptions, enableWideApicIds, messageTarget } from './apic-ids.js'
import { GsiRouting } from './routing.js'
import { enableCapability } from './state/capability.js'
import { type MsrFilter, setMsrFilter } from './state/msrs.js'
import { VmState } from './state/vm-state.js'
import { type Statistics, decodeStatistics } from '../uapi/kvm/statistics.js'
import { Vcpu } from './vcpu.js'
import { type VmVfio, vfioFilesOf } from './vfio-files.js'
import { type IoeventfdOptions, type Irqfd, type IrqfdOptions, makeIoeventfd, makeIrqfd } from './wires.js'

export type { MemoryChange } from './memory-map.js'

/** Where a machine's interrupt controllers are: all in the kernel, the APICs only, or none. */
export type IrqchipKind = 'full' | 'split' | 'none'

/**
 * A virtual machine. Closing it takes its wires away from the last to the first, then its memory. Workers share one
 * machine by `share()` and `claim()`; each has its own list of what it added.
 */
export class Vm extends SharedHandle<'Vm'> {
  readonly irqchip: IrqchipKind
  /** Interrupt lines and messages. */
  readonly routing: GsiRouting
  readonly vfio: VmVfio
  /** The clock, the timer and the chips that the kernel keeps. */
  readonly state: VmState
  readonly #memory = new MemoryMap()

  private constructor(native: NativeHandle) {
    super(internal(native, 'Vm', 'kvm.createVm()'), 'Vm')
    this.irqchip = addon().vmIrqchip(native)
    this.routing = new GsiRouting(
      () => this.native,
      () => this.irqchip === 'full',
    )
    this.vfio = vfioFilesOf(() => this.native)
    this.state = new VmState(() => this.native)
  }

  /** @internal */
  static over(native: NativeHandle): Vm {
    return new Vm(native)
  }

  /**
   * Takes ownership of a machine's descriptor.
   * @param options `irqchip` says what chip it was given; `firstSlot` is the lowest memory slot number that is free
   * @throws VfioError EINVAL, ENOTTY when the descriptor is not a machine's
   */
  static fromFd(fd: number, options: { irqchip: IrqchipKind; firstSlot?: number }): Vm {
    integer(fd, 'fd', 0, 0x7fff_ffff)
    const { irqchip, firstSlot = 0 } = object(options, 'options')
    oneOf(irqchip, 'irqchip', ['full', 'split', 'none'])
    integer(firstSlot, 'firstSlot', 0, 0xffff)
    return new Vm(addon().vmFromFd(fd, irqchip, firstSlot))
  }

  /** The machine behind a token, in this environment. */
  static claim(token: ShareToken): Vm {
    return SharedHandle.claimed(token, 'Vm', Vm.over)
  }

  /** The descriptor's number. The object keeps ownership. */
  get fd(): number {
    return addon().handleFd(this.native)
  }

  /** What KVM says of an extension for this machine (KVM_CHECK_EXTENSION): 0 for no. */
  checkExtension(extension: Capability | number): number {
    return addon().kvmCheckExtension(this.native, capabilityNumber(extension))
  }

  /**
   * Turns an extension on that is off at first (KVM_ENABLE_CAP). Most must be on before the first vCPU.
   * @param args up to 4, 0 to 2^64 - 1 each: what they mean is the extension's own
   * @throws VfioError EOPNOTSUPP where this kernel does not have it, EINVAL where it does not take the arguments now
   */
  enableCapability(capability: Capability | number, args: readonly bigint[] = []): void {
    enableCapability(this.native, capability, args)
  }

  /**
   * Has messages name APICs by 32 bits (KVM_CAP_X2APIC_API, Linux 4.7): vCPUs with ids from 255 up are reached by a message
   * whose address has the id's bits 31 to 8 in bits 63 to 40, as `apicMessage` makes it. Id 255 is a vCPU then, no longer all
   * of them. Without it, such a message is refused: KVM would send the one for APIC 300 to 44.
   * @throws VfioError EOPNOTSUPP where KVM does not have it, EINVAL after a vCPU with an APIC was made
   */
  enableWideApicIds(options?: WideApicIdOptions): void {
    enableWideApicIds(this.native, options)
  }

  /**
   * Gives the guest memory, or the pages of a device.
   * @throws VfioError EEXIST when it overlaps what is there, ENOSPC when the machine has no slots left
   */
  addMemory(options: AddMemoryOptions): MemorySlot {
    const place = placeOf(options, this.native)
    const number = addMemory(this.native, place)
    const slot = new MemorySlot({
      ...place,
      number,
      vm: () => this.native,
      vmClosed: () => this.closed,
      removing: (which, remove) => {
        this.#memory.remove(which, remove)
      },
    })
    this.#memory.add(slot)
    return slot
  }

  /**
   * Has vCPUs report the pages that they write to in rings, instead of bitmaps (KVM_CAP_DIRTY_LOG_RING, Linux 5.11). Before the
   * first vCPU, once.
   * @throws VfioError EOPNOTSUPP where KVM does not have it, EINVAL after the first vCPU
   */
  enableDirtyRing(options: DirtyRingOptions = {}): DirtyRing {
    return makeDirtyRing(
      {
        native: () => this.native,
        slots: () => this.#memory.slots,
      },
      options,
    )
  }

  /**
   * Memory that belongs to this machine (guest_memfd, Linux 6.8), for `addMemory`.
   * @throws VfioError EOPNOTSUPP where KVM does not have it
   */
  createGuestMemfd(options: GuestMemfdOptions): GuestMemfd {
    return GuestMemfd.make(this.native, options)
  }

  /**
   * Makes guest memory private or shared (KVM_SET_MEMORY_ATTRIBUTES, Linux 6.8). An access of the guest's to the other kind
   * ends run() with EFAULT, and `vcpu.exit` is a `memory-fault`.
   * @throws VfioError EOPNOTSUPP for a machine that has no private memory
   */
  setMemoryAttributes(attributes: MemoryAttributes): void {
    setMemoryAttributes(this.native, attributes)
  }

  /**
   * Has the guest's writes to a zone wait in the kernel instead of causing exits: `vcpu.coalescedWrites()` takes them
   * (KVM_CAP_COALESCED_MMIO, KVM_CAP_COALESCED_PIO). Reads cause exits as before, and so does a write when 169 wait.
   */
  coalesce(options: CoalescedZoneOptions): CoalescedZone {
    return makeCoalescedZone(this, options)
  }

  /** What was added through this object and is still there, by guest address. */
  get memorySlots(): readonly MemorySlot[] {
    return this.#memory.slots
  }

  /**
   * Calls `listener` after a slot was added and before one is removed, through this object. It may add and close slots and
   * listeners itself: nobody hears of a slot that went before he heard of its coming. When it throws for a slot that was
   * added, that slot goes again; one that is removed goes all the same. `addMemory` or `close` then throws the error.
   */
  onMemoryChange(listener: (change: MemoryChange) => void): { close(): void } {
    return this.#memory.listen(callable(listener, 'listener'))
  }

  /** Calls `listener` after a slot has gone: there is room in the guest's memory. @internal */
  onMemoryRoom(listener: () => void): () => void {
    return this.#memory.onRoom(listener)
  }

  /**
   * Makes a vCPU (KVM_CREATE_VCPU).
   * @param id its APIC id: 0 and up; see KVM_CAP_MAX_VCPU_ID
   * @throws VfioError EEXIST when the id is taken, EINVAL when it is too large
   */
  createVcpu(id: number): Vcpu {
    integer(id, 'id', 0, 0xffff_ffff)
    return Vcpu.over(attempt({ subject: `vCPU ${String(id)}` }, () => addon().vcpuCreate(this.native, id)))
  }

  /** Takes ownership of a vCPU's descriptor, of this machine. */
  adoptVcpu(fd: number, id: number): Vcpu {
    integer(fd, 'fd', 0, 0x7fff_ffff)
    integer(id, 'id', 0, 0xffff_ffff)
    return Vcpu.over(addon().vcpuFromFd(this.native, fd, id))
  }

  /**
   * Signals of the eventfd become interrupts of the guest (KVM_IRQFD), until the wire, the eventfd or the machine closes.
   * @throws VfioError EBUSY (`eventfd-in-use`) when something waits for the eventfd, ENOENT when the GSI leads nowhere
   */
  irqfd(eventfd: EventFd, options: IrqfdOptions): Irqfd {
    return makeIrqfd(this, eventfd, options)
  }

  /**
   * The guest's writes to an address or a port become signals (KVM_IOEVENTFD), until the returned EventFd or the machine
   * closes. One EventFd may have several doorbells.
   * @throws VfioError EEXIST when such a doorbell is there, EFAULT in writable memory, where none would ever ring
   */
  ioeventfd(options: IoeventfdOptions): EventFd {
    return makeIoeventfd(this, options)
  }

  /** Sends a message now (KVM_SIGNAL_MSI). False when the guest blocks it. */
  signalMsi(message: MsiMessage): boolean {
    const [address, data] = messageTarget(() => this.native, message, 'KVM_SIGNAL_MSI')
    return addon().vmSignalMsi(this.native, address, data)
  }

  /**
   * Sets a line of the in-kernel chip (KVM_IRQ_LINE).
   * @throws VfioError ENOENT when the GSI leads nowhere
   */
  setIrqLine(gsi: number, level: boolean): void {
    integer(gsi, 'gsi', 0, 0xffff_ffff)
    boolean(level, 'level')
    attempt({ subject: `GSI ${String(gsi)}` }, () => {
      addon().vmSetIrqLine(this.native, gsi, level)
    })
  }

  /**
   * What guests may do with model-specific registers (KVM_X86_SET_MSR_FILTER, Linux 5.10, KVM_CAP_X86_MSR_FILTER). What is
   * denied raises #GP, or ends run() with `msr-read` and `msr-write` after
   * `enableCapability('X86_USER_SPACE_MSR', [4n])`.
   */
  filterMsrs(filter: MsrFilter): void {
    setMsrFilter(this.native, filter)
  }

  /** KVM's counters of the machine (KVM_GET_STATS_FD, Linux 5.14). Those of exits are the vCPUs'. */
  stats(): Statistics {
    return decodeStatistics(addon().kvmStatistics(this.native))
  }

  /** Takes its wires and its memory away. vCPUs that still run keep the machine alive until they are closed. Idempotent. */
  close(): void {
    this.closeNow()
  }

  [Symbol.dispose](): void {
    this.close()
  }

  protected override beforeRelease(): void {
    // The wires before the memory that they reach.
    this.undoAll()
    for (const slot of this.memorySlots) {
      this.beforeClose(() => {
        slot.close()
      })
    }
  }
}

/** The addresses that KVM takes for itself on Intel processors; a guest must not have memory there. */
const TSS_ADDRESS = 0xfffb_d000n
const IDENTITY_MAP_ADDRESS = 0xfffb_c000n

export interface VmOptions {
  /** In-kernel interrupt controllers (default `full`): PIC, IOAPIC and APICs; `split`: the APICs only. */
  irqchip?: IrqchipKind
  /** An in-kernel timer 8254 with the speaker's port (KVM_CREATE_PIT2); only with `full`. Default false. */
  pit?: boolean
  /** Three pages of guest address space for KVM itself, below 4 GiB (KVM_SET_TSS_ADDR; default 0xfffbd000). */
  tssAddress?: bigint
  /** One more page of that kind (KVM_SET_IDENTITY_MAP_ADDR; default 0xfffbc000). */
  identityMapAddress?: bigint
}

/** @internal */
export function createVm(kvm: NativeHandle, options: VmOptions | undefined): Vm {
  const {
    irqchip = 'full',
    pit = false,
    tssAddress = TSS_ADDRESS,
    identityMapAddress = IDENTITY_MAP_ADDRESS,
  } = optionsOf(options, 'options')
  oneOf(irqchip, 'irqchip', ['full', 'split', 'none'])
  bigint(tssAddress, 'tssAddress', 0n, 0xffff_d000n)
  bigint(identityMapAddress, 'identityMapAddress', 0n, 0xffff_f000n)
  if (boolean(pit, 'pit') && irqchip !== 'full') throw new TypeError("pit needs irqchip: 'full'")
  const vm = Vm.over(addon().kvmCreateVm(kvm, irqchip))
  try {
    addon().vmSetTssAddress(vm.native, tssAddress)
    addon().vmSetIdentityMapAddress(vm.native, identityMapAddress)
    addon().vmCreateIrqchip(vm.native)
    if (pit) addon().vmCreatePit(vm.native)
    return vm
  } catch (error) {
    vm.close()
    throw error
  }
}
