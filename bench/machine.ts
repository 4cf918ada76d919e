// The machine: what it is, and where threads run on it.
import { readdirSync, readFileSync } from 'node:fs'
import { availableParallelism, cpus, loadavg, release } from 'node:os'

import { benchAddon } from './addon.js'

/** One line about the machine, for whoever compares figures. */
export function describeMachine(): string {
  const load = loadavg()[0]!.toFixed(1)
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

/** Pins every thread of the process, libuv's and the peers' among them. */
export function pinProcess(to: readonly number[]): void {
  for (const thread of readdirSync('/proc/self/task')) benchAddon.pin(Number(thread), to)
}

/** Pins the thread that JavaScript runs on, and no other. */
export function pinMainThread(to: readonly number[]): void {
  benchAddon.pin(process.pid, to)
}
