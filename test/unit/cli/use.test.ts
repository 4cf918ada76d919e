// `vfio use`: what each tool is given, for a device, a virtual function and a mediated device, and what is said to be missing.

import test from 'ava'
import { TOOL_NAMES } from '../../../ts/cli/use/names.js'
import { TOOLS } from '../../../ts/cli/use/tools.js'
import type { SysfsTree } from '../host/fixture.js'
import { HOSTS, UUID } from '../merged/hosts.js'
import { SITUATIONS } from '../merged/situations.js'
import { cliTest } from './run.js'

const VF = '0000:03:00.1'
const vfHost = (tree: SysfsTree) => SITUATIONS['xe on Battlemage, 7.0, with functions'](tree)

/** The mediated device of a GVT-g host, as the mdev bus shows it. */
function mdevHost(tree: SysfsTree): void {
  HOSTS['intel-gvt-g-v5'](tree)
  const path = `devices/pci0000:00/0000:03:00.0/${UUID}`
  tree.link(`${path}/subsystem`, 'bus/mdev')
  tree.link(`bus/mdev/devices/${UUID}`, path)
  tree.link(`${path}/mdev_type`, 'devices/pci0000:00/0000:03:00.0/mdev_supported_types/i915-GVTg_V5_4')
  tree.file('devices/pci0000:00/0000:03:00.0/numa_node', '0')
  tree.group(9, path, UUID)
}

test('the tools by name are the tools', (t) => {
  t.deepEqual([...TOOL_NAMES].sort(), Object.keys(TOOLS).sort())
})

cliTest('a virtual function on VFIO is ready for every VMM', async (t, { tree, vfio }) => {
  vfHost(tree)
  const given = async (tool: string) => (await vfio('use', VF, '--for', tool)).out
  t.is(await given('qemu'), `-object iommufd,id=iommufd0 \\\n-device vfio-pci,host=${VF},iommufd=iommufd0\n`)
  t.is(await given('cloud-hypervisor'), `--device path=/sys/bus/pci/devices/${VF}/\n`)
  t.is(await given('crosvm'), `--vfio /sys/bus/pci/devices/${VF}\n`)
  t.is(await given('proxmox'), `hostpci0: ${VF},pcie=1\n`)
  t.regex(
    await given('libvirt'),
    /managed='no'>\n.*\n +<address domain='0x0000' bus='0x03' slot='0x00' function='0x1'\/>/,
  )
  t.regex(await given('node'), /VfioDevice\.open\('0000:03:00\.1'\)/)
  const { err } = await vfio('use', VF, '--for', 'qemu')
  t.notRegex(err, /missing/)
  t.regex(err, /^note: iommufd takes QEMU 9\.0 or newer/m)
})

cliTest('without a file of its own a device goes by its group', async (t, { tree, vfio }) => {
  tree.pci('0000:00:10.0', { driver: 'vfio-pci', group: 12, vfioDev: 'vfio0', cdev: false })
  t.is((await vfio('use', '00:10.0', '--for', 'qemu')).out, '-device vfio-pci,host=0000:00:10.0\n')
  const spec = JSON.parse((await vfio('use', '00:10.0', '--for', 'cdi')).out) as {
    kind: string
    devices: { name: string; containerEdits: { deviceNodes: { path: string }[] } }[]
  }
  t.is(spec.kind, 'node-vfio.local/device')
  t.deepEqual(
    spec.devices[0]!.containerEdits.deviceNodes.map(({ path }) => path),
    ['/dev/vfio/vfio', '/dev/vfio/12'],
  )
})

cliTest('a mediated device goes by its UUID, and to Proxmox VE by its type', async (t, { tree, vfio }) => {
  mdevHost(tree)
  const given = async (tool: string) => vfio('use', UUID, '--for', tool)
  t.is((await given('qemu')).out, `-device vfio-pci,sysfsdev=/sys/bus/mdev/devices/${UUID}\n`)
  t.regex((await given('libvirt')).out, new RegExp(`type='mdev'.*\\n.*\\n +<address uuid='${UUID}'/>`))
  const { out, err } = await given('proxmox')
  t.is(out, 'hostpci0: 0000:03:00.0,mdev=i915-GVTg_V5_4\n')
  t.regex(err, new RegExp(`^note: Proxmox VE makes the mediated device itself: .*vfio mdev rm ${UUID}$`, 'm'))
  t.regex(
    (await given('kubevirt')).out,
    /mdevNameSelector: "GVTg_V5_4"\n +resourceName: devices\.example\.com\/gvtg-v5-4/,
  )
  t.regex((await given('sriov-device-plugin')).out, /PCI devices only/)
  t.regex(err, /^note: it is at NUMA node 0/m)
})

