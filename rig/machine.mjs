// The machine as a table: its devices with their fixed addresses, and the QEMU arguments that build it.

import { join } from 'node:path'
import { TRACE_ARGUMENTS } from './trace.mjs'

export const IVSHMEM = { size: 1 << 20, vectors: 4 }
export const DISK_SIZE = 64 << 20

// `id` is what the guest must find at `address`; `bound` says whether vfio-pci has it from the start.
export const DEVICES = {
  edu: { address: '0000:00:10.0', id: '1234:11e8', bound: true, model: 'edu' },
  edu2: { address: '0000:00:11.0', id: '1234:11e8', bound: true, model: 'edu' },
  testdev: { address: '0000:00:12.0', id: '1b36:0005', bound: true, model: 'pci-testdev' },
  e1000e: { address: '0000:00:13.0', id: '8086:10d3', bound: true, model: 'e1000e,netdev=net,romfile=' },
  nvme: { address: '0000:00:14.0', id: '1b36:0010', bound: true, model: 'nvme,drive=disk,serial=rig' },
  ivshmem: {
    address: '0000:00:15.0',
    id: '1af4:1110',
    bound: true,
    model: `ivshmem-doorbell,chardev=ivshmem,vectors=${IVSHMEM.vectors}`,
  },
  bridgedEdu1: { address: '0000:01:01.0', id: '1234:11e8', bound: true, model: 'edu', bus: 'bridge' },
  bridgedEdu2: { address: '0000:01:02.0', id: '1234:11e8', bound: true, model: 'edu', bus: 'bridge' },
  // On its host driver it keeps its group from being viable. iommu_platform sends its DMA through the IOMMU.
  bridgedRng: {
    address: '0000:01:03.0',
    id: '1af4:1044',
    bound: false,
    model: 'virtio-rng-pci,disable-legacy=on,iommu_platform=on',
    bus: 'bridge',
  },
  // In a slot of its own, out of which the tests take it and put it back.
  pluggable: {
    address: '0000:02:00.0',
    id: '8086:10d3',
    bound: true,
    model: 'e1000e,romfile=,id=pluggable',
    bus: 'root-port',
  },
}

// Loaded in this order: what the root file system needs, then VFIO, then the host drivers of the devices.
export const MODULES = [
  'virtio_pci',
  '9pnet_virtio',
  '9p',
  'overlay',
  'virtio_console',
  'vfio',
  'vfio_iommu_type1',
  'vfio_pci',
  'virtio_rng',
  'e1000e',
  'nvme',
]

// Only with `sriov`: an nvme whose physical function its host driver keeps, and which can have virtual functions.
const SRIOV_DEVICES = {
  sriov: {
    address: '0000:00:16.0',
    id: '1b36:0010',
    bound: false,
    model: 'nvme,subsys=subsystem,serial=sriov,sriov_max_vfs=2,sriov_vq_flexible=4,sriov_vi_flexible=2',
  },
}

/**
 * The devices of a machine, by name. Behind a conventional bridge a device's requests carry the bridge's address, which
 * QEMU's virtio-iommu does not know: the kernel then gives up on that IOMMU for all devices.
 * @param {{ iommu?: string, sriov?: boolean }} machine
 */
export const devicesOf = ({ iommu, sriov }) => {
  const all = Object.entries(sriov ? { ...DEVICES, ...SRIOV_DEVICES } : DEVICES)
  return Object.fromEntries(all.filter(([, { bus }]) => iommu !== 'virtio' || bus === undefined))
}

// By the name of the option: QEMU's arguments and the kernel's. Debian's stock kernels have neither virtio-iommu (6.1) nor
// no-IOMMU.
export const IOMMUS = {
  intel: {
    // With `eim` the kernel drives its local APICs by MSRs (x2APIC). As memory, a write to one that has to wait for QEMU's lock while
    // the processor's TLB is resized is sometimes dropped (accel/tcg/cputlb.c up to 11.1 at least): a lost end of interrupt.
    device: ['-device', 'intel-iommu,intremap=on,eim=on,caching-mode=on,device-iotlb=on'],
    append: 'intel_iommu=on iommu=nopt',
  },
  virtio: { device: ['-device', 'virtio-iommu-pci,addr=02.0'], append: 'iommu=nopt' },
  none: { device: undefined, append: 'vfio.enable_unsafe_noiommu_mode=1' },
}

const GIGABYTE_PAGE_FROM = 3072

