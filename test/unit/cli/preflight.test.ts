// `vfio doctor` and `vfio merged`: on a host without VFIO, on one with it, and as JSON.
import { writeFileSync } from 'node:fs'
import { gzipSync } from 'node:zlib'
import { probeHost } from '../../../ts/host/index.js'
import { HOSTS, LARGE_HOSTS, PF } from '../merged/hosts.js'
import { type Cli, cliTest } from './run.js'

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
    /^blocker {2}.*vfio\/vfio does not exist: VFIO is not loaded\n.*\n {9}-> sudo modprobe vfio-pci;/m,
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
    ['addon', 'kernel', 'iommu', 'vfio', 'vfio-pci', 'user', 'groups', 'memlock', 'iommufd', 'kvm'],
  )
})

cliTest('doctor warns of a low limit and of unsafe modes', async (t, { tree, vfio }) => {
  tree.file('proc/self/limits', 'Max locked memory         8388608              8388608              bytes')
  tree.file('proc/self/status', 'CapEff:\t0000000000000000')
  tree.file('module/vfio/parameters/enable_unsafe_noiommu_mode', 'Y')
  const { out } = await vfio('doctor')
  t.regex(out, /^warning {2}8 MiB of memory can be pinned for DMA\n/m)
  t.regex(out, /^warning {2}devices without an IOMMU can be opened/m)
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
  t.regex(
    out,
    /^ {2}issue +broken: Graphical errors .*\(nvidia-laptop-power-management; .*driver version 460\.32\.01\)$/m,
  )
  const json = JSON.parse((await vfio('merged', '--json')).out) as { schema: string; devices: unknown[] }
  t.is(json.schema, 'vfio-merged/1')
  t.like(json.devices[0], { name: PF, framework: 'mdev' })
})

cliTest('merged has nothing to say of an ordinary host, with status 0', async (t, { vfio }) => {
  t.like(await vfio('merged'), {
    status: 0,
    out: 'nothing to share: no GPU, no virtual functions, no mediated devices\n',
    err: '',
  })
})

const findingOf = async (vfio: Cli['vfio'], id: string): Promise<Finding & { what: string }> => {
  const { findings } = JSON.parse((await vfio('doctor', '--json')).out) as {
    findings: (Finding & { what: string })[]
  }
  return findings.find((each) => each.id === id)!
}

cliTest(
  'doctor sees that VFIO is loaded and its node is not in this container',
  async (t, { tree, vfio }) => {
    tree.file('module/vfio/initstate', 'live')
    tree.file('proc/1/environ', 'PATH=/bin\0container=docker')
    const { level, what, next } = await findingOf(vfio, 'vfio')
    t.is(level, 'blocker')
    t.regex(what, /VFIO is loaded, but this \/dev does not contain its node/)
    t.regex(next!, /--device \/dev\/vfio\/vfio/)
    t.notRegex(next!, /modprobe/)
    t.regex((await findingOf(vfio, 'vfio-pci')).next!, /on the host, outside this container/)
  },
)

cliTest('doctor takes a kernel that has devices by their own nodes alone', async (t, { tree, vfio }) => {
  tree.file('module/vfio/initstate', 'live')
  tree.file('module/iommufd/initstate', 'live')
  tree.pci('0000:00:10.0', { driver: 'vfio-pci', group: 2, vfioDev: 'vfio0' })
  tree.file('dev/vfio/devices/vfio0', '')
  const bare = await findingOf(vfio, 'vfio')
  t.is(bare.level, 'blocker')
  t.regex(bare.what, /only by their own nodes/)
  t.notRegex(bare.next!, /modprobe vfio-pci/)
  tree.file('dev/iommu', '')
  t.like(await findingOf(vfio, 'vfio'), { level: 'ok' })
  t.like(await findingOf(vfio, 'devices'), { level: 'ok' })
})

cliTest('doctor does not take a group without an IOMMU for one', async (t, { tree, vfio }) => {
  tree.pci('0000:00:10.0', { driver: 'vfio-pci', group: 0, vfioDev: 'vfio0', cdev: false })
  tree.file('kernel/iommu_groups/0/name', 'vfio-noiommu')
  const { level, what } = await findingOf(vfio, 'iommu')
  t.is(level, 'blocker')
  t.regex(what, /except 1 group without an IOMMU/)
})

cliTest('merged says once what is true of many functions and types', async (t, { tree, vfio }) => {
  LARGE_HOSTS['nvidia-vgpu-many'](tree)
  const { out } = await vfio('merged')
  const lines = out.split('\n')
  t.is(lines.filter((line) => /^ {2}(\d+ )?VFs? /.test(line)).length, 4, out)
  t.regex(out, /^ {2}30 VFs +0000:03:00\.4 to 0000:03:04\.1: nvidia, can become one of 20 types$/m)
  t.regex(out, /^ {2}VF +0000:03:04\.2 nvidia, vGPU type 1100$/m)
  t.regex(out, /^ {2}VF +0000:03:04\.3 without driver/m)
  t.true(lines.length < 40, `${lines.length} lines`)
})

cliTest('merged says once each type that every function offers', async (t, { tree, vfio }) => {
  LARGE_HOSTS['nvidia-mdev-many'](tree)
  const { out } = await vfio('merged')
  t.is(out.split('\n').filter((line) => line.startsWith('  mdev type')).length, 20, out)
  t.regex(out, /nvidia-1100 \(A40-0\) on 32 functions: 0 exist, 32 more possible/)
})

cliTest('merged says that a parameter asked for is none', async (t, { tree, vfio }) => {
  HOSTS['intel-i915-stock'](tree)
  const { out } = await vfio('merged')
  t.regex(out, /parameter +max_vfs \(not in force: .*unknown parameter ignored\)/)
  t.notRegex(out, /max_vfs=7:/)
})

cliTest(
  'names of devices are found where Fedora, Arch and openSUSE have them, compressed too',
  async (t, { tree, host }) => {
    HOSTS['nvidia-mdev'](tree)
    const text = '10de  NVIDIA Corporation\n\t2235  GA102GL [A40]\n8086  Intel Corporation\n'
    const { pciIds: _none, ...rest } = host
    const names = () => probeHost({ ...rest, shareRoot: tree.path('share') }).devices[0]!.names
    t.deepEqual(names(), { vendor: null, device: null })
    tree.dir('share/hwdata')
    writeFileSync(tree.path('share/hwdata/pci.ids.gz'), gzipSync(text))
    t.deepEqual(names(), { vendor: 'NVIDIA Corporation', device: 'GA102GL [A40]' })
    tree.file('share/hwdata/pci.ids', text.replace('A40', 'plain'))
    t.is(names().device, 'GA102GL [plain]')
    // Debian's own place comes first.
    tree.file('share/misc/pci.ids', text.replace('A40', 'misc'))
    t.is(names().device, 'GA102GL [misc]')
  },
)
