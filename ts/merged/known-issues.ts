// The known issues of merged drivers and the parameters of their modules, as data: to add one, add a row. The code that
// judges them is ./judge.ts. Rows with the provenance OPEN_IOV are taken from "Merged Drivers" of Open-IOV (revision of
// 2 March 2023, by Arthur; https://open-iov.org), licensed CC BY 4.0, shortened and brought up to date.

/** How to find out whether an issue concerns a device, per driver. */
export type DetectRule =
  /** The driver has it in every version. */
  | { readonly rule: 'always' }
  /** Compared with the driver's version: `510.*` stands for all that start so; fixed from `fixedFrom` on. */
  | { readonly rule: 'version'; readonly affected: readonly string[]; readonly fixedFrom?: string }
  /** Applies to kernels before `fixedFrom`. */
  | { readonly rule: 'kernel'; readonly fixedFrom: string }
  /** Depends on the framework in which the device is shared. */
  | { readonly rule: 'framework'; readonly affected: readonly string[]; readonly fixed: readonly string[] }

export interface KnownIssue {
  /** Unique, lower case, words joined by dashes. */
  readonly id: string
  /** PCI vendor. */
  readonly vendor: number
  readonly symptom: string
  /** In words, as the source has it; `*` for every version. */
  readonly affected: string
  readonly fixedIn: string | null
  readonly mitigation: string | null
  /** What gives guests elsewhere what the driver lacks, if anything does. */
  readonly suppliedBy?: string
  readonly provenance: string
  /** Whether somebody saw it, or the vendor says it. */
  readonly guarantee: 'observed' | 'documented'
  readonly detect: Readonly<Record<string, DetectRule>>
}

export interface ModuleParameter {
  readonly name: string
  /** Modules that may have it. */
  readonly modules: readonly string[]
  readonly vendor: number
  readonly meaning: string
  readonly sideEffects: string | null
  readonly provenance: string
  readonly guarantee: 'observed' | 'documented'
}

const OPEN_IOV = 'Open-IOV, "Merged Drivers", 2 March 2023, CC BY 4.0'
const KERNEL = 'the Linux kernel'
const PATCHER = 'VGPU-Community-Drivers/vGPU-Unlock-patcher'
const INTEL = 0x8086
const NVIDIA = 0x10de
const AMD = 0x1002

export const KNOWN_ISSUES: readonly KnownIssue[] = [
  {
    id: 'intel-sriov-undocumented',
    vendor: INTEL,
    symptom: 'SR-IOV is not described in the API documentation of i915.',
    affected: '*',
    fixedIn: 'xe, from Linux 6.19',
    mitigation: 'Use xe from Linux 6.19 where it drives the GPU.',
    provenance: `${OPEN_IOV}; of xe: Linux 6.19, Documentation/ABI/testing/sysfs-driver-intel-xe-sriov`,
    guarantee: 'observed',
    detect: { i915: { rule: 'always' }, xe: { rule: 'kernel', fixedFrom: '6.19' } },
  },
  {
    id: 'intel-modified-hypervisor',
    vendor: INTEL,
    symptom: 'Sharing the GPU takes a hypervisor that knows of it (KVMGT, XenGT).',
    affected: 'i915 with GVT-g',
    fixedIn: 'SR-IOV',
    mitigation: 'Share the GPU by SR-IOV, where it has it.',
    provenance: OPEN_IOV,
    guarantee: 'observed',
    detect: {
      i915: { rule: 'framework', affected: ['mdev'], fixed: ['sriov'] },
      xe: { rule: 'framework', affected: ['mdev'], fixed: ['sriov'] },
    },
  },
  {
    id: 'nvidia-laptop-power-management',
    vendor: NVIDIA,
    symptom: 'Graphical errors on laptops that run on battery while guests use the GPU.',
    affected: '460.32.01, 460.73.04',
    fixedIn: null,
    mitigation: 'Bring the physical function to power state D0 before enabling its virtual functions.',
    provenance: OPEN_IOV,
    guarantee: 'observed',
    detect: { nvidia: { rule: 'version', affected: ['460.32.01', '460.73.04'] } },
  },
  {
    id: 'nvidia-vmalloc-collisions',
    vendor: NVIDIA,
    symptom: 'VFIO-vmalloc errors: pages of host and guest collide on GPUs with little video memory.',
    affected: '460.32.01, 460.73.04',
    fixedIn: null,
    mitigation: null,
    provenance: OPEN_IOV,
    guarantee: 'observed',
    detect: { nvidia: { rule: 'version', affected: ['460.32.01', '460.73.04'] } },
  },
  {
    id: 'nvidia-mdev-daemons-crash',
    vendor: NVIDIA,
    symptom: 'The services for mediated devices crash or start wrongly while the host runs.',
    affected: '460.32.01, 460.73.04, 510.*',
    fixedIn: null,
    mitigation: 'Restart the service, or the host.',
    provenance: OPEN_IOV,
    guarantee: 'observed',
    detect: { nvidia: { rule: 'version', affected: ['460.32.01', '460.73.04', '510.*'] } },
  },
  {
    id: 'nvidia-usb-hub-passthrough',
    vendor: NVIDIA,
    symptom: "The guest's driver does not start when a passed-through USB hub is beside the mediated device.",
    affected: '460.73.01',
    fixedIn: null,
    mitigation: null,
    provenance: OPEN_IOV,
    guarantee: 'observed',
    detect: { nvidia: { rule: 'version', affected: ['460.73.01'] } },
  },
  {
    id: 'nvidia-second-mdev-group-error',
    vendor: NVIDIA,
    symptom: 'A second mediated device cannot be started in QEMU: binding its IOMMU group fails.',
    affected: '460.32.01, 460.73.04',
    fixedIn: '510.*',
    mitigation: 'Use a driver from 510 on.',
    provenance: OPEN_IOV,
    guarantee: 'observed',
    detect: { nvidia: { rule: 'version', affected: ['460.32.01', '460.73.04'], fixedFrom: '510' } },
  },
  {
    id: 'amdgpu-no-host-drm-beside-mdev',
    vendor: AMD,
    symptom: "The host's DRM does not work beside guests' mediated devices: amdgpu has none.",
    affected: '*',
    fixedIn: null,
    mitigation: null,
    suppliedBy:
      'Devices in user space, while the host keeps the GPU: MediatedGpu of this package in 2D, virtio-gpu of QEMU in 3D, each where the report says yes.',
    provenance: OPEN_IOV,
    guarantee: 'observed',
    detect: { amdgpu: { rule: 'always' } },
  },
  {
    id: 'amdgpu-no-signalling-hooks',
    vendor: AMD,
    symptom: 'amdgpu has no VFIO device operations, hence no place for an irqfd or an ioeventfd.',
    affected: '*',
    fixedIn: null,
    mitigation: null,
    suppliedBy:
      'A UserDevice of this package, such as MediatedGpu: its interrupts are irqfds with every VMM; its doorbells are ioeventfds with a Vm of this package only, since QEMU and cloud-hypervisor never ask for them (VFIO_USER_DEVICE_GET_REGION_IO_FDS).',
    provenance: OPEN_IOV,
    guarantee: 'observed',
    detect: { amdgpu: { rule: 'always' } },
  },
]

