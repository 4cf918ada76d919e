// What the package costs before it does anything: import.time, memory.idle and memory.perEventFd. Each figure is the
// difference between two processes, with and without, or before and after.
import { spawnSync } from 'node:child_process'

import { type Row, compare } from '../harness.js'
import { ROOT } from '../limits.js'

const EVENTFDS = 4096
const MIB = 1 << 20
const NO_PEER = 'peer: no npm package does this work'

/** Runs a module in a new node, in the repository, where `node-vfio` is the package itself. Returns what it prints. */
function inNode(script: string): string {
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    ['--expose-gc', '--input-type=module', '--eval', script],
    { cwd: ROOT, encoding: 'utf8' },
  )
  if (status !== 0) throw new Error(`node --eval: ${stderr}`)
  return stdout
}

function milliseconds(script: string): number {
  const start = performance.now()
  inNode(script)
  return performance.now() - start
}

const IDLE = 'gc(); console.log(process.memoryUsage.rss())'
const EVERYTHING = "const { EventFd, SignalPoller } = await import('node-vfio')"

const PER_EVENTFD = `
  import { createRequire } from 'node:module'
  const { mallocBytes } = createRequire(import.meta.url)('./bench/addon/build/Release/bench.node')
  ${EVERYTHING}
  const used = () => { gc(); gc(); return process.memoryUsage().heapUsed + mallocBytes() }
  const eventfds = new Array(${EVENTFDS})
  new EventFd().close()
  const before = used()
  for (let i = 0; i < eventfds.length; i++) eventfds[i] = new EventFd()
  console.log((used() - before) / eventfds.length)
  for (const eventfd of eventfds) eventfd.close()`

export async function packageCosts(): Promise<Row[]> {
  return [
    await compare({
      name: 'import.time',
      unit: 'ms',
      ours: () => -milliseconds('') + milliseconds("await import('node-vfio')"),
      limit: { none: 'limit: it is the time above that of bare node, and no C++ program imports a module' },
      peer: { none: NO_PEER },
    }),
    await compare({
      name: 'memory.idle',
      unit: 'MiB',
      // With the addon loaded and a poller at rest, which is more than importing.
      ours: () =>
        (Number(inNode(`${EVERYTHING}; const poller = new SignalPoller(); ${IDLE}; poller.close()`)) -
          Number(inNode(IDLE))) /
        MIB,
      limit: { none: 'limit: it is the memory above that of bare node' },
      peer: { none: NO_PEER },
    }),
    await compare({
      name: 'memory.perEventFd',
      unit: 'bytes',
      runs: 9,
      ours: () => Number(inNode(PER_EVENTFD)),
      limit: { none: 'limit: in C++ an eventfd is a number' },
      peer: { none: NO_PEER },
    }),
  ]
}
