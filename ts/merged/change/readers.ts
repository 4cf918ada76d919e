// Whether anything on this host reads what is kept for after a reboot: driverctl and mdevctl come into play by a udev rule
// each. It must not know what is kept.

import { join } from 'node:path'
import { listNames, readText } from '../../host/sysfs.js'
import type { ChangeOptions } from './types.js'

/** In udev's order: a file hides those of its name in later folders, and an empty one (a link to /dev/null) masks them. */
function ruleFolders({ etcRoot = '/etc', usrRoot = '/usr' }: ChangeOptions): string[] {
  return [etcRoot, join(usrRoot, 'local', 'lib'), join(usrRoot, 'lib'), join(usrRoot, '..', 'lib')].map(
    (root) => join(root, 'udev', 'rules.d'),
  )
}

/** A warning if nothing will read `file`, which is kept for a tool; null if the tool is there. */
export function unread(tool: 'driverctl' | 'mdevctl', file: string, options: ChangeOptions): string | null {
  const seen = new Set<string>()
  for (const folder of ruleFolders(options)) {
    for (const name of (listNames(folder) ?? []).filter((each) => each.endsWith(`${tool}.rules`))) {
      if (seen.has(name)) continue
      seen.add(name)
      if ((readText(folder, name) ?? '') !== '') return null
    }
  }
  const why = seen.size > 0 ? `the udev rule of ${tool} is masked` : `${tool} is not installed`
  return `nothing on this host reads ${file} (${why}): the change lasts only until the next boot; install the package ${tool}`
}
