// The kernel's log, as far as this user may read it. It must not know what any line means.

import { closeSync, constants, openSync, readSync } from 'node:fs'
import { join } from 'node:path'
import { devRoot, type HostOptions } from './sysfs.js'

/** What of the log is still there. */
export interface KernelLog {
  readonly text: string
  /** Whether it goes back to the kernel's start: what is not in it then was not said. */
  readonly whole: boolean
}

/** Larger than any buffer that a kernel is built with. */
const MOST_BYTES = 16 << 20
const RECORD = 8192

const codeOf = (error: unknown): string =>
  error instanceof Error && 'code' in error ? String(error.code) : ''

/** One record at a time, as the kernel gives them: `6,0,0,-;Linux version ...`. */
function readRecords(fd: number): string {
  const bytes = Buffer.alloc(RECORD)
  const texts: string[] = []
  for (let length = 0; length < MOST_BYTES;) {
    try {
      const count = readSync(fd, bytes, 0, RECORD, null)
      if (count === 0) break
      texts.push(bytes.toString('utf8', 0, count))
      length += count
    } catch (error) {
      // EPIPE: records were overwritten meanwhile, and the next read goes on behind them.
      if (codeOf(error) === 'EPIPE') continue
      break
    }
  }
  return texts.join('')
}

/** Reads `/dev/kmsg`; null where there is none, or this user may not. */
export function readKernelLog(options: HostOptions = {}): KernelLog | null {
  if (!('O_NONBLOCK' in constants)) return null
  let fd: number
  try {
    fd = openSync(join(devRoot(options), 'kmsg'), constants.O_RDONLY | constants.O_NONBLOCK)
  } catch {
    return null
  }
  try {
    const text = readRecords(fd)
    return { text, whole: /^\d+,0,/.test(text) }
  } finally {
    closeSync(fd)
  }
}