export const MODULE_PARAMETERS: readonly ModuleParameter[] = [
  {
    name: 'cudahost',
    modules: ['nvidia'],
    vendor: NVIDIA,
    meaning:
      '1 allows CUDA on the host; in drivers that vGPU-Unlock-patcher made, and not in those of NVIDIA.',
    sideEffects: 'Windows guests may fail.',
    provenance: `${OPEN_IOV}; ${PATCHER}`,
    guarantee: 'observed',
  },
  {
    name: 'vgpukvm',
    modules: ['nvidia', 'nvidia_vgpu_vfio'],
    vendor: NVIDIA,
    meaning:
      '0 disables GPU virtualization on the host; in drivers that vGPU-Unlock-patcher made, and not in those of NVIDIA.',
    sideEffects: null,
    provenance: `${OPEN_IOV}; ${PATCHER}`,
    guarantee: 'observed',
  },
  {
    name: 'enable_gvt',
    modules: ['i915'],
    vendor: INTEL,
    meaning: '1 enables mediated devices (GVT-g), with the module kvmgt.',
    sideEffects: null,
    provenance: KERNEL,
    guarantee: 'documented',
  },
  {
    name: 'enable_guc',
    modules: ['i915'],
    vendor: INTEL,
    meaning:
      "Which of the GPU's own microcontroller's tasks are enabled; SR-IOV in vendors' trees needs them.",
    sideEffects: null,
    provenance: KERNEL,
    guarantee: 'documented',
  },
  {
    name: 'max_vfs',
    modules: ['i915'],
    vendor: INTEL,
    meaning:
      "Limits the virtual functions of each GPU; in Intel's own trees and i915-sriov-dkms only, 0 unless set.",
    sideEffects: 'While there are virtual functions, the physical one must not be given to a guest.',
    provenance: 'i915-sriov-dkms; absent in Linux 5.15 to 7.3',
    guarantee: 'documented',
  },
  {
    name: 'max_vfs',
    modules: ['xe'],
    vendor: INTEL,
    meaning:
      'Limits the virtual functions of each GPU; unless set 0 up to Linux 6.16, without a limit from 6.17 on.',
    sideEffects: 'The GPU stays awake (D0) while it has virtual functions.',
    provenance: KERNEL,
    guarantee: 'documented',
  },
  {
    name: 'vf_num',
    modules: ['gim'],
    vendor: AMD,
    meaning: 'How many virtual functions GIM makes of each GPU when it is loaded.',
    sideEffects: 'More than one needs a firmware and a partition mode for it on Instinct.',
    provenance: 'amd/MxGPU-Virtualization, gim_shim/gim_config.c',
    guarantee: 'documented',
  },
]
