// What kind of machine a host is, and that what to do about a missing IOMMU is right for it.

import test, { type ExecutionContext } from 'ava'
import { type Machine, readMachine } from '../../../ts/host/machine.js'
import { addKernelParameter, noGroup, noIommu, noKvmNode, noRoomForVfs } from '../../../ts/host/remedies.js'
import { SysfsTree } from './fixture.js'

const INTEL = 'processor\t: 0\nvendor_id\t: GenuineIntel\nflags\t\t: fpu vme vmx'
const AMD = 'processor\t: 0\nvendor_id\t: AuthenticAMD\nflags\t\t: fpu vme svm'
const ARM = 'processor\t: 0\nBogoMIPS\t: 50.00\nCPU implementer\t: 0x41'
const GUEST = INTEL.replace('vmx', 'vmx hypervisor')

type Files = Readonly<Record<string, string>>

function machineOf(t: ExecutionContext, files: Files): Machine {
  const tree = new SysfsTree()
  t.teardown(() => tree.remove())
  for (const [path, text] of Object.entries(files)) tree.file(path, text)
  return readMachine({
    sysfsRoot: tree.root,
    procRoot: tree.path('proc'),
    devRoot: tree.path('dev'),
    etcRoot: tree.path('etc'),
  })
}

const dmi = (vendor: string, product: string): Files => ({
  'class/dmi/id/sys_vendor': vendor,
  'class/dmi/id/product_name': product,
})

interface Guest {
  readonly files: Files
  readonly hypervisor: Machine['hypervisor']
  /** What is said about an IOMMU that is not there. */
  readonly says: RegExp
}

const GUESTS: Readonly<Record<string, Guest>> = {
  WSL2: {
    files: {
      'proc/cpuinfo': GUEST,
      'proc/sys/kernel/osrelease': '5.15.153.1-microsoft-standard-WSL2',
      'proc/version': 'Linux version 5.15.153.1-microsoft-standard-WSL2 (root@941d701f84f1)',
    },
    hypervisor: 'wsl',
    says: /WSL2 has no IOMMU/,
  },
  'an EC2 instance': {
    files: { 'proc/cpuinfo': GUEST, ...dmi('Amazon EC2', 'c6i.8xlarge') },
    hypervisor: 'ec2',
    says: /instance type that ends in \.metal/,
  },
  'an instance of Azure': {
    files: {
      'proc/cpuinfo': GUEST,
      ...dmi('Microsoft Corporation', 'Virtual Machine'),
      'class/dmi/id/chassis_asset_tag': '7783-7084-3265-9085-8269-3286-77',
    },
    hypervisor: 'azure',
    says: /Hyper-V gives its virtual machines no IOMMU/,
  },
  'a guest of Hyper-V': {
    files: { 'proc/cpuinfo': GUEST, ...dmi('Microsoft Corporation', 'Virtual Machine') },
    hypervisor: 'hyper-v',
    says: /Hyper-V gives its virtual machines no IOMMU/,
  },
  'dom0 of Xen': {
    files: {
      'proc/cpuinfo': GUEST,
      'hypervisor/type': 'xen',
      'hypervisor/uuid': '00000000-0000-0000-0000-000000000000',
      ...dmi('Dell Inc.', 'PowerEdge R740'),
    },
    hypervisor: 'xen-dom0',
    says: /Xen owns the IOMMU.*xl pci-assignable-add/,
  },
  'a domain of Xen': {
    files: {
      'proc/cpuinfo': GUEST,
      'hypervisor/type': 'xen',
      'hypervisor/uuid': '83b8f4f2-509f-382f-3c1e-e6bfe0fa1001',
    },
    hypervisor: 'xen',
    says: /Xen gives its domains no IOMMU/,
  },
  'a micro VM of Firecracker': {
    files: {
      'proc/cpuinfo': GUEST,
      'proc/cmdline': 'reboot=k panic=1 pci=off root=/dev/vda virtio_mmio.device=4K@0xd0000000:5',
    },
    hypervisor: 'micro-vm',
    says: /Firecracker/,
  },
  'a guest of QEMU on Intel': {
    files: { 'proc/cpuinfo': GUEST, ...dmi('QEMU', 'Standard PC (Q35 + ICH9, 2009)') },
    hypervisor: 'qemu',
    says: /-device intel-iommu,intremap=on.*inside it intel_iommu=on/,
  },
  'a guest of QEMU on Arm': {
    files: { 'proc/cpuinfo': ARM, 'proc/device-tree/compatible': 'linux,dummy-virt' },
    hypervisor: 'qemu',
    says: /virt,iommu=smmuv3/,
  },
  'a guest of VMware': {
    files: { 'proc/cpuinfo': GUEST, ...dmi('VMware, Inc.', 'VMware7,1') },
    hypervisor: 'vmware',
    says: /expose IOMMU to the guest/,
  },
  'a guest of whomever': {
    files: { 'proc/cpuinfo': GUEST, ...dmi('Hetzner', 'vServer') },
    hypervisor: 'unknown',
    says: /its administrator must give it an IOMMU/,
  },
}

