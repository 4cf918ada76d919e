// Whether the machine boots with the screen of a device. It must not know any other use.

import { join } from 'node:path'
import { readText } from '../sysfs.js'
import type { Subject } from './below.js'
import type { DeviceUse } from './types.js'

export function screenUses({ name: device, path }: Subject): DeviceUse[] {
  if (readText(path, 'boot_vga') !== '1') return []
  return [
    {
      kind: 'screen',
      device,
      what: 'the machine boots with this screen',
      evidence: join(path, 'boot_vga'),
      remedy: 'Log in another way (ssh, a serial console) before it goes.',
      mustEnd: false,
    },
  ]
}
