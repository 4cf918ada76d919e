// `vfio show` of devices that cannot be opened: the host's side, and why. What opening adds is tested in the rig.
import { cliTest } from './run.js'

cliTest('shows the host side, why it cannot be opened and what to do', async (t, { tree, vfio }) => {
  tree.pci('0000:00:13.0', {
    vendor: '0x8086',
    device: '0x10d3',
    class: '0x020000',
    driver: 'e1000e',
    group: 5,
    files: { reset_method: 'flr bus', power_state: 'D0', sriov_totalvfs: '7', sriov_numvfs: '2' },
  })
  const { status, out, err } = await vfio('show', '00:13.0')
  t.is(status, 0)
  t.is(err, '')
  t.deepEqual(out.trimEnd().split('\n'), [
    '0000:00:13.0  8086:10d3  Ethernet controller, Intel',
    '  driver         e1000e',
    '  IOMMU group    5: 0000:00:13.0 (e1000e)',
    '  revision       0x10',
    '  subsystem      1af4:1100',
    '  reset          flr, bus',
    '  power state    D0',
    '  SR-IOV         2 of 7 virtual functions',
    '  can be opened  no: driver e1000e',
    '                 The device is bound to e1000e: unbind it and bind the device to vfio-pci.',
  ])
})

cliTest('gives the same as JSON', async (t, { tree, vfio }) => {
  tree.pci('0000:00:13.0', { driver: 'e1000e', group: 5 })
  const { status, out } = await vfio('show', '0000:00:13.0', '--json')
  t.is(status, 0)
  t.like(JSON.parse(out), {
    host: {
      name: '0000:00:13.0',
      bus: 'pci',
      driver: 'e1000e',
      iommuGroup: { id: 5 },
      pci: { vendor: 0x1234 },
    },
    open: { possible: false, why: 'driver e1000e' },
    device: null,
  })
})

cliTest('shows what opening refused beside the host side', async (t, { tree, node, vfio }) => {
  tree.pci('0000:00:10.0', { driver: 'vfio-pci', group: 2, vfioDev: 'vfio0' })
  // Nodes that are ordinary files: opening finds no VFIO behind them.
  node('vfio')
  node('2')
  const { status, out } = await vfio('show', '0000:00:10.0')
  t.is(status, 0)
  t.regex(out, /can be opened {2}no: .*VFIO_GROUP_GET_STATUS.*ENOTTY/)
})

cliTest('fails for a device that is not there', async (t, { vfio }) => {
  const { status, out, err } = await vfio('show', '0000:00:1d.0')
  t.is(status, 1)
  t.is(out, '')
  t.is(err, 'vfio: there is no device 0000:00:1d.0; `vfio ls` lists them\n')
})