for (const [name, { files, hypervisor, says }] of Object.entries(GUESTS))
  test(`${name} is known, and is not sent to its firmware or boot loader for an IOMMU`, (t) => {
    const machine = machineOf(t, {
      ...files,
      'etc/default/grub': '',
      'etc/os-release': 'ID=ubuntu\nID_LIKE=debian',
    })
    t.is(machine.hypervisor, hypervisor)
    t.regex(noIommu(machine), says)
    t.notRegex(noIommu(machine), /firmware|update-grub/)
    t.regex(noKvmNode(machine), /WSL2|EC2|Xen|nested/)
  })

test('an instance of EC2 that is a machine of its own is one', (t) => {
  const machine = machineOf(t, {
    'proc/cpuinfo': INTEL,
    ...dmi('Amazon EC2', 'c5n.metal'),
    'firmware/acpi/tables/DMAR': '',
  })
  t.is(machine.hypervisor, null)
  t.regex(noIommu(machine), /add intel_iommu=on/)
})

test('AMD-Vi needs no word of the kernel, and no intel_iommu', (t) => {
  const machine = machineOf(t, { 'proc/cpuinfo': AMD, 'etc/default/grub': '' })
  t.like(machine, { architecture: 'x86', processor: 'amd' })
  t.regex(noIommu(machine), /AMD-Vi/)
  t.notRegex(noIommu(machine), /intel_iommu|VT-d|update-grub/)
  t.regex(noKvmNode(machine), /SVM.*modprobe kvm_amd$/)
})

test('on Arm the IOMMU is an SMMU, which no kernel parameter switches on', (t) => {
  const machine = machineOf(t, { 'proc/cpuinfo': ARM })
  t.like(machine, { architecture: 'arm', hypervisor: null })
  t.regex(noIommu(machine), /SMMU/)
  t.notRegex(noIommu(machine), /intel_iommu|VT-d|AMD-Vi/)
  t.notRegex(noKvmNode(machine), /kvm_intel|kvm_amd/)
})

test('a Raspberry Pi has none before its PCI Express, and is not told to switch it on', (t) => {
  const machine = machineOf(t, {
    'proc/cpuinfo': ARM,
    'proc/device-tree/model': 'Raspberry Pi 5 Model B Rev 1.0',
  })
  t.is(machine.bootLoader, 'raspberry-pi')
  t.regex(noIommu(machine), /no kernel parameter changes that/)
})

