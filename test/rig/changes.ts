// What the tests of changes share in the rig: what the host is, as far as a change can touch it, and `vfio` in this process or
// killed in another.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { basename, join } from 'node:path'
import { run } from '../../ts/cli/program.js'

const DEVICES = '/sys/bus/pci/devices'
const FAULT = join(import.meta.dirname, '../unit/merged/fault.js')

const linkOf = (path: string): string | null => {
  try {
    return basename(readlinkSync(path))
  } catch {
    return null
  }
}

const namesIn = (path: string): string[] => (existsSync(path) ? readdirSync(path).sort() : [])

const textOf = (path: string): string | null => (existsSync(path) ? readFileSync(path, 'utf8') : null)

/** Everything that a change of this package writes to, and what follows from it. */
export function picture(): object {
  return {
    devices: namesIn(DEVICES).map((name) => ({
      name,
      driver: linkOf(`${DEVICES}/${name}/driver`),
      group: linkOf(`${DEVICES}/${name}/iommu_group`),
      override: textOf(`${DEVICES}/${name}/driver_override`),
      autoprobe: textOf(`${DEVICES}/${name}/sriov_drivers_autoprobe`),
      numVfs: textOf(`${DEVICES}/${name}/sriov_numvfs`),
    })),
    groups: namesIn('/sys/kernel/iommu_groups').map((name) => [
      name,
      namesIn(`/sys/kernel/iommu_groups/${name}/devices`),
    ]),
    nodes: namesIn('/dev/vfio'),
    mdevs: namesIn('/sys/bus/mdev/devices'),
    types: namesIn('/sys/class/mdev_bus').map((parent) =>
      namesIn(`/sys/class/mdev_bus/${parent}/mdev_supported_types`).map((type) => [
        type,
        textOf(`/sys/class/mdev_bus/${parent}/mdev_supported_types/${type}/available_instances`),
      ]),
    ),
    driverctl: namesIn('/etc/driverctl.d').map((name) => textOf(`/etc/driverctl.d/${name}`)),
    mdevctl: namesIn('/etc/mdevctl.d'),
    journals: namesIn('/var/lib/node-vfio').filter((name) => name.endsWith('.journal')),
  }
}

export async function vfio(...args: string[]): Promise<{ status: number; out: string; err: string }> {
  let out = ''
  let err = ''
  const status = await run(args, {
    host: {},
    out: (text) => (out += text),
    outBytes: () => undefined,
    err: (text) => (err += text),
    redraw: () => undefined,
    onInterrupt: () => () => undefined,
    color: false,
    columns: null,
    uid: 0,
  })
  return { status, out, err }
}

/** `vfio` in a process of its own, which SIGKILL ends at a point such as `after-write:1`. */
export async function killedAt(fault: string, ...args: string[]): Promise<string | null> {
  const child = spawn(process.execPath, [FAULT, ...args], {
    env: { ...process.env, NODE_VFIO_FAULT: fault },
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  const [, signal] = (await once(child, 'exit')) as [number | null, string | null]
  return signal
}
