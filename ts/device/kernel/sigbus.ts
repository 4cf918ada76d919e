// Keeps the guard of mapped memory where it is when a program listens for SIGBUS: Node's handler then stands in the guard's
// place, and Node removes both when the last listener goes. Knows of the guard only that it can be put back.
import { isMainThread } from 'node:worker_threads'

import { whenLoaded } from '../../native/index.js'

interface Guard {
  guardRestore(): boolean
}

let warned = false

function restore(guard: Guard): void {
  if (guard.guardRestore() || warned) return
  warned = true
  process.emitWarning("a listener for SIGBUS replaces node-vfio's guard of mapped BARs", {
    type: 'VfioGuardWarning',
    detail: 'Open devices with { guard: false }, or leave SIGBUS alone.',
  })
}

// From the addon's first use on: it may be a Worker that maps, and signals come to the main thread's process object only.
whenLoaded((guard: Guard) => {
  if (!isMainThread) return
  // At once, for the next access may fault. Node's own listeners for these events come before this one.
  for (const event of ['newListener', 'removeListener']) {
    process.on(event, (signal) => {
      if (signal === 'SIGBUS') restore(guard)
    })
  }
})
