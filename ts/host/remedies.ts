// What to do about an IOMMU, a module, a node or a kernel parameter that is missing, on this machine: the one place of such
// sentences, for errors and for `vfio doctor`. Where it cannot know, it names the place to look. It must not read anything.

import type { Hypervisor, Machine } from './machine.js'

const FEDORA = ['fedora', 'rhel', 'centos', 'amzn']

const isLike = ({ distribution }: Machine, ...names: string[]): boolean =>
  distribution.some((each) => names.includes(each) || names.some((name) => each.startsWith(`${name}-`)))

/** The command that writes GRUB's menu anew. */
function grubCommand(machine: Machine): string | null {
  if (isLike(machine, 'debian', 'ubuntu')) return 'sudo update-grub'
  if (isLike(machine, 'opensuse-microos', 'opensuse-leap-micro', 'sle-micro', 'sl-micro'))
    return 'sudo transactional-update grub.cfg'
  if (isLike(machine, 'suse', 'opensuse', 'sles', 'mariner', 'azurelinux'))
    return 'sudo grub2-mkconfig -o /boot/grub2/grub.cfg'
  if (isLike(machine, 'arch', 'gentoo', 'void')) return 'sudo grub-mkconfig -o /boot/grub/grub.cfg'
  return null
}

function withGrub(machine: Machine, word: string): string {
  const then = grubCommand(machine) ?? "regenerate GRUB's menu as your distribution does it"
  return `add ${word} to GRUB_CMDLINE_LINUX in /etc/default/grub, then ${then} and reboot`
}

/** How a word gets onto the kernel's command line here; the sentence has no full stop. */
export function addKernelParameter(machine: Machine, word: string): string {
  const { bootLoader, container } = machine
  if (container)
    return `add ${word} to the kernel command line of the host, outside this container, and reboot it`
  if (isLike(machine, 'nixos'))
    return `add ${word} to boot.kernelParams, then sudo nixos-rebuild boot and reboot`
  if (isLike(machine, 'talos', 'flatcar', 'bottlerocket', 'ubuntu-core', 'cos'))
    return `add ${word} to the kernel command line in this system's configuration, and reboot`
  if (bootLoader === 'raspberry-pi')
    return `add ${word} to the single line of /boot/firmware/cmdline.txt (/boot/cmdline.txt on older systems) and reboot`
  if (bootLoader === 'ostree')
    return isLike(machine, ...FEDORA)
      ? `sudo rpm-ostree kargs --append-if-missing=${word}, then reboot`
      : `add ${word} to the kernel arguments of the OSTree deployment (ostree admin kargs) and reboot`
  if (bootLoader === 'proxmox')
    return `add ${word} to /etc/kernel/cmdline (or, if Proxmox boots with GRUB, to GRUB_CMDLINE_LINUX in /etc/default/grub), then sudo proxmox-boot-tool refresh and reboot`
  if (isLike(machine, 'pop')) return `sudo kernelstub -a "${word}", then reboot`
  if (isLike(machine, ...FEDORA)) return `sudo grubby --update-kernel=ALL --args="${word}", then reboot`
  if (bootLoader === 'systemd-boot')
    return `add ${word} to the options of systemd-boot's entry (/etc/kernel/cmdline if it exists, then regenerate the entries or kernel images as your distribution does it; otherwise /boot/loader/entries/*.conf) and reboot`
  if (bootLoader === 'grub') return withGrub(machine, word)
  return `add ${word} to the kernel command line in this system's boot loader configuration (GRUB: GRUB_CMDLINE_LINUX in /etc/default/grub), and reboot`
}

/** How a word leaves it. */
function removeKernelParameter(machine: Machine, word: string): string {
  if (machine.container)
    return `remove ${word} from the kernel command line of the host, outside this container`
  if (machine.bootLoader === 'ostree' && isLike(machine, ...FEDORA))
    return `sudo rpm-ostree kargs --delete=${word}, then reboot`
  if (isLike(machine, 'pop')) return `sudo kernelstub -d "${word}", then reboot`
  if (isLike(machine, ...FEDORA))
    return `sudo grubby --update-kernel=ALL --remove-args="${word}", then reboot`
  return addKernelParameter(machine, word).replace(/^add (\S+) to/, 'remove $1 from')
}

