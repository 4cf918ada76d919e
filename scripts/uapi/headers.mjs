// The headers of Linux as Debian packages them, downloaded and unpacked beside the system's own.

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Apt } from '../../rig/index.mjs'

const SUITE = 'trixie-backports'
const PACKAGE = 'linux-libc-dev'

/** Calls `use` with the include folder of the newest headers, or of the newest of a series (as in '7.2'). */
export const withHeaders = async (series, use) => {
  const folder = mkdtempSync(join(tmpdir(), 'node-vfio-headers-'))
  try {
    const apt = new Apt(join(folder, 'apt'), { suites: [SUITE] })
    await apt.update()
    const found = apt.describe(PACKAGE, series && `${series}*`)
    if (found === undefined) throw new Error(`the suite ${SUITE} has no ${PACKAGE} ${series ?? ''}`)
    await apt.unpack([found], join(folder, 'root'))
    return await use(join(folder, 'root/usr/include'))
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
