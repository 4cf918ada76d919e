// What guests can have of a GPU in user space: each way, at the boundary of each of its reasons, on hosts of fixtures.

import { machine } from 'node:os'
import test, { type ExecutionContext } from 'ava'
import { mergedReport, type UserSpaceWay } from '../../../ts/merged/index.js'
import { textsIn } from '../../../ts/merged/user-space/texts.js'
import { temporaryFolder } from '../../temporary.js'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { SysfsTree } from '../host/fixture.js'
import { PF, rootsOf } from './hosts.js'

/** Files by path, with their texts; null takes one away. */
type Files = Readonly<Record<string, string | null>>

const QEMU = `usr/bin/qemu-system-${machine()}`
const MODULE = `usr/lib/${machine()}-linux-gnu/qemu/hw-display-virtio-gpu-gl.so`
const LIBRARY = `usr/lib/${machine()}-linux-gnu/libvirglrenderer.so.1`
const SERVER = 'usr/libexec/virgl_render_server'
const ICD = 'usr/share/vulkan/icd.d/radeon_icd.json'
const CARD = `devices/pci0000:00/${PF}/drm/card1`
const CONNECTOR = `${CARD}/card1-HDMI-A-1/status`
const RENDER = `devices/pci0000:00/${PF}/drm/renderD128/dev`

/** A host of amdgpu where every way is possible. */
const EVERYTHING: Files = {
  'proc/sys/kernel/osrelease': '6.13.0',
  'dev/kvm': '',
  'dev/udmabuf': '',
  [CONNECTOR]: 'connected',
  [RENDER]: '226:128',
  [QEMU]: 'vfio-user-pci',
  [MODULE]: 'virgl_renderer_init venus drm_native_context',
  [LIBRARY]: 'VK_MESA_venus_protocol libdrm_amdgpu.so.1',
  [SERVER]: '',
  [ICD]: '{}',
}

const posixTest = process.platform === 'win32' ? test.skip : test

function ways(t: ExecutionContext, changed: Files = {}, driver = 'amdgpu') {
  const tree = new SysfsTree()
  t.teardown(() => tree.remove())
  tree.pci(PF, { class: '0x030000', vendor: '0x1002', device: '0x74a1', driver })
  for (const [path, text] of Object.entries({ ...EVERYTHING, ...changed }))
    if (text !== null) tree.file(path, text)
  const { devices, problems } = mergedReport(rootsOf(tree))
  const found = devices[0]?.userSpace ?? []
  const answers = Object.fromEntries(
    found.map(({ way, answer, why }) => [way, `${answer}: ${why.replaceAll(`${tree.root}/`, '/')}`]),
  ) as Record<UserSpaceWay, string>
  return { answers, problems }
}

posixTest('with everything there, every way is possible, and says by what', (t) => {
  const { answers, problems } = ways(t)
  t.deepEqual(problems, [])
  t.deepEqual(answers, {
    'mediated-2d': `yes: MediatedGpu on card1, for /${QEMU} (vfio-user-pci); guests' memory can be shown without a copy (/dev/udmabuf)`,
    virgl: `yes: virtio-gpu-gl by /${MODULE}, with /${LIBRARY}, on renderD128`,
    venus: `yes: virtio-gpu-gl by /${MODULE} with blob, hostmem and venus, and radeon_icd.json`,
    'native-context': `yes: virtio-gpu-gl by /${MODULE} with blob, hostmem and drm_native_context; the guest's Mesa must have it too`,
  })
})

