// The machine that is measured: what it is, and which of its CPUs are ours.
import { readFileSync } from 'node:fs'
import { availableParallelism, cpus, loadavg, release } from 'node:os'

/** One line about the machine, for whoever compares figures. */
export function describeMachine(): string {
  const load = loadavg()[0]?.toFixed(1) ?? '?'
  const count = availableParallelism()
  return `${cpus()[0]?.model ?? process.arch}, ${count} CPUs, load ${load}; Linux ${release()}; Node.js ${process.version}`
}

/** The CPUs that this process may use. */
export function allowedCpus(): number[] {
  const list = /^Cpus_allowed_list:\s*(\S+)/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0'
  return list.split(',').flatMap((range) => {
    const [first, last = first] = range.split('-').map(Number) as [number, number?]
    return Array.from({ length: last - first + 1 }, (_, i) => first + i)
  })
}