const GUEST =
  'Without an IOMMU there is only no-IOMMU mode (vfio.enable_unsafe_noiommu_mode), which protects nothing.'

/** Where a virtual machine gets its IOMMU from, if it can have one. */
function ofGuest(hypervisor: Hypervisor, { architecture, processor }: Machine): string {
  const switchOn = processor === 'intel' || architecture === null ? ', and inside it intel_iommu=on' : ''
  switch (hypervisor) {
    case 'wsl':
      return 'WSL2 has no IOMMU and gets no devices: boot Linux on the machine itself, or use another kind of virtual machine.'
    case 'xen-dom0':
      return 'Xen owns the IOMMU, so dom0 sees no groups: give devices to domains with xl pci-assignable-add (xen-pciback), or boot Linux without Xen.'
    case 'xen':
      return `Xen gives its domains no IOMMU. ${GUEST}`
    case 'ec2':
      return `EC2 gives virtual instances no IOMMU: use an instance type that ends in .metal. ${GUEST}`
    case 'azure':
    case 'hyper-v':
      return `Hyper-V gives its virtual machines no IOMMU that VFIO can use. ${GUEST}`
    case 'google':
      return `A Compute Engine virtual machine has no IOMMU unless its machine type says so; bare metal types have the machine's own. ${GUEST}`
    case 'openstack':
      return `OpenStack gives an IOMMU by the flavour or image (hw:viommu_model, hw_viommu_model)${switchOn}. ${GUEST}`
    case 'vmware':
      return `Turn it on in the processor settings of this virtual machine (expose IOMMU to the guest)${switchOn}. ${GUEST}`
    case 'virtualbox':
      return `VirtualBox offers one since version 7 (VBoxManage modifyvm --iommu)${switchOn}. ${GUEST}`
    case 'micro-vm':
      return `A micro VM such as Firecracker's gives its guest no IOMMU. ${GUEST}`
    case 'qemu':
      return architecture === 'arm'
        ? `The administrator of this virtual machine must add one (QEMU: -machine virt,iommu=smmuv3; libvirt: <iommu model='smmuv3'/>). ${GUEST}`
        : processor === 'amd'
          ? `The administrator of this virtual machine must add one (QEMU: -machine q35 -device amd-iommu or virtio-iommu-pci). ${GUEST}`
          : `The administrator of this virtual machine must add one (QEMU: -machine q35,kernel-irqchip=split -device intel-iommu,intremap=on)${switchOn}. ${GUEST}`
    case 'unknown':
      return `This is a virtual machine: its administrator must give it an IOMMU. ${GUEST}`
  }
}

/** An x86 machine of its own, whose firmware and kernel decide. */
function ofPc(machine: Machine): string {
  const { processor, asked, firmwareTables: tables } = machine
  const name = processor === 'amd' ? 'AMD-Vi (IOMMU)' : 'VT-d'
  const table = processor === 'amd' ? 'IVRS' : 'DMAR'
  const there = tables?.includes(table) === true
  const add = addKernelParameter(machine, 'intel_iommu=on')
  if (processor === 'amd')
    return there
      ? `The firmware has AMD-Vi on (table ${table}) but the kernel created no groups: look for the cause in dmesg | grep -i -e AMD-Vi -e iommu.`
      : `Enable ${name} in the firmware; the kernel then uses it by default.`
  if (there && asked?.state === 'on')
    return `The firmware has ${name} on (table ${table}) and the kernel command line asks for it (${asked.word}), but there are no groups: look for the cause in dmesg | grep -i -e DMAR -e iommu.`
  if (there)
    return `The firmware has ${name} on (table ${table}), but the kernel does not use it by default: ${add}.`
  if (asked?.state === 'on')
    return `The kernel command line already asks for it (${asked.word}): enable ${name} in the firmware.`
  return `Enable ${name} in the firmware; then ${add}.`
}

