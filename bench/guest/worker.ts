// The guest's processor, on a thread of its own: runs it, and answers its console.
import { parentPort, workerData } from 'node:worker_threads'

import { CONTROL, doorbellAddress, READY, SERIAL } from '../../examples/vmm/guest/runtime.js'
import type { ShareToken } from '../../ts/index.js'
import { Vcpu, type VcpuExit } from '../../ts/kvm/index.js'

export interface GuestWorkerData {
  vcpu: ShareToken<'Vcpu'>
  /** The CPU to run on. */
  cpu: number | undefined
  /** Counts doorbells that no eventfd took. */
  exits: BigInt64Array
}

const LINE_STATUS = SERIAL + 5
const LINE_EMPTY = 0x20
/** The calling thread, for sched_setaffinity. */
const THIS_THREAD = 0

const DOORBELL = BigInt(doorbellAddress(0))

const { vcpu: token, cpu, exits } = workerData as GuestWorkerData
// Only benchmarks pin, and only they have built their addon.
if (cpu !== undefined) (await import('../addon.js')).benchAddon.pin(THIS_THREAD, [cpu])
const vcpu = Vcpu.claim(token)

function handle(exit: VcpuExit): void {
  if (exit.reason === 'interrupted') return
  if (exit.reason === 'mmio' && exit.isWrite && exit.address === DOORBELL) {
    Atomics.add(exits, 0, 1n)
  } else if (exit.reason === 'io') {
    if (exit.direction === 'in') exit.data[0] = exit.port === LINE_STATUS ? LINE_EMPTY : 0
    else if (exit.port === CONTROL && exit.data[0] === READY) parentPort?.postMessage('ready')
  } else {
    throw new Error(`the guest ended: ${exit.reason}`)
  }
}

for (;;) handle(vcpu.run())
