// Runs `vfio` commands against a sysfs of a test's own, and keeps what they write.
import { writeFileSync } from 'node:fs'
import test, { type ExecutionContext } from 'ava'
import type { HostOptions } from '../../../ts/host/index.js'
import type { CliContext } from '../../../ts/cli/context.js'
import { run } from '../../../ts/cli/program.js'
import { checkOutput } from './schemas.js'
import { SysfsTree } from '../host/fixture.js'

export interface Outcome {
  readonly status: number
  readonly out: string
  readonly err: string
  /** What was written as bytes. */
  readonly bytes: Buffer
}

export interface Cli {
  readonly tree: SysfsTree
  /** Where the command is told to look. */
  readonly host: HostOptions
  /** Puts a node into the tree's /dev/vfio. */
  readonly node: (name: string) => void
  readonly vfio: (...args: string[]) => Promise<Outcome>
}

/** @param given what the command is given beside its host, where that matters */
export function cliTest(
  title: string,
  body: (t: ExecutionContext, cli: Cli) => Promise<void>,
  given: Partial<CliContext> = {},
): void {
  // A Windows file name cannot hold the colons of a PCI address.
  const declare = process.platform === 'win32' ? test.skip : test
  declare(title, async (t) => {
    const tree = new SysfsTree()
    t.teardown(() => tree.remove())
    const host = {
      sysfsRoot: tree.root,
      devRoot: tree.path('dev'),
      procRoot: tree.path('proc'),
      pciIds: tree.path('pci.ids'),
      etcRoot: tree.path('etc'),
      usrRoot: tree.path('usr'),
    }
    await body(t, {
      tree,
      host,
      node: (name) => {
        tree.dir('dev/vfio')
        writeFileSync(tree.path('dev/vfio', name), '')
      },
      vfio: async (...args) => {
        let out = ''
        let err = ''
        const bytes: Uint8Array[] = []
        const status = await run(args, {
          host,
          out: (text) => (out += text),
          outBytes: (chunk) => bytes.push(chunk),
          err: (text) => (err += text),
          color: false,
          columns: null,
          uid: 1000,
          redraw: (_lines, text) => (out += text),
          onInterrupt: () => () => undefined,
          ...given,
        })
        const written = { status, out, err, bytes: Buffer.concat(bytes) }
        if (status === 0 && args.includes('--json')) checkOutput(out)
        return written
      },
    })
  })
}