/** What to do where the machine has no IOMMU groups at all. */
export function noIommu(machine: Machine): string {
  const { architecture, hypervisor, asked, container, bootLoader } = machine
  if (hypervisor !== null && asked?.state !== 'off') return ofGuest(hypervisor, machine)
  if (asked?.state === 'off') {
    const remove = removeKernelParameter(machine, asked.word)
    return `The kernel command line turns it off (${asked.word}): ${remove}.`
  }
  if (bootLoader === 'raspberry-pi')
    return 'The PCI Express bus of a Raspberry Pi is behind no IOMMU that Linux supports, and no kernel parameter changes that: VFIO cannot use its devices safely.'
  switch (architecture) {
    case 'x86':
      return machine.processor === null ? unknownPc(machine) : ofPc(machine)
    case 'arm':
      return 'On Arm the IOMMU is the SMMU, which the firmware describes (table IORT, or iommus and iommu-map in the device tree); no kernel parameter turns it on. Check whether this board has one in front of its PCI Express bus, and dmesg | grep -i smmu.'
    case 'power':
      return 'On POWER the firmware sets up the IOMMU and its groups: see dmesg | grep -i -e iommu -e "PCI host bridge".'
    case 's390':
      return 'On s390 each PCI function has its own IOMMU: check that functions exist (lspci), and dmesg | grep -i iommu.'
    case 'riscv':
      return 'On RISC-V the firmware describes the IOMMU (table RIMT, or the device tree): check whether this board has one, and dmesg | grep -i iommu.'
    case null:
      return container
        ? 'Enable the IOMMU on the host, outside this container: run vfio doctor there.'
        : unknownPc(machine)
  }
}

function unknownPc(machine: Machine): string {
  if (machine.asked?.state === 'on')
    return `The kernel command line already asks for it (${machine.asked.word}): enable VT-d or AMD-Vi in the firmware; in a virtual machine, its administrator must add one.`
  return `Enable VT-d or AMD-Vi in the firmware (Arm: check whether the board has an SMMU); on Intel ${addKernelParameter(machine, 'intel_iommu=on')}; in a virtual machine, its administrator must add one.`
}

/** What to do about one device that is in no group. */
export function noGroup(machine: Machine): string {
  if (!machine.groups) return `Neither this device nor any other is behind an IOMMU. ${noIommu(machine)}`
  return (
    'Other devices have groups, so the IOMMU is on, but this device is behind none of its units. The firmware may omit it, or the ' +
    'kernel may (intel_iommu=igfx_off for the graphics of an Intel processor, which is the default of some distributions): see ' +
    'dmesg | grep -i -e DMAR -e iommu for its address. Another slot may help.'
  )
}

const DEVICES =
  'docker and podman: --device /dev/vfio/vfio --device /dev/vfio/GROUP; Kubernetes: a device plugin; LXC and systemd-nspawn: allow the devices in the control group and create the nodes'

/** What to do where `/dev/vfio/vfio` is not there. */
export function noContainerNode(machine: Machine): { readonly what: string; readonly next: string } {
  const { modules, vfio, container } = machine
  if (vfio.container || (modules.vfio && !vfio.cdevs))
    return {
      what: 'VFIO is loaded, but this /dev does not contain its node',
      next: `In a container, pass it in together with the node of each group (${DEVICES}); otherwise udev or devtmpfs creates it. If /sys/class/vfio is missing, the kernel has no groups, and devices have only nodes of their own.`,
    }
  if (vfio.cdevs && !vfio.groups)
    return {
      what: 'this kernel opens devices only by their own nodes (CONFIG_VFIO_GROUP is off)',
      next: modules.iommufd
        ? 'Use iommufd and the nodes in /dev/vfio/devices; a program that knows only groups needs another kernel.'
        : 'They need iommufd: sudo modprobe iommufd.',
    }
  return {
    what: 'VFIO is not loaded',
    next: container
      ? `Load vfio-pci on the host, outside this container, and pass the nodes in (${DEVICES}).`
      : 'sudo modprobe vfio-pci; if that fails, the kernel was built without CONFIG_VFIO_PCI: use a kernel of your distribution.',
  }
}

/** The same in one sentence, for an error. */
export function noContainerNodeRemedy(machine: Machine): string {
  const { what, next } = noContainerNode(machine)
  return `${what.charAt(0).toUpperCase()}${what.slice(1)}. ${next}`
}