test('what the firmware shows decides who is asked: the firmware, or the kernel', (t) => {
  const grub = { 'proc/cpuinfo': INTEL, 'etc/default/grub': '', 'etc/os-release': 'ID=debian' }
  // The table is there: the firmware has it on already.
  const there = noIommu(machineOf(t, { ...grub, 'firmware/acpi/tables/DMAR': '' }))
  t.regex(there, /^The firmware has VT-d on.*intel_iommu=on to GRUB_CMDLINE_LINUX.*sudo update-grub/)
  t.notRegex(there, /enable VT-d/i)
  const absent = noIommu(machineOf(t, { ...grub, 'firmware/acpi/tables/FACP': '' }))
  t.regex(absent, /^Enable VT-d in the firmware; then add intel_iommu=on/)
  const asked = { ...grub, 'proc/cmdline': 'quiet intel_iommu=on' }
  t.regex(noIommu(machineOf(t, asked)), /already asks for it.*enable VT-d in the firmware/)
  t.regex(noIommu(machineOf(t, { ...asked, 'firmware/acpi/tables/DMAR': '' })), /dmesg/)
})

for (const [line, state] of [
  ['intel_iommu=off intel_iommu=on', 'on'],
  ['intel_iommu=on intel_iommu=off', 'off'],
  ['intel_iommu=on,sm_on', 'on'],
  ['intel_iommu=igfx_off,off', 'off'],
  // Nothing takes these back, and there is no amd_iommu=on.
  ['iommu=off iommu=pt', 'off'],
  ['amd_iommu=off amd_iommu=on', 'off'],
  ['amd_iommu=on', undefined],
  ['quiet iommu=pt', undefined],
  ['init=/bin/sh -- intel_iommu=off', undefined],
  ['dyndbg="file intel_iommu=off +p"', undefined],
] as const)
  test(`the kernel command line ${line} asks for ${state ?? 'nothing'}`, (t) => {
    const machine = machineOf(t, { 'proc/cpuinfo': INTEL, 'proc/cmdline': line })
    t.is(machine.asked?.state, state)
    if (state === 'off') t.regex(noIommu(machine), /turns it off \((?:intel_|amd_)?iommu=.*off\)/)
    else t.notRegex(noIommu(machine), /told to leave it off/)
  })

const LOADER = 'firmware/efi/efivars/LoaderInfo-4a67b082-0a4c-41cf-b6c7-442b29bb8c4f'
const SYSTEMD_BOOT = '\u0006   systemd-boot 255.4'.replaceAll(/./g, '$&\0')

