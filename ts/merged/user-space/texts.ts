// Which texts are in a program or a library: how to tell what it was built with, without running it. It must not know any of them.

import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs'

/** Bytes at a time. */
const CHUNK = 1 << 20
/** No program or library that is looked at here is near this size. */
const MOST = 512 << 20

// Windows has no such flag.
const NONBLOCK = 'O_NONBLOCK' in constants ? constants.O_NONBLOCK : 0

/**
 * The texts among `wanted` that are in the file; null if there is no such file.
 * @throws Error if it is there and cannot be read, or is no file, or has more than 512 MiB
 */
export function textsIn<T extends string>(path: string, wanted: readonly T[]): ReadonlySet<T> | null {
  let fd
  try {
    fd = openSync(path, constants.O_RDONLY | NONBLOCK)
  } catch (error) {
    if (error instanceof Error && 'code' in error && ['ENOENT', 'ENOTDIR'].includes(String(error.code)))
      return null
    throw error
  }
  try {
    const status = fstatSync(fd)
    if (!status.isFile()) throw new Error(`${path} is no file`)
    if (status.size > MOST) throw new Error(`${path} has more than ${MOST} bytes`)
    return search(fd, wanted)
  } finally {
    closeSync(fd)
  }
}

function search<T extends string>(fd: number, wanted: readonly T[]): Set<T> {
  const found = new Set<T>()
  // A text may lie across two chunks: of each, as much stays as the longest text could need.
  const kept = Math.max(...wanted.map((text) => text.length)) - 1
  const bytes = Buffer.alloc(kept + CHUNK)
  let held = 0
  for (;;) {
    const count = readSync(fd, bytes, held, CHUNK, null)
    if (count === 0) return found
    const part = bytes.subarray(0, held + count)
    for (const text of wanted) if (!found.has(text) && part.includes(text)) found.add(text)
    if (found.size === wanted.length) return found
    held = Math.min(kept, part.length)
    bytes.copyWithin(0, part.length - held, part.length)
  }
}
