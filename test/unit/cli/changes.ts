// Runs the commands that change the host on a tree with the simulated kernel, and keeps what they write.
import test, { type ExecutionContext } from 'ava'
import { run } from '../../../ts/cli/program.js'
import { SysfsTree } from '../host/fixture.js'
import { rootsIn, usualHost } from '../merged/change.js'
import { type Faults, photograph, SimulatedKernel } from '../merged/kernel.js'
import { checkOutput } from './schemas.js'

export interface ChangeCli {
  readonly tree: SysfsTree
  readonly vfio: (...args: string[]) => Promise<{ status: number; out: string; err: string }>
  readonly faults: (faults: Faults) => void
  readonly photograph: () => Record<string, string>
}

export function changeCliTest(
  title: string,
  body: (t: ExecutionContext, cli: ChangeCli) => Promise<void>,
): void {
  const declare = process.platform === 'linux' ? test.serial : test.skip
  declare(title, async (t) => {
    const tree = new SysfsTree()
    t.teardown(() => tree.remove())
    usualHost(tree)
    const roots = rootsIn(tree.root)
    let io = new SimulatedKernel(tree.root)
    await body(t, {
      tree,
      faults: (faults) => (io = new SimulatedKernel(tree.root, faults)),
      photograph: () => photograph(tree.root, ['var/lib/node-vfio']),
      vfio: async (...args) => {
        let out = ''
        let err = ''
        const status = await run(args, {
          host: roots,
          changes: { ...roots, io },
          outBytes: () => undefined,
          redraw: () => undefined,
          onInterrupt: () => () => undefined,
          color: false,
          columns: null,
          uid: 0,
          out: (text) => (out += text),
          err: (text) => (err += text),
        })
        if (args.includes('--json')) checkOutput(out)
        return { status, out: out.replaceAll(tree.root, ''), err: err.replaceAll(tree.root, '') }
      },
    })
  })
}
