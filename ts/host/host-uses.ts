// What the host itself does with a PCI device: file systems and swap on its disks, network interfaces that are up, its screen.
// It must not decide what follows from it.

import { string } from '../validate.js'
import { checkHostOptions, type HostOptions } from './sysfs.js'
import { subjectAt } from './usage/below.js'
import { diskUsage } from './usage/disks.js'
import { readMounts } from './usage/mounts.js'
import { networkUses } from './usage/networks.js'
import { screenUses } from './usage/screen.js'

/** Something that the host would lose with the device. */
export interface HostUse {
  /** `disk`: mounted, swapped to, or part of another disk; `network`: an interface that is up, or part of another; `screen`. */
  readonly kind: 'disk' | 'network' | 'screen'
  /** Such as `nvme0n1p2 is mounted on /`. */
  readonly what: string
}

/** What the host uses of the device in directory `path`, links followed. */
export function hostUses(path: string, options: HostOptions = {}): HostUse[] {
  checkHostOptions(options)
  const subject = subjectAt(string(path, 'path'), options)
  const disks = diskUsage([subject], () => readMounts(options), options).uses
  return [...disks, ...networkUses(subject, options), ...screenUses(subject, options)].flatMap(
    ({ kind, what }) => (kind === 'disk' || kind === 'network' || kind === 'screen' ? [{ kind, what }] : []),
  )
}
