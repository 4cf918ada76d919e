// A host of 64 devices with 256 virtual functions, as a tree.
import type { SysfsTree } from '../host/fixture.js'

const hex = (n: number): string => n.toString(16).padStart(2, '0')

/** Half of the virtual functions are on VFIO, with nodes; each function has a group of its own. */
export function largeHost(tree: SysfsTree): void {
  tree.file('proc/sys/kernel/osrelease', '6.1.0-18-amd64')
  tree.file('dev/vfio/vfio', '')
  for (let bus = 0; bus < 64; bus++) {
    const files = { sriov_totalvfs: '4', sriov_numvfs: '4', reset_method: 'flr bus', power_state: 'D0' }
    const pf = tree.pci(`0000:${hex(bus)}:00.0`, { driver: 'igb', group: bus * 5, class: '0x020000', files })
    for (let vf = 0; vf < 4; vf++) {
      const group = bus * 5 + vf + 1
      const onVfio = vf % 2 === 0
      const path = tree.pci(`0000:${hex(bus)}:10.${vf}`, {
        class: '0x020000',
        group,
        ...(onVfio ? { driver: 'vfio-pci', vfioDev: `vfio${group}` } : { driver: 'igbvf' }),
      })
      if (onVfio) tree.file(`dev/vfio/${group}`, '')
      tree.link(`${path}/physfn`, pf)
      tree.link(`${pf}/virtfn${vf}`, path)
    }
  }
}
