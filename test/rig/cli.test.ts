// The `vfio` command on real devices. Only one test starts a process of its own: that takes seconds in an emulated
// processor.
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import test from 'ava'
import { checkOutput } from '../unit/cli/schemas.js'
import { run } from '../../ts/cli/program.js'

const rig = JSON.parse(process.env.NODE_VFIO_RIG ?? '{}') as {
  built: boolean
  devices: Record<string, string>
}
const { devices } = rig
const MAIN = join(import.meta.dirname, '../../ts/cli/main.js')
const edu = devices.edu!
const nvme = devices.nvme!

async function vfio(...args: string[]) {
  let out = ''
  let err = ''
  const status = await run(args, {
    host: {},
    out: (text) => (out += text),
    outBytes: (bytes) => (out += Buffer.from(bytes).toString('latin1')),
    err: (text) => (err += text),
    color: false,
    columns: null,
    uid: 0,
    redraw: (_lines, text) => (out += text),
    onInterrupt: () => () => undefined,
  })
  if (status === 0 && args.includes('--json')) checkOutput(out)
  return { status, out, err }
}

test.serial('ls says what can be opened, and who holds a group back', async (t) => {
  const { status, out, err } = await vfio('ls', '--json')
  t.is(status, 0, err)
  const { devices: rows } = JSON.parse(out) as {
    devices: { name: string; driver: string; open: { possible: boolean; why: string | null } }[]
  }
  const row = (name: string) => rows.find((each) => each.name === devices[name])
  t.like(row('edu'), { driver: 'vfio-pci', open: { possible: true, why: null } })
  t.like(row('bridgedEdu1'), {
    open: { possible: false, why: `group held by ${devices.bridgedRng} (virtio-pci)` },
  })
  t.like(row('bridgedRng'), { driver: 'virtio-pci', open: { possible: false, why: 'driver virtio-pci' } })
})

test.serial('show gives regions, capabilities and interrupts', async (t) => {
  const { status, out, err } = await vfio('show', nvme)
  t.is(status, 0, err)
  t.regex(out, /can be opened {2}yes/)
  t.regex(out, /^ {2}bar0 +\d+ KiB +rw +mapped at 0x0-/m)
  t.regex(out, /^ {2}0x[0-9a-f]+ +MSI-X +65 vectors, table at 0x[0-9a-f]+ of bar0/m)
  t.regex(out, /^ {2}msix +65 vectors/m)
  t.regex(out, rig.built ? /^ {2}type +iommufd/m : /^ {2}type +type1v2/m)
  const shown = await vfio('show', edu, '--json')
  t.is(shown.status, 0, shown.err)
  t.like(JSON.parse(shown.out), {
    open: { possible: true },
    device: {
      info: { bus: 'pci' },
      capabilities: [{ name: 'msi' }],
      iommu: { type: rig.built ? 'iommufd' : 'type1v2' },
    },
  })
})

test.serial('read reads a register, in every width that it has', async (t) => {
  t.deepEqual(await vfio('read', edu, 'bar0', '0x0'), { status: 0, out: '0x010000ed\n', err: '' })
  t.deepEqual(await vfio('read', edu, 'config', '0', '--width', '2'), { status: 0, out: '0x1234\n', err: '' })
  const low = (await vfio('read', nvme, 'bar0', '0')).out.trim()
  t.is((await vfio('read', nvme, 'bar0', '0', '--width', '8')).out.slice(10), `${low.slice(2)}\n`)
  t.is((await vfio('read', nvme, 'bar0', '0', '--width', '1')).out, `0x${low.slice(8)}\n`)
})

test.serial('write writes one', async (t) => {
  // edu has no reset, so that its liveness register keeps what was written: it reads back inverted.
  t.deepEqual(await vfio('write', edu, 'bar0', '0x4', '0x12345678'), { status: 0, out: '', err: '' })
  t.is((await vfio('read', edu, 'bar0', '4')).out, '0xedcba987\n')
})

test.serial('a register can be read by a process of its own', (t) => {
  const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, 'read', edu, 'bar0', '0'], {
    encoding: 'utf8',
  })
  t.deepEqual({ status, stdout, stderr }, { status: 0, stdout: '0x010000ed\n', stderr: '' })
})

test.serial('irq shows an interrupt that was triggered', async (t) => {
  const { status, out, err } = await vfio('irq', nvme, 'msix', '--trigger', '3')
  t.is(status, 0, err)
  t.regex(out, /^\d+\.\d{6} s {2}msix vector 3\n$/)
  t.regex(err, /msix of \S+: 65 vectors enabled/)
})

test.serial('irq fails when too few arrive in time', async (t) => {
  const { status, out, err } = await vfio('irq', edu, 'msi', '--count', '1', '--timeout', '1')
  t.is(status, 1)
  t.is(out, '')
  t.regex(err, /vfio: 0 of 1 interrupt arrived within 1 s\n$/)
})

test.serial('refusals have a remedy and no stack', async (t) => {
  const held = await vfio('read', devices.bridgedEdu1!, 'bar0', '0')
  t.is(held.status, 1)
  t.regex(
    held.err,
    /^vfio: (VFIO_GROUP_GET_STATUS on group \d+ of .*\(EBUSY\)|VFIO_DEVICE_BIND_IOMMUFD on .*\(EPERM\))\n {2}.*virtio-pci.*unbind them\.\n$/,
  )
  const beyond = await vfio('read', edu, 'bar0', '0x100000')
  t.is(beyond.status, 2)
  t.regex(beyond.err, /^vfio: offset .*\n$/)
  const without = await vfio('irq', edu, 'msix')
  t.is(without.status, 2)
  t.is(without.err, 'vfio: the device has no msix interrupt\n')
})
