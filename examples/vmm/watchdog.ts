// Ends what makes no progress: an interrupt that was lost would otherwise be waited for for ever.

/** Calls `expired` when `progress` has given the same number for a while. Returns how to stop watching. */
export function watch(progress: () => number, seconds: number, expired: () => void): () => void {
  let last = progress()
  const timer = setInterval(() => {
    const now = progress()
    if (now === last) expired()
    last = now
  }, seconds * 1000)
  return () => {
    clearInterval(timer)
  }
}