/** What to do where `/dev/iommu` is not there. */
export function noIommufdNode({ modules, container }: Machine): string {
  if (modules.iommufd)
    return 'iommufd is loaded, but this /dev does not contain its node: pass it into the container (--device /dev/iommu, with those in /dev/vfio/devices).'
  if (container)
    return 'Load iommufd on the host, outside this container, and pass the node in (--device /dev/iommu).'
  return 'sudo modprobe iommufd; it needs Linux 6.2 with CONFIG_IOMMUFD, which some distributions leave out.'
}

/** What to do where `/dev/kvm` is not there. */
export function noKvmNode(machine: Machine): string {
  const { modules, container, hypervisor, architecture, processor } = machine
  if (container)
    return modules.kvm
      ? 'KVM is loaded, but this /dev does not contain its node: pass it into the container (--device /dev/kvm).'
      : 'Load KVM on the host, outside this container, and pass the node in (--device /dev/kvm).'
  switch (hypervisor) {
    case null:
      break
    case 'wsl':
      return 'WSL2 has it on Windows 11 if nestedVirtualization is true in .wslconfig.'
    case 'ec2':
      return 'EC2 offers it on instances that can run guests: all .metal types, and those that support nested virtualization.'
    case 'xen-dom0':
      return 'Xen owns the processor: run guests as its domains (xl create), or boot Linux without Xen to use KVM.'
    default:
      return 'This is a virtual machine: its administrator must allow nested virtualization.'
  }
  if (architecture === 'arm')
    return 'On Arm KVM is built into the kernel and needs firmware that starts it in hypervisor mode (EL2): see dmesg | grep -i kvm.'
  const module =
    processor === 'amd'
      ? 'kvm_amd'
      : processor === 'intel'
        ? 'kvm_intel'
        : 'kvm_intel (with a processor of AMD: kvm_amd)'
  const name =
    processor === 'amd'
      ? 'virtualization (SVM)'
      : processor === 'intel'
        ? 'virtualization (VT-x)'
        : 'virtualization'
  return `Enable ${name} in the firmware, then sudo modprobe ${module}`
}

/**
 * What to do where the IOMMU does not isolate interrupts.
 * @param module whose parameter accepts that
 */
export function unsafeInterrupts({ hypervisor, architecture }: Machine, module: string): string {
  const why = 'The IOMMU does not isolate interrupts'
  const accept = `${module}.allow_unsafe_interrupts=1 accepts that risk.`
  if (hypervisor === 'qemu')
    return `${why}: this virtual machine has no interrupt remapping (QEMU: intremap=on of intel-iommu, with kernel-irqchip=split; virtio-iommu has none). ${accept}`
  if (hypervisor !== null) return `${why}: this virtual machine has no interrupt remapping. ${accept}`
  if (architecture === 'arm')
    return `${why}: the interrupt controller cannot distinguish devices (it needs an ITS). ${accept}`
  return `${why}: interrupt remapping is off. See intremap= on the kernel command line, and the firmware. ${accept}`
}

/** What to do where the kernel has no bus numbers or no address space for virtual functions (ENOMEM). */
export function noRoomForVfs(machine: Machine): string {
  const { architecture, hypervisor } = machine
  const why =
    'The kernel found no address space or no bus numbers for the virtual functions (dmesg says which: "not enough MMIO resources", or a bus "out of range")'
  if (hypervisor !== null && hypervisor !== 'xen-dom0')
    return `${why}. The virtual machine's administrator must give the device's port more of both.`
  // The kernel knows pci=assign-busses on x86 only; elsewhere the firmware or the device tree decides.
  if (architecture === 'x86' || architecture === null)
    return `${why}. Enable SR-IOV and, for address space, Above 4G Decoding in the firmware. If that does not help, ${addKernelParameter(machine, architecture === null ? 'pci=realloc' : 'pci=realloc,assign-busses')}.`
  return `${why}. Enable SR-IOV in the firmware, or ${addKernelParameter(machine, 'pci=realloc')}.`
}

/** How a module is loaded, once and for every boot. */
export function loadModule({ container, distribution }: Machine, name: string): string {
  if (container) return `Load ${name} on the host, outside this container: modprobe ${name}`
  if (distribution.includes('nixos'))
    return `sudo modprobe ${name}; for every boot: add "${name}" to boot.kernelModules`
  return `sudo modprobe ${name}; for every boot: echo ${name} | sudo tee /etc/modules-load.d/${name}.conf`
}
