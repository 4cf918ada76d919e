// `vfio use`: what a tool takes to give a guest a device. What is to be pasted goes to standard output, and what is missing to
// standard error.
import type { CliContext } from './context.js'
import { advice, missing } from './use/advice.js'
import { readSubject } from './use/subject.js'
import { type ToolName, TOOLS } from './use/tools.js'

/** What holds for one tool only. */
const OWN: Readonly<Partial<Record<ToolName, string>>> = {
  proxmox:
    'hostpci0 belongs in the file of the virtual machine in /etc/pve/qemu-server; pcie=1 takes the machine type q35',
  cdi: 'write it to /etc/cdi/node-vfio.json; a container then takes the device node-vfio.local/device=NAME',
  kubevirt: 'KubeVirt gives any device of this id or type, not this one only',
}

export function use({ host, out, err }: CliContext, id: string, tool: ToolName): void {
  const subject = readSubject(id, host)
  out(TOOLS[tool](subject))
  const own = OWN[tool]
  const remarks = [...(own === undefined ? [] : [own]), ...advice(subject)]
  if (tool === 'qemu' && (subject.vfioDev?.cdev ?? null) !== null)
    remarks.unshift('iommufd takes QEMU 9.0 or newer: leave it out of both options for an older one')
  if (tool === 'proxmox' && subject.mdev !== null)
    remarks.unshift(
      `Proxmox VE makes the mediated device itself: remove this one first, vfio mdev rm ${subject.name}`,
    )
  for (const text of missing(subject)) err(`missing: ${text}\n`)
  for (const text of remarks) err(`note: ${text}\n`)
}
