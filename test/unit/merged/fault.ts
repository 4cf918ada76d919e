// A `vfio` that is killed at a point of its own choosing: NODE_VFIO_FAULT is `PHASE:INDEX`, such as `after-write:1`. At
// NODE_VFIO_FULL, or from the start, the disk of its journals is full. With NODE_VFIO_TREE it runs on a tree with the simulated
// kernel, without it on this machine. Only tests start it.

import { run } from '../../../ts/cli/program.js'
import type { ChangeOptions } from '../../../ts/merged/index.js'
import { rootsIn } from './change-roots.js'
import { fillCopyOnWriteDisk, fillDisk } from './disk.js'
import { SimulatedKernel } from './kernel.js'

const {
  NODE_VFIO_FULL: full,
  NODE_VFIO_FAULT: fault,
  NODE_VFIO_TREE: tree,
  NODE_VFIO_STATE: stateRoot,
} = process.env
const roots = tree === undefined ? {} : rootsIn(tree)

const changes: ChangeOptions = {
  ...roots,
  ...(tree === undefined ? {} : { io: new SimulatedKernel(tree) }),
  ...(stateRoot === undefined ? {} : { stateRoot }),
  onEvent: ({ phase, index }) => {
    if (`${phase}:${index}` === full) fillDisk(changes.stateRoot ?? '/var/lib/node-vfio')
    if (`${phase}:${index}` === fault) process.kill(process.pid, 'SIGKILL')
  },
}

if (full === 'start') fillCopyOnWriteDisk(changes.stateRoot ?? '/var/lib/node-vfio')

process.exitCode = await run(process.argv.slice(2), {
  host: roots,
  changes,
  out: (text) => process.stdout.write(text),
  outBytes: (bytes) => process.stdout.write(bytes),
  err: (text) => process.stderr.write(text),
  redraw: () => undefined,
  onInterrupt: () => () => undefined,
  color: false,
  columns: null,
  uid: 0,
})
