// Where threads run on the machine.
import { readdirSync } from 'node:fs'
import { benchAddon } from './addon.js'

export { allowedCpus, describeMachine } from '../ts/measure/machine.js'

/** Pins every thread of the process, libuv's and the peers' among them. */
export function pinProcess(to: readonly number[]): void {
  for (const thread of readdirSync('/proc/self/task')) benchAddon.pin(Number(thread), to)
}

/** Pins the thread that JavaScript runs on, and no other. */
export function pinMainThread(to: readonly number[]): void {
  benchAddon.pin(process.pid, to)
}