for (const [name, files, says] of [
  [
    'Debian with GRUB',
    { 'etc/os-release': 'ID=debian', 'etc/default/grub': '', 'proc/cmdline': 'BOOT_IMAGE=/vmlinuz' },
    /GRUB_CMDLINE_LINUX.*sudo update-grub/,
  ],
  [
    'Linux Mint with GRUB',
    { 'etc/os-release': 'ID=linuxmint\nID_LIKE="ubuntu debian"', 'etc/default/grub': '' },
    /sudo update-grub/,
  ],
  [
    'Fedora',
    {
      'etc/os-release': 'ID=fedora\nVARIANT_ID=workstation',
      'etc/default/grub': '',
      'proc/cmdline': 'BOOT_IMAGE=(hd0,gpt2)/vmlinuz',
    },
    /^sudo grubby --update-kernel=ALL --args="intel_iommu=on"/,
  ],
  [
    'Rocky Linux',
    { 'etc/os-release': 'ID="rocky"\nID_LIKE="rhel centos fedora"', 'etc/default/grub': '' },
    /^sudo grubby/,
  ],
  [
    'Silverblue',
    {
      'etc/os-release': 'ID=fedora\nVARIANT_ID=silverblue',
      'proc/cmdline': 'BOOT_IMAGE=/ostree/x ostree=/ostree/boot.1/fedora/1/0',
    },
    /^sudo rpm-ostree kargs --append-if-missing=intel_iommu=on/,
  ],
  [
    'Pop!_OS',
    { 'etc/os-release': 'ID=pop\nID_LIKE="ubuntu debian"', [LOADER]: SYSTEMD_BOOT },
    /^sudo kernelstub -a "intel_iommu=on"/,
  ],
  [
    'Proxmox VE',
    { 'etc/os-release': 'ID=debian', 'etc/kernel/proxmox-boot-uuids': '7A05-1B2C', 'etc/default/grub': '' },
    /\/etc\/kernel\/cmdline.*sudo proxmox-boot-tool refresh/,
  ],
  [
    'Arch with systemd-boot',
    { 'etc/os-release': 'ID=arch', [LOADER]: SYSTEMD_BOOT, 'etc/default/grub': '' },
    /\/boot\/loader\/entries/,
  ],
  [
    'Arch with GRUB',
    { 'etc/os-release': 'ID=arch', 'etc/default/grub': '', 'proc/cmdline': 'BOOT_IMAGE=/vmlinuz-linux' },
    /sudo grub-mkconfig -o \/boot\/grub\/grub\.cfg/,
  ],
  [
    'openSUSE',
    { 'etc/os-release': 'ID="opensuse-tumbleweed"\nID_LIKE="opensuse suse"', 'etc/default/grub': '' },
    /sudo grub2-mkconfig -o \/boot\/grub2\/grub\.cfg/,
  ],
  ['NixOS', { 'etc/os-release': 'ID=nixos' }, /boot\.kernelParams.*nixos-rebuild boot/],
  [
    'a container',
    { 'etc/os-release': 'ID=ubuntu', 'etc/default/grub': '', 'proc/1/environ': 'container=podman' },
    /of the host, outside this container/,
  ],
  [
    'a system that nobody knows',
    { 'etc/os-release': 'ID=haiku' },
    /in this system's boot loader configuration/,
  ],
] as [string, Files, RegExp][])
  test(`${name} is told how its own kernel command line is edited`, (t) => {
    const told = addKernelParameter(machineOf(t, { 'proc/cpuinfo': INTEL, ...files }), 'intel_iommu=on')
    t.regex(told, says)
    if (!String(says).includes('update-grub')) t.notRegex(told, /update-grub/)
  })

test('one device without a group among others that have one is not sent to the firmware switch', (t) => {
  const machine = machineOf(t, { 'proc/cpuinfo': INTEL, 'kernel/iommu_groups/0/type': 'DMA' })
  t.regex(noGroup(machine), /^Other devices have groups, so the IOMMU is on/)
  t.notRegex(noGroup(machine), /Enable VT-d/)
  t.regex(noGroup(machineOf(t, { 'proc/cpuinfo': INTEL })), /Enable VT-d/)
})

test('a machine of which nothing can be read is told where to look', (t) => {
  const machine = machineOf(t, {})
  t.like(machine, {
    architecture: null,
    hypervisor: null,
    bootLoader: null,
    asked: null,
    firmwareTables: null,
  })
  t.regex(noIommu(machine), /VT-d or AMD-Vi.*in this system's boot loader configuration/)
})

test('a processor list of megabytes is read at its start alone', (t) => {
  const machine = machineOf(t, { 'proc/cpuinfo': `${AMD}\n\n`.repeat(40_000) })
  t.is(machine.processor, 'amd')
})

test('no room for virtual functions: the firmware, the kernel or the administrator, whichever can give it', (t) => {
  const pc = noRoomForVfs(
    machineOf(t, { 'proc/cpuinfo': INTEL, 'etc/debian_version': '', 'etc/default/grub': '' }),
  )
  t.regex(pc, /Above 4G Decoding.*pci=realloc,assign-busses/)
  // assign-busses is x86's alone.
  const arm = noRoomForVfs(machineOf(t, { 'proc/cpuinfo': ARM }))
  t.regex(arm, /pci=realloc/)
  t.notRegex(arm, /assign-busses|4G/)
  const guest = noRoomForVfs(
    machineOf(t, { 'proc/cpuinfo': GUEST, ...dmi('QEMU', 'Standard PC (Q35 + ICH9, 2009)') }),
  )
  t.regex(guest, /administrator/)
  t.notRegex(guest, /firmware|pci=/)
})