const kernelCommandLine = ({ memory, append, iommu, sriov }) =>
  [
    'console=ttyS0 loglevel=4 panic=-1 oops=panic',
    // An NMI comes from postmortem.mjs only. With it, and with any other panic, where all processors are (0x40).
    'unknown_nmi_panic panic_print=0x40',
    'mitigations=off init_on_alloc=0 nowatchdog cryptomgr.notests tsc=reliable no_timer_check',
    // The bridge's hot-plug controller cannot be had beside ACPI's: without this, each boot complains of it.
    'initcall_blacklist=shpcd_init',
    IOMMUS[iommu].append,
    // Where the kernel has that GPU: with planes over its screen.
    'vkms.enable_overlay=1',
    sriov && 'vfio_pci.enable_sriov=1',
    memory >= GIGABYTE_PAGE_FROM && 'hugepagesz=1G hugepages=1',
    'hugepagesz=2M hugepages=32',
    append,
  ]
    .filter(Boolean)
    .join(' ')

/** A device of the machine: QEMU's own, or who is at the socket instead. */
const deviceArguments = ({ address, model, bus = 'pcie.0' }, path) => [
  '-device',
  path === undefined
    ? `${model},bus=${bus},addr=${address.slice(-4)}`
    : JSON.stringify({
        driver: 'vfio-user-pci',
        bus,
        addr: address.slice(-4),
        socket: { type: 'unix', path },
      }),
]

/** Memory in a file, which devices at sockets are given. */
const sharedMemory = (memory) => [
  ...['-object', `memory-backend-memfd,id=memory,size=${memory}M,share=on`],
  ...['-machine', 'memory-backend=memory'],
]

/** Connected sockets that QEMU inherits, by the name the guest finds them under. */
const PORTS = [
  { name: 'rig.stdout', fd: 3 },
  { name: 'rig.stderr', fd: 4 },
  { name: 'rig.control', fd: 5 },
  { name: 'rig.monitor', fd: 6 },
]

/** QEMU's monitors: the one that the rig asks itself, and the one that a command in the guest speaks with. */
const MONITORS = [
  { name: 'monitor', fd: 7 },
  { name: 'monitor-of-guest', fd: 8 },
]

/** All of QEMU's sockets, in the order of their numbers. */
export const SOCKETS = [...PORTS, ...MONITORS]

// A comma separates QEMU's options; within a value it is written twice.
const escaped = (path) => path.replaceAll(',', ',,')

/** QEMU's arguments. `folder` holds this run's initramfs, disk and ivshmem socket. */
export const qemuArguments = ({
  kernel,
  folder,
  cpus,
  memory,
  append,
  share,
  trace,
  iommu,
  sriov,
  userDevices,
}) =>
  [
    ['-nodefaults', '-no-user-config', '-no-reboot', '-display', 'none'],
    ['-machine', 'q35,kernel-irqchip=split', '-accel', 'tcg,thread=multi', '-cpu', 'max,-la57'],
    ['-smp', cpus, '-m', memory],
    Object.keys(userDevices).length > 0 && sharedMemory(memory),
    ['-kernel', kernel.image, '-initrd', join(folder, 'initramfs')],
    ['-append', kernelCommandLine({ memory, append, iommu, sriov })],
    ['-chardev', 'stdio,id=console,signal=off', '-serial', 'chardev:console'],
    ...MONITORS.map(({ name, fd }) => [
      '-chardev',
      `socket,id=${name},fd=${fd}`,
      '-mon',
      `chardev=${name},mode=control`,
    ]),
    IOMMUS[iommu].device,

    ['-fsdev', 'local,id=host,path=/,security_model=none,readonly=on,multidevs=remap'],
    // One slot for the rig's own devices: with or without a share, they are one group, and all others keep their number.
    ['-device', 'virtio-9p-pci,fsdev=host,mount_tag=host,multifunction=on,addr=03.0'],
    share && ['-fsdev', `local,id=share,path=${escaped(share)},security_model=none,multidevs=remap`],
    share && ['-device', 'virtio-9p-pci,fsdev=share,mount_tag=share,addr=03.2'],

    ['-device', 'virtio-serial-pci,addr=03.1'],
    ...PORTS.flatMap(({ name, fd }) => [
      ['-chardev', `socket,id=${name},fd=${fd}`],
      ['-device', `virtserialport,chardev=${name},name=${name}`],
    ]),

    ['-netdev', 'user,id=net,restrict=on'],
    ['-blockdev', `driver=file,node-name=disk,filename=${escaped(join(folder, 'disk'))}`],
    ['-chardev', `socket,id=ivshmem,path=${escaped(join(folder, 'ivshmem'))}`],
    iommu !== 'virtio' && ['-device', 'pcie-pci-bridge,id=bridge,addr=1c.0'],
    ['-device', 'pcie-root-port,id=root-port,chassis=1,slot=1,addr=1d.0'],
    sriov && ['-device', 'nvme-subsys,id=subsystem'],
    ...Object.entries(devicesOf({ iommu, sriov })).map(([name, device]) =>
      deviceArguments(device, userDevices[name]),
    ),
    trace && TRACE_ARGUMENTS,
  ]
    .filter(Boolean)
    .flat()
    .map(String)