cliTest("the fleet's tools select by the id", async (t, { tree, vfio }) => {
  vfHost(tree)
  tree.file('devices/pci0000:00/0000:03:00.1/vendor', '0x8086')
  tree.file('devices/pci0000:00/0000:03:00.1/device', '0xe211')
  const plugin = JSON.parse((await vfio('use', VF, '--for', 'sriov-device-plugin')).out) as unknown
  t.deepEqual(plugin, {
    resourceList: [
      {
        resourceName: 'pci_8086_e211',
        deviceType: 'accelerator',
        selectors: [{ vendors: ['8086'], devices: ['e211'], drivers: ['xe-vfio-pci'], pciAddresses: [VF] }],
      },
    ],
  })
  const { out, err } = await vfio('use', VF, '--for', 'kubevirt')
  t.regex(out, /pciVendorSelector: "8086:e211"\n +resourceName: devices\.example\.com\/pci-8086-e211/)
  t.regex(err, /^note: KubeVirt gives any device of this id/m)
})

cliTest('what is missing is said in the order in which it is done', async (t, { tree, vfio }) => {
  tree.pci('0000:00:10.0', { driver: 'nvme', group: 4 })
  tree.pci('0000:00:10.1', { driver: 'snd_hda_intel', group: 4 })
  const { err, status } = await vfio('use', '00:10.0', '--for', 'qemu')
  t.is(status, 0)
  const missing = err.split('\n').filter((line) => line.startsWith('missing'))
  t.regex(missing[0]!, /0000:00:10\.0 is on nvme: vfio bind 0000:00:10\.0$/)
  t.regex(
    missing[1]!,
    /0000:00:10\.1, of the same IOMMU group, is on snd_hda_intel: vfio bind 0000:00:10\.0 --group/,
  )
  t.is(missing.length, 2)
  t.regex(err, /^note: IOMMU group 4 has 0000:00:10\.1 \(snd_hda_intel\) too/m)
})

cliTest('a GPU with functions, and one without an IOMMU, say so', async (t, { tree, vfio }) => {
  vfHost(tree)
  tree.pci('0000:00:11.0', { driver: 'vfio-pci' })
  t.regex(
    (await vfio('use', '0000:03:00.0', '--for', 'qemu')).err,
    /^missing: 0000:03:00\.0 has 1 virtual function, gone when a guest has it/m,
  )
  t.regex((await vfio('use', '00:11.0', '--for', 'qemu')).err, /^missing: no IOMMU has 0000:00:11\.0/m)
})

cliTest('a function of NVIDIA becomes a vGPU first, and stays on its driver', async (t, { tree, vfio }) => {
  SITUATIONS['an RTX PRO 6000 as vGPU host, types of MIG instances'](tree)
  const is = await vfio('use', VF, '--for', 'qemu')
  t.notRegex(is.err, /missing: .*(vgpu|bind 0000:03:00\.1)/)
  t.regex(is.err, /^note: it stays on the driver nvidia/m)
  t.regex((await vfio('use', '0000:03:00.2', '--for', 'qemu')).err, /vfio vgpu 0000:03:00\.2 TYPE/)
})

cliTest('a device that is not there, and a tool that is none, are refused', async (t, { vfio }) => {
  t.like(await vfio('use', '00:1f.0', '--for', 'qemu'), { status: 1 })
  t.like(await vfio('use', '00:1f.0', '--for', 'bhyve'), { status: 2 })
  t.like(await vfio('use', '00:1f.0'), { status: 2 })
  t.like(await vfio('use', 'eth0', '--for', 'qemu'), { status: 2 })
})
