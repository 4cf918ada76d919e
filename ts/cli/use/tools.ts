// What each tool takes to give a guest a device: a command line, a piece of its configuration, or a program. One function for each
// tool; the table at the end has them all.
import { formatBdf, parseBdf } from '../../host/index.js'
import type { UseSubject } from './subject.js'

/** The device's directory, by the name that stays the same. */
const sysfs = ({ name, mdev }: UseSubject): string =>
  mdev === null ? `/sys/bus/pci/devices/${name}` : `/sys/bus/mdev/devices/${name}`

const hex4 = (value: number): string => value.toString(16).padStart(4, '0')
const lines = (...texts: readonly string[]): string => `${texts.join('\n')}\n`
const asJson = (value: unknown): string => `${JSON.stringify(value, null, 2)}\n`

/** The device by its own file and iommufd where the kernel has both, else by its group. */
function qemu(subject: UseSubject): string {
  const { name, mdev, vfioDev } = subject
  const which = mdev === null ? `host=${name}` : `sysfsdev=${sysfs(subject)}`
  return (vfioDev?.cdev ?? null) === null
    ? `-device vfio-pci,${which}\n`
    : lines('-object iommufd,id=iommufd0 \\', `-device vfio-pci,${which},iommufd=iommufd0`)
}

/** managed='no': whoever prepared the device keeps it so. */
function libvirt({ name, mdev }: UseSubject): string {
  if (mdev !== null)
    return lines(
      "<hostdev mode='subsystem' type='mdev' managed='no' model='vfio-pci'>",
      '  <source>',
      `    <address uuid='${name}'/>`,
      '  </source>',
      '</hostdev>',
    )
  const { domain, bus, device, function: fn } = parseBdf(name)
  const part = (value: number, digits: number): string => `0x${value.toString(16).padStart(digits, '0')}`
  return lines(
    "<hostdev mode='subsystem' type='pci' managed='no'>",
    '  <source>',
    `    <address domain='${part(domain, 4)}' bus='${part(bus, 2)}' slot='${part(device, 2)}' function='${part(fn, 1)}'/>`,
    '  </source>',
    '</hostdev>',
  )
}

const cloudHypervisor = (subject: UseSubject): string => `--device path=${sysfs(subject)}/\n`
const crosvm = (subject: UseSubject): string => `--vfio ${sysfs(subject)}\n`

/** Of a mediated device Proxmox VE wants the type, and makes one itself. */
const proxmox = ({ name, mdev }: UseSubject): string =>
  mdev === null ? `hostpci0: ${name},pcie=1\n` : `hostpci0: ${mdev.parent},mdev=${mdev.type ?? 'TYPE'}\n`

/** The nodes that a process in a container needs: the device's own and iommufd's, or the group's and the container's. */
function nodes({ vfioDev, group }: UseSubject): string[] {
  const cdev = vfioDev?.cdev ?? null
  return cdev === null ? ['/dev/vfio/vfio', `/dev/vfio/${group?.id ?? 'GROUP'}`] : ['/dev/iommu', cdev]
}

const cdi = (subject: UseSubject): string =>
  asJson({
    cdiVersion: '0.6.0',
    kind: 'node-vfio.local/device',
    devices: [
      {
        name: subject.name,
        containerEdits: { deviceNodes: nodes(subject).map((path) => ({ path, permissions: 'rw' })) },
      },
    ],
  })

const RESOURCE = 'devices.example.com'

/** A word that a resource may be called. */
const resource = ({ name, mdev, pci }: UseSubject): string => {
  if (pci !== null) return `pci-${hex4(pci.vendor)}-${hex4(pci.device)}`
  return (mdev?.typeName ?? mdev?.type ?? name).toLowerCase().replaceAll(/[^a-z0-9]+/g, '-')
}

function kubevirt(subject: UseSubject): string {
  const { mdev, pci } = subject
  const name = `${RESOURCE}/${resource(subject)}`
  const permitted =
    pci === null
      ? [
          '      mediatedDevices:',
          `        - mdevNameSelector: ${JSON.stringify(mdev?.typeName ?? mdev?.type ?? '')}`,
        ]
      : ['      pciHostDevices:', `        - pciVendorSelector: "${hex4(pci.vendor)}:${hex4(pci.device)}"`]
  return lines(
    '# The KubeVirt resource',
    'spec:',
    '  configuration:',
    '    permittedHostDevices:',
    ...permitted,
    `          resourceName: ${name}`,
    '---',
    '# The virtual machine',
    'spec:',
    '  template:',
    '    spec:',
    '      domain:',
    '        devices:',
    '          hostDevices:',
    `            - deviceName: ${name}`,
    '              name: device0',
  )
}

const ACCELERATOR = /^(03|12|0b)/

function devicePlugin(subject: UseSubject): string {
  const { name, pci, driver } = subject
  if (pci === null) return '# The SR-IOV device plugin takes PCI devices only.\n'
  const isAccelerator = ACCELERATOR.test(pci.class.toString(16).padStart(6, '0'))
  return asJson({
    resourceList: [
      {
        resourceName: resource(subject).replaceAll('-', '_'),
        ...(isAccelerator ? { deviceType: 'accelerator' } : {}),
        selectors: [
          {
            vendors: [hex4(pci.vendor)],
            devices: [hex4(pci.device)],
            drivers: [driver ?? 'vfio-pci'],
            pciAddresses: [formatBdf(parseBdf(name))],
          },
        ],
      },
    ],
  })
}

const node = ({ name }: UseSubject): string =>
  lines(
    "import { VfioDevice } from 'node-vfio'",
    '',
    `await using device = await VfioDevice.open('${name}')`,
    'console.log(device.regions().map(({ name, size }) => `${name}: ${size} bytes`))',
  )

/** By what the command takes behind --for. */
export const TOOLS = {
  qemu,
  libvirt,
  'cloud-hypervisor': cloudHypervisor,
  crosvm,
  proxmox,
  cdi,
  kubevirt,
  'sriov-device-plugin': devicePlugin,
  node,
} as const

export type ToolName = keyof typeof TOOLS
