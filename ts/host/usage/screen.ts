// Whether the machine's own screen is one of a device's: it boots with it, or its text console is on it, which no process has open.
// It must not know any other use.

import { join } from 'node:path'
import { type HostOptions, listNames, readText, sysfsRoot } from '../sysfs.js'
import type { Subject } from './below.js'
import type { DeviceUse } from './types.js'

const REMEDY = 'Log in another way (ssh, a serial console) first.'

/** The console of the kernel that draws into frame buffers, where it is on. */
function consoleOnFrameBuffers(options: HostOptions): string | null {
  const root = join(sysfsRoot(options), 'class', 'vtconsole')
  const bound = (listNames(root) ?? []).find(
    (name) =>
      readText(root, name, 'bind') === '1' && readText(root, name, 'name')?.includes('frame buffer') === true,
  )
  return bound === undefined ? null : join(root, bound, 'bind')
}

export function screenUses({ name: device, path, nodes }: Subject, options: HostOptions): DeviceUse[] {
  const use = (what: string, evidence: string, remedy: string): DeviceUse => ({
    kind: 'screen',
    device,
    what,
    evidence,
    remedy,
    mustEnd: false,
  })
  const boots = readText(path, 'boot_vga') === '1'
  const [buffer] = nodes.filter(({ subsystem }) => subsystem === 'graphics')
  const console = buffer === undefined ? null : consoleOnFrameBuffers(options)
  return [
    ...(boots ? [use('the machine boots with this screen', join(path, 'boot_vga'), REMEDY)] : []),
    ...(buffer === undefined || console === null
      ? []
      : [
          use(
            `the text console may be on ${buffer.name}`,
            console,
            `Move the console away first: echo 0 > ${console}`,
          ),
        ]),
  ]
}
