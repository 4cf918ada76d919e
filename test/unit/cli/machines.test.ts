// `vfio doctor` and `vfio ls` on machines of many kinds: what they say about an IOMMU that is not there is right for each.
import type { ExecutionContext } from 'ava'
import { type Cli, cliTest } from './run.js'

const INTEL = 'vendor_id\t: GenuineIntel\nflags\t\t: fpu vme vmx'
const GUEST = `${INTEL} hypervisor`
const GRUB = {
  'etc/default/grub': '',
  'etc/os-release': 'ID=ubuntu\nID_LIKE=debian',
  'proc/cmdline': 'BOOT_IMAGE=/vmlinuz',
}
const DMAR = { 'firmware/acpi/tables/DMAR': '' }

/** Lays files out and gives what the doctor says next about the IOMMU. */
async function next({ tree, vfio }: Cli, files: Readonly<Record<string, string>>): Promise<string> {
  for (const [path, text] of Object.entries({ ...GRUB, ...files })) tree.file(path, text)
  const { out } = await vfio('doctor', '--json')
  const { findings } = JSON.parse(out) as { findings: { id: string; next: string | null }[] }
  return findings.find(({ id }) => id === 'iommu')?.next ?? ''
}

const notAsked = (t: ExecutionContext, told: string) =>
  t.notRegex(told, /firmware|update-grub|intel_iommu=on to/)

cliTest('the doctor knows WSL2, which has no IOMMU', async (t, cli) => {
  const told = await next(cli, {
    'proc/cpuinfo': GUEST,
    'proc/sys/kernel/osrelease': '5.15.153.1-microsoft-standard-WSL2',
  })
  t.regex(told, /WSL2 has no IOMMU and gets no devices/)
  notAsked(t, told)
})

cliTest('the doctor knows an instance of EC2, and which of them has an IOMMU', async (t, cli) => {
  const told = await next(cli, {
    'proc/cpuinfo': GUEST,
    'class/dmi/id/sys_vendor': 'Amazon EC2',
    'class/dmi/id/product_name': 'c6i.8xlarge',
  })
  t.regex(told, /ends in \.metal/)
  notAsked(t, told)
})

cliTest('the doctor knows the dom0 of Xen, which has the IOMMU', async (t, cli) => {
  const told = await next(cli, {
    'proc/cpuinfo': GUEST,
    'hypervisor/type': 'xen',
    'hypervisor/uuid': '00000000-0000-0000-0000-000000000000',
  })
  t.regex(told, /xl pci-assignable-add/)
  notAsked(t, told)
})

cliTest('the doctor knows a guest of Hyper-V', async (t, cli) => {
  const told = await next(cli, {
    'proc/cpuinfo': GUEST,
    'class/dmi/id/sys_vendor': 'Microsoft Corporation',
    'class/dmi/id/product_name': 'Virtual Machine',
  })
  t.regex(told, /Hyper-V gives its virtual machines no IOMMU/)
  notAsked(t, told)
})

cliTest('the doctor knows a micro VM', async (t, cli) => {
  const told = await next(cli, {
    'proc/cpuinfo': GUEST,
    'proc/cmdline': 'reboot=k panic=1 pci=off virtio_mmio.device=4K@0xd0000000:5',
  })
  t.regex(told, /Firecracker/)
  notAsked(t, told)
})

cliTest('the doctor speaks of the SMMU on Arm, and of no parameter', async (t, cli) => {
  const told = await next(cli, { 'proc/cpuinfo': 'BogoMIPS\t: 50.00\nCPU implementer\t: 0x41' })
  t.regex(told, /SMMU/)
  t.notRegex(told, /VT-d|AMD-Vi|intel_iommu|update-grub/)
})

cliTest('the doctor asks AMD for the firmware alone', async (t, cli) => {
  const told = await next(cli, {
    'proc/cpuinfo': 'vendor_id\t: AuthenticAMD\nflags\t\t: svm',
    'proc/cmdline': 'amd_iommu=on',
  })
  t.regex(told, /Enable AMD-Vi/)
  t.notRegex(told, /intel_iommu|VT-d|update-grub|already/)
})

cliTest('the last of contradicting words on the kernel command line counts', async (t, cli) => {
  const files = { 'proc/cpuinfo': INTEL, ...DMAR }
  const off = await next(cli, {
    ...files,
    'proc/cmdline': 'BOOT_IMAGE=/vmlinuz intel_iommu=on intel_iommu=off',
  })
  t.regex(off, /turns it off \(intel_iommu=off\): remove intel_iommu=off from GRUB_CMDLINE_LINUX/)
  const on = await next(cli, {
    ...files,
    'proc/cmdline': 'BOOT_IMAGE=/vmlinuz intel_iommu=off intel_iommu=on',
  })
  t.regex(on, /asks for it \(intel_iommu=on\)/)
})

cliTest('where the firmware has it on, the kernel command line alone is to be changed', async (t, cli) => {
  const told = await next(cli, { 'proc/cpuinfo': INTEL, ...DMAR })
  t.regex(told, /^The firmware has VT-d on .*add intel_iommu=on to GRUB_CMDLINE_LINUX .*sudo update-grub/)
  t.notRegex(told, /[Ee]nable VT-d/)
})

cliTest('each system is told how its own kernel command line is changed', async (t, cli) => {
  const files = { 'proc/cpuinfo': INTEL, ...DMAR }
  const silverblue = {
    'etc/os-release': 'ID=fedora\nVARIANT_ID=silverblue',
    'proc/cmdline': 'BOOT_IMAGE=/ostree/x ostree=/ostree/boot.1/fedora/1/0',
  }
  t.regex(
    await next(cli, { ...files, ...silverblue }),
    /sudo rpm-ostree kargs --append-if-missing=intel_iommu=on/,
  )
  t.regex(await next(cli, { ...files, 'etc/os-release': 'ID=fedora' }), /sudo grubby --update-kernel=ALL/)
  t.regex(
    await next(cli, { ...files, 'etc/os-release': 'ID=pop\nID_LIKE="ubuntu debian"' }),
    /sudo kernelstub -a/,
  )
  t.regex(await next(cli, { ...files, 'etc/os-release': 'ID=arch' }), /sudo grub-mkconfig -o/)
  t.regex(await next(cli, { ...files, 'etc/os-release': 'ID=nixos' }), /boot\.kernelParams/)
  t.regex(
    await next(cli, { ...files, 'etc/kernel/proxmox-boot-uuids': 'x' }),
    /sudo proxmox-boot-tool refresh/,
  )
})

cliTest(
  'a device without a group, among others that have one, is told as that',
  async (t, { tree, vfio }) => {
    tree.pci('0000:00:02.0', { vendor: '0x8086', class: '0x030000', driver: 'i915' })
    tree.pci('0000:00:10.0', { driver: 'vfio-pci', group: 2 })
    const { out } = await vfio('ls')
    t.regex(out, /0000:00:02\.0: no IOMMU group\n {2}-> Other devices have groups, so the IOMMU is on/)
    t.notRegex(out, /enable it in the firmware|Enable VT-d/)
  },
)
