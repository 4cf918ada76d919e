// Kvm: /dev/kvm, what this kernel's KVM can do, and where machines come from.
import { ENOSYS, VfioError, attempt, type VfioErrorContext } from '../errors.js'
import { Handle } from '../handle.js'
import { addon, type NativeHandle } from '../native/index.js'
import { integer, internal, string } from '../validate.js'
import { CAPABILITIES, type Capability, capabilityNumber } from '../uapi/kvm/capabilities.js'
import { type CpuidEntry, decodeCpuid } from '../uapi/kvm/cpuid.js'
import { decodeMsrIndices } from '../uapi/kvm/msrs.js'
import { featureMsrs } from './state/msrs.js'
import { type Vm, type VmOptions, createVm } from './vm.js'

// Stable since Linux 2.6.22; the kernel asks programs to refuse any other.
const API_VERSION = 12

function openContext(path: string, error: VfioError): VfioErrorContext {
  if (error.code === 'ENOENT' || error.code === 'ENODEV' || error.code === 'ENXIO') {
    return {
      subject: path,
      remedy:
        'Load kvm_intel or kvm_amd, and see that virtualization is on in the firmware (or nested virtualization, in a guest).',
    }
  }
  if (error.code === 'EACCES' || error.code === 'EPERM') {
    return {
      subject: path,
      reason: 'permission',
      remedy: 'Join the group that owns it (kvm on most systems), or run as root.',
    }
  }
  return { subject: path }
}

export class Kvm extends Handle {
  private constructor(native: NativeHandle) {
    super(internal(native, 'Kvm', 'Kvm.open()'), 'Kvm')
    const version = addon().kvmGetApiVersion(native)
    if (version === API_VERSION) return
    this.close()
    throw new VfioError(ENOSYS, 'KVM_GET_API_VERSION', {
      subject: `version ${String(version)}`,
      remedy: `node-vfio needs version ${String(API_VERSION)}.`,
    })
  }

  /** Opens KVM. @throws VfioError ENOENT without KVM, EACCES (`permission`) */
  static open(path = '/dev/kvm'): Kvm {
    string(path, 'path')
    return new Kvm(
      attempt(
        (error) => openContext(path, error),
        () => addon().kvmOpen(path),
      ),
    )
  }

  /** Takes ownership of a descriptor of /dev/kvm. @throws VfioError ENOTTY for any other */
  static fromFd(fd: number): Kvm {
    return new Kvm(addon().kvmFromFd(integer(fd, 'fd', 0, 0x7fff_ffff)))
  }

  /** The descriptor's number. The object keeps ownership. */
  get fd(): number {
    return addon().handleFd(this.native)
  }

  get apiVersion(): number {
    return addon().kvmGetApiVersion(this.native)
  }

  /** What KVM says of an extension (KVM_CHECK_EXTENSION): 0 for no, otherwise yes, or a limit. */
  checkExtension(extension: Capability | number): number {
    return addon().kvmCheckExtension(this.native, capabilityNumber(extension))
  }

  /** The answers for every extension that this package has a name for. */
  extensions(): Record<Capability, number> {
    const entries = Object.entries(CAPABILITIES).map(([name, number]) => [
      name,
      addon().kvmCheckExtension(this.native, number),
    ])
    return Object.fromEntries(entries) as Record<Capability, number>
  }

  /** What a guest may be told of its processor (KVM_GET_SUPPORTED_CPUID), for `vcpu.cpuid`. */
  supportedCpuid(): CpuidEntry[] {
    return decodeCpuid(addon().kvmGetSupportedCpuid(this.native))
  }

  /** The numbers of the model-specific registers that a VMM saves with a vCPU (KVM_GET_MSR_INDEX_LIST). */
  msrIndices(): number[] {
    return decodeMsrIndices(addon().kvmGetMsrIndexList(this.native))
  }

  /**
   * The numbers of the registers that say what this host offers a guest (KVM_GET_MSR_FEATURE_INDEX_LIST, Linux 4.17,
   * KVM_CAP_GET_MSR_FEATURES).
   */
  featureMsrIndices(): number[] {
    return decodeMsrIndices(addon().kvmGetMsrFeatureIndexList(this.native))
  }

  /**
   * The values of such registers, in the order asked for (KVM_GET_MSRS of /dev/kvm).
   * @throws VfioError EINVAL that names the first register which is no feature
   */
  featureMsrs(indices: readonly number[]): bigint[] {
    return featureMsrs(this.native, indices)
  }

  /** Makes a machine. It does not need this object afterwards. */
  createVm(options?: VmOptions): Vm {
    return createVm(this.native, options)
  }

  close(): void {
    this.closeNow()
  }

  [Symbol.dispose](): void {
    this.close()
  }
}
