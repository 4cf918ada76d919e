// `vfio ls`: what is listed, and every reason for which a device cannot be opened.
import { stripVTControlCharacters } from 'node:util'
import { cliTest } from './run.js'

const UUID = '83b8f4f2-509f-382f-3c1e-e6bfe0fa1001'

interface Row {
  name: string
  bus: string
  vendor: number | null
  driver: string | null
  iommuGroup: number | null
  open: { possible: boolean; why: string | null; remedy: string | null }
}

const rows = (out: string): Map<string, Row> =>
  new Map((JSON.parse(out) as { devices: Row[] }).devices.map((row) => [row.name, row]))

cliTest(
  'lists devices with their drivers and groups, and says which can be opened',
  async (t, { tree, node, vfio }) => {
    tree.pci('0000:00:10.0', { driver: 'vfio-pci', group: 2, vfioDev: 'vfio0' })
    tree.pci('0000:00:13.0', {
      vendor: '0x8086',
      device: '0x10d3',
      class: '0x020000',
      driver: 'e1000e',
      group: 5,
    })
    node('vfio')
    node('2')
    const { status, out, err } = await vfio('ls')
    t.is(status, 0)
    t.is(err, '')
    t.deepEqual(out.trimEnd().split('\n'), [
      'GROUP  DEVICE        DRIVER    ID         CAN BE OPENED      WHAT',
      '2 ─    0000:00:10.0  vfio-pci  1234:11e8  yes                Unclassified device, QEMU',
      '5 ─    0000:00:13.0  e1000e    8086:10d3  no: driver e1000e  Ethernet controller, Intel',
      '',
      '0000:00:13.0: not on VFIO',
      '  -> vfio bind DEVICE binds it to VFIO; vfio unbind DEVICE gives it back to the host',
    ])
  },
)

cliTest('draws the devices of a group together, in the order of groups', async (t, { tree, vfio }) => {
  tree.pci('0000:00:01.0', { group: 12 })
  tree.pci('0000:00:02.0', { group: 3 })
  tree.pci('0000:00:03.0')
  tree.pci('0000:00:04.0', { group: 12 })
  tree.pci('0000:00:05.0', { group: 12 })
  const { out } = await vfio('ls')
  t.deepEqual(
    out
      .split('\n')
      .slice(1, 6)
      .map((line) => line.slice(0, 19)),
    [
      ' 3 ─   0000:00:02.0',
      '12 ┬   0000:00:01.0',
      '   ├   0000:00:04.0',
      '   └   0000:00:05.0',
      '-      0000:00:03.0',
    ],
  )
  t.regex(out, /\n4 devices: not on VFIO\n {2}-> vfio bind DEVICE/)
})

cliTest(
  'cuts lines at the width of the terminal, and colours them',
  async (t, { tree, vfio }) => {
    tree.pci('0000:00:10.0', { driver: 'vfio-pci', group: 2 })
    const { out } = await vfio('ls')
    // eslint-disable-next-line no-control-regex -- that is what is looked for
    t.regex(out, /\x1b\[1m0000:00:10\.0\x1b\[22m/)
    for (const line of out.split('\n').slice(0, 2)) t.true(stripVTControlCharacters(line).length <= 60, line)
    t.true(stripVTControlCharacters(out.split('\n')[1]!).endsWith('…'))
    // eslint-disable-next-line no-control-regex -- that is what must not be there
    t.notRegex((await vfio('--no-color', 'ls')).out, /\x1b/)
    // eslint-disable-next-line no-control-regex -- that is what must not be there
    t.notRegex((await vfio('ls', '--no-color')).out, /\x1b/)
  },
  { color: true, columns: 60 },
)

cliTest('what a driver calls itself cannot act on the terminal', async (t, { tree, vfio }) => {
  tree.pci('0000:00:10.0', { driver: 'evil\x1b]0;title\x07', group: 2 })
  const { out } = await vfio('ls')
  // eslint-disable-next-line no-control-regex -- that is what must not be there
  t.notRegex(out, /[\x07\x1b]/)
})

cliTest('names each reason against opening', async (t, { tree, node, vfio }) => {
  tree.pci('0000:00:01.0', { driver: 'vfio-pci' })
  tree.pci('0000:00:02.0', { group: 1 })
  tree.pci('0000:00:03.0', { class: '0x060400', driver: 'pcieport', group: 2 })
  tree.pci('0000:00:04.0', { driver: 'vfio-pci', group: 3, vfioDev: 'vfio0' })
  tree.pci('0000:00:05.0', { driver: 'nvme', group: 3 })
  tree.pci('0000:00:06.0', { driver: 'vfio-pci', group: 4, vfioDev: 'vfio1' })
  node('vfio')
  const { out } = await vfio('ls', '--json')
  const why = [...rows(out)].map(([name, { open }]) => [name.slice(8), open.why])
  t.deepEqual(why, [
    ['02.0', 'no driver'],
    ['03.0', 'it is a bridge'],
    ['04.0', 'group held by 0000:00:05.0 (nvme)'],
    ['05.0', 'driver nvme'],
    ['06.0', 'no node for group 4'],
    ['01.0', 'no IOMMU group'],
  ])
  for (const { open } of rows(out).values()) t.truthy(open.remedy)
})

cliTest('says when VFIO is not loaded', async (t, { tree, vfio }) => {
  tree.pci('0000:00:10.0', { driver: 'vfio-pci', group: 2, vfioDev: 'vfio0' })
  const { out } = await vfio('ls', '--json')
  t.like(rows(out).get('0000:00:10.0')?.open, { possible: false, why: 'VFIO is not loaded' })
})

cliTest('lists mediated devices too', async (t, { tree, node, vfio }) => {
  tree.mdev(UUID, 9)
  node('vfio')
  node('9')
  const { out } = await vfio('ls', '--json')
  t.like(rows(out).get(UUID), {
    bus: 'mdev',
    vendor: null,
    driver: 'mtty',
    iommuGroup: 9,
    open: { possible: true },
  })
})

cliTest('says when there is nothing', async (t, { vfio }) => {
  t.like(await vfio('ls'), {
    status: 0,
    out: 'no devices: no PCI bus, or no sysfs\n',
    err: '',
  })
})