/** One thing less or other than everything, and what it costs: the ways that are not named stay possible. */
const BOUNDARIES: readonly [title: string, changed: Files, costs: Partial<Record<UserSpaceWay, RegExp>>][] = [
  [
    'no connector',
    { [CONNECTOR]: null, [`${CARD}/dev`]: '' },
    { 'mediated-2d': /^no: card1 has no connector/ },
  ],
  ['no card', { [CONNECTOR]: null }, { 'mediated-2d': /^no: the host has no card of it/ }],
  ['no udmabuf', { 'dev/udmabuf': null }, { 'mediated-2d': /^yes: .*pictures are copied once/ }],
  [
    'an older QEMU',
    { [QEMU]: 'vfio-pci' },
    { 'mediated-2d': /^yes: .* for a Vm of this package \(\/dev\/kvm\)/ },
  ],
  [
    'an older QEMU beside cloud-hypervisor',
    { [QEMU]: '', 'usr/local/bin/cloud-hypervisor': 'user-device' },
    { 'mediated-2d': /^yes: .* for \/usr\/local\/bin\/cloud-hypervisor \(--user-device\)/ },
  ],
  [
    'no client at all',
    { [QEMU]: '', 'usr/bin/cloud-hypervisor': 'vdpa', 'dev/kvm': null },
    { 'mediated-2d': /^no: there is no client for it/ },
  ],
  [
    'no render node',
    { [RENDER]: null },
    { virgl: /^no: .*no render node/, venus: /no render node/, 'native-context': /no render node/ },
  ],
  [
    'no QEMU',
    { [QEMU]: null },
    {
      'mediated-2d': /^yes: .*for a Vm of this package/,
      virgl: /^no: there is no QEMU$/,
      venus: /no QEMU/,
      'native-context': /no QEMU/,
    },
  ],
  [
    'no module, and a program that only names the device',
    { [MODULE]: null, [QEMU]: 'vfio-user-pci virtio-gpu-gl-pci venus' },
    {
      virgl: /^no: .* has no virtio-gpu-gl/,
      venus: /no virtio-gpu-gl/,
      'native-context': /no virtio-gpu-gl/,
    },
  ],
  [
    'no virglrenderer',
    { [LIBRARY]: null },
    { virgl: /^no: there is no libvirglrenderer/, venus: /no libvirgl/, 'native-context': /no libvirgl/ },
  ],
  [
    'QEMU without Venus',
    { [MODULE]: 'virgl_renderer_init drm_native_context' },
    { venus: /no property venus/ },
  ],
  [
    'QEMU without native contexts',
    { [MODULE]: 'virgl_renderer_init venus' },
    { 'native-context': /^no: .*no property drm_native_context/ },
  ],
  [
    'virglrenderer without Venus',
    { [LIBRARY]: 'libdrm_amdgpu.so.1' },
    { venus: /^no: .* was built without Venus/ },
  ],
  [
    'virglrenderer without native contexts',
    { [LIBRARY]: 'VK_MESA_venus_protocol DRM native context support was not enabled in virglrenderer' },
    { 'native-context': /^no: .* says that it was built without native contexts/ },
  ],
  [
    'virglrenderer without that of amdgpu',
    { [LIBRARY]: 'VK_MESA_venus_protocol' },
    { 'native-context': /^no: .* is not linked with libdrm_amdgpu/ },
  ],
  ['no process for Venus', { [SERVER]: null }, { venus: /^no: there is no virgl_render_server/ }],
  [
    'a kernel before KVM maps what is not counted',
    { 'proc/sys/kernel/osrelease': '6.12.99' },
    { venus: /^no: with amdgpu it takes Linux 6\.13 or newer, and this is 6\.12\.99/ },
  ],
  [
    'a kernel without a release',
    { 'proc/sys/kernel/osrelease': null },
    { venus: /^cannot-tell: .*could not be read/ },
  ],
  ['no Vulkan driver', { [ICD]: null }, { venus: /^no: there is no Vulkan driver/ }],
  [
    'Vulkan drivers of other GPUs',
    { [ICD]: null, 'etc/vulkan/icd.d/lvp_icd.json': '', 'etc/vulkan/icd.d/README': '' },
    { venus: /^no: no Vulkan driver is for amdgpu .* there are lvp_icd\.json$/ },
  ],
]

for (const [title, changed, costs] of BOUNDARIES)
  posixTest(`a host with ${title} has what is left`, (t) => {
    const { answers, problems } = ways(t, changed)
    t.deepEqual(problems, [])
    for (const [way, answer] of Object.entries(answers) as [UserSpaceWay, string][])
      t.regex(answer, costs[way] ?? /^yes: /, way)
  })

