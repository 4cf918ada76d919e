// Temporary folders of tests: made here alone, and gone with the test. Those of a test that is killed go with the run
// (ava.config.js). It must not know what is put there.
import { mkdtempSync, realpathSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type ExecutionContext } from 'ava'

/**
 * A new folder, links followed, whose name begins with `node-vfio-` and `name`. `below` is for what has to lie on a file system of
 * another kind. The test removes it at its end; without one, the caller does.
 */
export function temporaryFolder(
  t: Pick<ExecutionContext, 'teardown'> | null,
  name: string,
  below = tmpdir(),
): string {
  const folder = realpathSync(mkdtempSync(join(below, `node-vfio-${name}-`)))
  t?.teardown(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}
