// Keeps the guard of mapped memory where it is when a program listens for SIGBUS: Node's handler then stands in the guard's
// place, and Node removes both when the last listener goes. Knows of the guard only that it can be put back.
import { isMainThread } from 'node:worker_threads'

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

/** From now on the guard is put back over Node's handler, at once: the next access may fault. */
export function keepGuard(guard: Guard): void {
  // Signals come to the main thread's process object only. Node's own listeners for these events come before this one.
  if (!isMainThread) return
  for (const event of ['newListener', 'removeListener']) {
    process.on(event, (signal) => {
      if (signal === 'SIGBUS') restore(guard)
    })
  }
}
