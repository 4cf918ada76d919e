// Notices when a program takes SIGBUS for itself: libuv's handler would then stand where the guard of mapped BARs was, and
// a device that stops answering would end the process.
import { isMainThread } from 'node:worker_threads'

let watching = false

function warn(): void {
  process.emitWarning("a listener for SIGBUS replaces node-vfio's guard of mapped BARs", {
    type: 'VfioGuardWarning',
    detail: 'Open devices with { guard: false }, or leave SIGBUS alone.',
  })
}

/** From now on warns when a SIGBUS listener is added, and at once if there is one. */
export function watchSignalListeners(): void {
  // Signals come to the main thread's process object only.
  if (watching || !isMainThread) return
  watching = true
  if (process.listenerCount('SIGBUS') > 0) warn()
  process.on('newListener', (event) => {
    if (event === 'SIGBUS') warn()
  })
}