posixTest(
  'a kernel before 6.13 counts for amdgpu alone, and other drivers have Vulkan drivers of their own',
  (t) => {
    const old: Files = { 'proc/sys/kernel/osrelease': '6.1.0', [ICD]: null }
    const at = (driver: string, icd: string) =>
      ways(t, { ...old, [`usr/local/share/vulkan/icd.d/${icd}`]: '' }, driver).answers.venus
    t.regex(at('i915', 'intel_icd.x86_64.json'), /^yes: .*intel_icd\.x86_64\.json$/)
    t.regex(at('nouveau', 'nvidia_icd.json'), /^no: no Vulkan driver is for nouveau/)
    t.regex(at('qxl', 'lvp_icd.json'), /^cannot-tell: which of the Vulkan drivers is for qxl is not known/)
    t.regex(at('constructor', 'lvp_icd.json'), /^cannot-tell: /)
  },
)

posixTest('the native contexts of other drivers cannot be told from the library', (t) => {
  t.regex(ways(t, {}, 'xe').answers['native-context'], /^cannot-tell: whether .* has one for xe shows only/)
  const denied = { [LIBRARY]: 'DRM native context support was not enabled' }
  t.regex(ways(t, denied, 'xe').answers['native-context'], /^no: .*without native contexts/)
})

posixTest('a QEMU without modules has what the program itself calls, and /usr/local goes first', (t) => {
  const own = 'usr/local/bin/' + QEMU.split('/').at(-1)!
  const { answers } = ways(t, { [MODULE]: null, [own]: 'virgl_renderer_init venus' })
  t.regex(answers.virgl, new RegExp(`^yes: virtio-gpu-gl by /${own}, `))
  t.regex(answers.venus, /^yes: /)
  t.regex(answers['native-context'], /^no: .*no property drm_native_context/)
  const other = ways(t, { [QEMU]: null, 'usr/libexec/qemu-kvm': 'vfio-user-pci' }).answers
  t.regex(other['mediated-2d'], /^yes: .*\/usr\/libexec\/qemu-kvm/)
})

posixTest('a folder in the place of a library is a problem, and no library', (t) => {
  const { answers, problems } = ways(t, { [LIBRARY]: null, [`${LIBRARY}/x`]: '' })
  t.regex(answers.virgl, /^no: there is no libvirglrenderer/)
  t.regex(problems.map(({ message }) => message).join(), /is no file/)
})

posixTest('a GPU that the host does not use has no way', (t) => {
  t.deepEqual(ways(t, { [CONNECTOR]: null, [RENDER]: null }).answers as unknown, {})
})

posixTest('a GPU that is not on PCI is reported too', (t) => {
  const tree = new SysfsTree()
  t.teardown(() => tree.remove())
  const device = 'devices/faux/vkms'
  tree.link(`${device}/driver`, 'bus/faux/drivers/faux_driver')
  tree.dir(`${device}/drm/card0/card0-Virtual-1`)
  tree.link(`class/drm/card0`, `${device}/drm/card0`)
  tree.link(`${device}/drm/card0/device`, device)
  tree.file('class/drm/version', 'drm 1.1.0')
  tree.file('dev/kvm', '')
  const { devices } = mergedReport(rootsOf(tree))
  t.is(devices.length, 1)
  t.like(devices[0], {
    name: 'vkms',
    bus: 'other',
    framework: 'none',
    merged: { state: 'no' },
    hostNodes: { cards: ['card0'] },
  })
  t.is(
    devices[0]!.userSpace[0]!.why,
    'MediatedGpu on card0, for a Vm of this package (/dev/kvm); pictures are copied once (there is no /dev/udmabuf)',
  )
})

test('texts are found wherever they lie in a file, across its parts too', (t) => {
  const path = join(temporaryFolder(t, 'texts'), 'library')
  const bytes = Buffer.alloc((3 << 20) + 5, '-')
  bytes.write('needle', (1 << 20) - 3)
  bytes.write('end', bytes.length - 3)
  writeFileSync(path, bytes)
  t.deepEqual([...textsIn(path, ['needle', 'end', 'needles'])!].sort(), ['end', 'needle'])
  bytes.write('-', (1 << 20) - 1)
  writeFileSync(path, bytes)
  t.deepEqual([...textsIn(path, ['needle'])!], [])
  t.is(textsIn(`${path}-not`, ['x']), null)
  t.throws(() => textsIn(join(path, '..'), ['x']))
})
