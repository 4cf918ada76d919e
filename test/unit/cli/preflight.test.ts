// `vfio doctor` and `vfio merged`: on a host without VFIO, on one with it, and as JSON.
import { HOSTS, PF } from '../merged/hosts.js'
import { cliTest } from './run.js'

interface Finding {
  id: string
  level: string
  next: string | null
}

cliTest('doctor says what a host without VFIO lacks and how to get it', async (t, { tree, vfio }) => {
  tree.file('proc/sys/kernel/osrelease', '6.1.0-18-amd64')
  const { status, out, err } = await vfio('doctor')
  t.is(status, 0)
  t.is(err, '')
  t.regex(out, /^ok {7}Linux 6\.1\.0-18-amd64$/m)
  t.regex(out, /^blocker {2}there are no IOMMU groups.*\n {9}Without it.*\n {9}-> Enable VT-d/m)
  t.regex(
    out,
    /^blocker {2}.*vfio\/vfio is not there: VFIO is not loaded\n.*\n {9}-> sudo modprobe vfio-pci;/m,
  )
  t.regex(out, /\n2 blockers and 4 warnings: VFIO cannot be used yet\n$/)
})

cliTest('doctor finds nothing wrong where all is there', async (t, { tree, node, vfio }) => {
  tree.file('proc/sys/kernel/osrelease', '6.12.1')
  tree.file('proc/self/limits', 'Max locked memory         unlimited            unlimited            bytes')
  tree.file('proc/self/status', 'CapEff:\t0000000000000000')
  tree.pci('0000:00:10.0', { driver: 'vfio-pci', group: 2, vfioDev: 'vfio0' })
  tree.file('dev/iommu', '')
  tree.file('dev/kvm', '')
  node('vfio')
  node('2')
  const { out } = await vfio('doctor', '--json')
  const { schema, findings } = JSON.parse(out) as { schema: string; findings: Finding[] }
  t.is(schema, 'vfio-doctor/1')
  t.deepEqual(
    findings.filter(({ level }) => level !== 'ok'),
    [],
  )
  t.deepEqual(
    findings.map(({ id }) => id),
    ['kernel', 'iommu', 'vfio', 'vfio-pci', 'user', 'groups', 'memlock', 'iommufd', 'kvm'],
  )
})

cliTest('doctor warns of a low limit and of unsafe modes', async (t, { tree, vfio }) => {
  tree.file('proc/self/limits', 'Max locked memory         8388608              8388608              bytes')
  tree.file('proc/self/status', 'CapEff:\t0000000000000000')
  tree.file('module/vfio/parameters/enable_unsafe_noiommu_mode', 'Y')
  const { out } = await vfio('doctor')
  t.regex(out, /^warning {2}8 MiB of memory may be pinned for DMA\n/m)
  t.regex(out, /^warning {2}devices without an IOMMU are given out/m)
})

cliTest('merged shows framework, state, hooks and issues', async (t, { tree, vfio }) => {
  HOSTS['nvidia-mdev'](tree)
  tree.file('pci.ids', '10de  NVIDIA Corporation\n\t2235  GA102GL [A40]\n8086  Intel Corporation')
  const { status, out } = await vfio('merged')
  t.is(status, 0)
  t.regex(out, /^0000:03:00\.0 {2}10de:2235 {2}NVIDIA Corporation GA102GL \[A40\]$/m)
  t.regex(out, /^ {2}driver +nvidia 460\.32\.01$/m)
  t.regex(out, /^ {2}merged +possible: nvidia serves the host/m)
  t.regex(out, /^ {2}parameter +cudahost=1: .* Windows guests may fail\.$/m)
  t.regex(out, /^ {2}issue +applies \(driver version 460\.32\.01\): Graphical errors/m)
  const json = JSON.parse((await vfio('merged', '--json')).out) as { schema: string; devices: unknown[] }
  t.is(json.schema, 'vfio-merged/1')
  t.like(json.devices[0], { name: PF, framework: 'mdev' })
})

cliTest('merged has nothing to say of an ordinary host, with status 0', async (t, { vfio }) => {
  t.like(await vfio('merged'), {
    status: 0,
    out: 'nothing here can be shared: no GPU, no virtual functions, no mediated devices\n',
    err: '',
  })
})
