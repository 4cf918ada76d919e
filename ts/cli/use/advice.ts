// What is missing before a guest can have a device, and what is worth knowing: said beside what is to be pasted.
import { groupViability } from '../../host/index.js'
import { plural } from '../format.js'
import type { UseSubject } from './subject.js'

/** What has to be done first, in order. */
export function missing(subject: UseSubject): string[] {
  const { name, driver, onVfio, group, pci, vgpuType } = subject
  const told: string[] = []
  if (group === null) told.push(`no IOMMU has ${name}: vfio doctor says why`)
  if (vgpuType === '0')
    told.push(`${name} is no vGPU yet: vfio vgpu ${name} TYPE makes it one (vfio merged lists the types)`)
  else if (!onVfio) told.push(`${name} is on ${driver ?? 'no driver'}: vfio bind ${name}`)
  const others = (group === null ? [] : groupViability(group).offenders).filter(
    ({ address }) => address !== name,
  )
  for (const { address, driver: has } of others)
    told.push(`${address}, of the same IOMMU group, is on ${has}: vfio bind ${name} --group`)
  if (pci !== null && pci.virtfns.length > 0)
    told.push(
      `${name} has ${plural(pci.virtfns.length, 'virtual function')}, gone when a guest has it: give the guest a function`,
    )
  return told
}

/** What helps, but is not in the way. */
export function advice(subject: UseSubject): string[] {
  const { name, group, numaNode, pci, vgpuType } = subject
  const told: string[] = []
  const members = (group?.members ?? []).filter((member) => member.name !== name)
  if (group !== null && members.length > 0)
    told.push(
      `IOMMU group ${group.id} has ${members.map((each) => `${each.name} (${each.driver ?? 'no driver'})`).join(', ')} too: the guest, or nobody, gets them`,
    )
  if (numaNode !== null && numaNode >= 0)
    told.push(
      `it is at NUMA node ${numaNode}: take processors and memory of the guest from there, such as numactl --cpunodebind=${numaNode} --membind=${numaNode}`,
    )
  told.push(
    'hugepages (2 MiB or 1 GiB) make mapping the memory of the guest faster, and its page tables smaller',
  )
  if (pci !== null && pci.physfn !== null && pci.physfnDriver === 'vfio-pci')
    told.push(`its physical function ${pci.physfn} is on vfio-pci: both take the same VF token (a UUID)`)
  if (vgpuType !== null) told.push('it stays on the driver nvidia: no tool may bind it to another driver')
  return told
}
