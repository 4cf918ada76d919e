// Room for virtual functions: bus numbers at their boundary, and BARs without addresses.

import { plan } from '../../../ts/merged/index.js'
import type { SysfsTree } from '../host/fixture.js'
import { changeTest } from './change.js'
import { SimulatedKernel } from './kernel.js'

const PF = '0000:03:00.0'
const BRIDGE = 'devices/pci0000:00/0000:00:1c.0'

/** A network card behind a port, with as many functions as it likes: the first at 03:10.0, every other id one. */
function behindPort(tree: SysfsTree, lastBus: string | null, resource?: string): void {
  SimulatedKernel.drivers(tree.root, { igb: [], igbvf: ['8086:10c9'] })
  if (lastBus !== null) tree.file(`${BRIDGE}/subordinate_bus_number`, lastBus)
  tree.pci(PF, {
    vendor: '0x8086',
    device: '0x10c9',
    class: '0x020000',
    driver: 'igb',
    group: 20,
    parent: 'pci0000:00/0000:00:1c.0',
    files: {
      sriov_totalvfs: '256',
      sriov_numvfs: '0',
      sriov_drivers_autoprobe: '1',
      sriov_offset: '128',
      sriov_stride: '2',
      ...(resource === undefined ? {} : { resource }),
    },
  })
}

changeTest('the bridge above has bus numbers, or has not', (t, { tree, options }) => {
  // Ids 0x80 to 0xfe of bus 3 are 64 functions; bus 4 has another 128.
  behindPort(tree, '3')
  const refused = (numVfs: number) => plan({ kind: 'sriov', device: PF, numVfs }, options).refusals
  t.deepEqual(refused(64), [])
  t.like(refused(65)[0], {
    reason: 'host',
    what: `${PF} has bus numbers for 64 virtual functions only: the bridge above it ends at bus 0x03`,
  })
  t.regex(refused(65)[0]!.remedy, /^Take 64 at most/)
  tree.file(`${BRIDGE}/subordinate_bus_number`, '4')
  t.deepEqual(refused(192), [])
  t.is(refused(193).length, 1)
  // All of them on the next bus, which the bridge has not.
  tree.file(`${BRIDGE}/subordinate_bus_number`, '3')
  tree.file(`${BRIDGE}/${PF}/sriov_offset`, '256')
  t.regex(refused(1)[0]!.what, /bus numbers for 0 virtual functions only/)
  t.notRegex(refused(1)[0]!.remedy, /^Take/)
  t.deepEqual(refused(0), [])
})

changeTest('on a root bus nothing is known, and nothing refused', (t, { tree, options }) => {
  behindPort(tree, null)
  t.deepEqual(plan({ kind: 'sriov', device: PF, numVfs: 256 }, options).refusals, [])
})

changeTest('BARs of functions without an address are warned of', (t, { tree, options }) => {
  const none = '0x0000000000000000 0x0000000000000000 0x0000000000000000'
  const lines = Array.from({ length: 13 }, () => none)
  lines[7] = '0x0000000000000000 0x00000000003fffff 0x0000000020140204'
  lines[9] = '0x0000004000000000 0x00000040003fffff 0x0000000000140204'
  behindPort(tree, '4', lines.join('\n'))
  const { warnings } = plan({ kind: 'sriov', device: PF, numVfs: 4 }, options)
  t.is(warnings.length, 1)
  t.regex(warnings[0]!, /^BAR 0 of the virtual functions of 0000:03:00\.0 has no address: .*Above 4G/)
})
