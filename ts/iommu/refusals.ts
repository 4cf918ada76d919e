// What a refusal to map means, in words: the limit of locked memory, or what the backend says of it.
import { readFileSync } from 'node:fs'

import type { VfioError, VfioErrorContext } from '../errors.js'
import type { SpaceBackend } from './backend.js'
import { type Extent, span } from './placement.js'

/** RLIMIT_MEMLOCK and what is locked, in words, for the error that they cause. */
function memlockContext(size: number): VfioErrorContext {
  let limit = 'RLIMIT_MEMLOCK'
  try {
    const soft = /^Max locked memory\s+(\S+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1]
    const locked = /^VmLck:\s+(\d+) kB/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]
    const pinned = /^VmPin:\s+(\d+) kB/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]
    limit = `RLIMIT_MEMLOCK (${soft ?? '?'} bytes; ${locked ?? '?'} KiB locked, ${pinned ?? '?'} KiB pinned)`
  } catch {
    // Without /proc the figures are missing, the advice stands.
  }
  return {
    reason: 'memlock-limit',
    remedy: `Mapped memory is pinned and counts against ${limit}; ${String(size)} more bytes exceed it: raise it (ulimit -l, LimitMEMLOCK=) or map less.`,
  }
}

/** The context of a refusal to map an extent at an address. */
export function mapContext(
  backend: SpaceBackend,
  { size, peer }: Extent,
  iova: bigint,
  error: VfioError,
): VfioErrorContext {
  const context: VfioErrorContext = { subject: span(iova, BigInt(size)) }
  if (error.code === 'ENOMEM') return { ...context, ...memlockContext(size) }
  return { ...context, ...backend.explainMap(error, peer) }
}
