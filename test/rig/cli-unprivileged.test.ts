// The two ways of docs/unprivileged.md to use a device without root: permission on the group's node, as a udev rule gives
// it, and descriptors handed over by a privileged parent; each with DMA within the limit on pinned memory.
import { spawnSync } from 'node:child_process'
import { chmodSync, chownSync, existsSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { packageUrl } from '../unit/support.js'
import { Companion, devices, groupOf, open } from './devices.js'

/** An ordinary user, and the group of users that the rule names. */
const USER = 65534
const GROUP = 1234
const MAIN = join(import.meta.dirname, '../../ts/cli/main.js')
/** Its group's node; where the kernel has them, its own and iommufd's. */
const NODES = [`/dev/vfio/${groupOf('edu')}`, ...ownNode(), '/dev/iommu'].filter((node) => existsSync(node))

function ownNode(): string[] {
  const folder = `/sys/bus/pci/devices/${devices.edu}/vfio-dev`
  return existsSync(folder) ? readdirSync(folder).map((name) => `/dev/vfio/devices/${name}`) : []
}

/** A program's words, run by the ordinary user with so much memory to pin (KiB). */
function asUser(args: readonly string[], { gid = GROUP, memlock = 1024 } = {}) {
  const command = [
    '-c',
    'ulimit -l "$1" && shift && exec "$@"',
    'sh',
    String(memlock),
    process.execPath,
    ...args,
  ]
  return spawnSync('/bin/sh', command, { uid: USER, gid, encoding: 'utf8' })
}

/** Opens edu, sends 2048 bytes through its DMA engine and back, and asks for more memory than may be pinned. */
const USE = `const vfio = await import(${JSON.stringify(packageUrl)})
  const device = await vfio.VfioDevice.open('${devices.edu}')
  try {
    const bar0 = device.region('bar0')
    device.config.command.busMaster = true
    const dma = await device.addressSpace.allocate(65536, { below: 1n << 28n })
    const bytes = new Uint8Array(dma.buffer)
    const move = (from, to, command) => {
      bar0.write64(0x80, from)
      bar0.write64(0x88, to)
      bar0.write64(0x90, 2048n)
      bar0.write64(0x98, command)
      bar0.poll64(0x98, { mask: 1n, equals: 0n, timeoutMicros: 10_000_000 })
    }
    for (let i = 0; i < 2048; i++) bytes[i] = (i * 7 + 3) & 0xff
    move(dma.iova, 0x40000n, 1n)
    move(0x40000n, dma.iova + 4096n, 3n)
    const same = bytes.subarray(0, 2048).every((byte, i) => byte === bytes[4096 + i])
    const beyond = await device.addressSpace.allocate(8 << 20).then(() => null, (error) => error.reason)
    console.log(JSON.stringify({ uid: process.getuid(), same, beyond }))
  } finally {
    await device.close()
  }`

function doctorAsUser(options?: { gid?: number; memlock?: number }) {
  const { stdout, stderr, status } = asUser([MAIN, 'doctor', '--json'], options)
  if (status !== 0) throw new Error(stderr)
  const { findings } = JSON.parse(stdout) as {
    findings: { id: string; level: string; what: string; next: string | null }[]
  }
  return (id: string) => findings.find((each) => each.id === id)
}

test.serial('the rule of the doctor is what lets an ordinary user in', (t) => {
  const before = NODES.map((node) => statSync(node))
  const refused = asUser(['--input-type=module', '-e', USE])
  t.regex(refused.stderr, /permission|EACCES/)
  const closed = doctorAsUser()
  t.like(closed('user'), { level: 'ok', what: `running as the ordinary user ${USER}` })
  t.like(closed('groups'), { level: 'warning' })
  t.regex(closed('groups')!.next!, /SUBSYSTEM=="vfio", GROUP="vfio", MODE="0660"/)
  // What udev does for such a rule.
  for (const node of NODES) {
    chownSync(node, 0, GROUP)
    chmodSync(node, 0o660)
  }
  try {
    const outside = doctorAsUser({ gid: USER })
    t.regex(outside('groups')!.next!, /usermod -aG .*getent group 1234/)
    const used = asUser(['--input-type=module', '-e', USE])
    t.deepEqual(
      JSON.parse(used.stdout || '{}'),
      { uid: USER, same: true, beyond: 'memlock-limit' },
      used.stderr,
    )
    const inside = doctorAsUser()
    t.like(inside('memlock'), { level: 'warning', what: '1 MiB of memory can be pinned for DMA' })
    // Other groups' nodes are still root's.
    t.notRegex(inside('groups')!.what, new RegExp(`\\b${groupOf('edu')}\\b`))
  } finally {
    for (const [index, node] of NODES.entries()) {
      const { uid, gid, mode } = before[index]!
      chownSync(node, uid, gid)
      chmodSync(node, mode & 0o777)
    }
  }
})

test.serial(
  'descriptors that a privileged parent opened work in a process that may open nothing',
  async (t) => {
    const device = await open('edu')
    const { ioasId } = device.addressSpace
    const space =
      ioasId === null
        ? `vfio.AddressSpace.fromFd(4, { type: 'type1v2' })`
        : `vfio.AddressSpace.open({ iommufd: vfio.Iommufd.fromFd(4), ioasId: ${String(ioasId)} })`
    const child = new Companion(
      `process.setgid(${USER})
     process.setuid(${USER})
     const refused = await vfio.VfioDevice.open('${devices.edu2}').then(() => null, (error) => error.reason)
     const addressSpace = ${space}
     const device = vfio.VfioDevice.fromFd(3, { name: '${devices.edu}', addressSpace })
     const dma = await addressSpace.allocate(4096, { below: 1n << 28n })
     say({ uid: process.getuid(), refused, id: device.region('bar0').read32(0), iova: dma.iova < 1n << 28n })
     await dma.close()
     await device.close()`,
      [device.fd, device.addressSpace.fd],
    )
    try {
      t.deepEqual(await child.said(), { uid: USER, refused: 'permission', id: 0x010000ed, iova: true })
    } finally {
      await child.end()
      await device.close()
    }
  },
)
