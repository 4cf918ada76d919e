// A disk that does what a test says, in the place of the one below some folders: full, taking a part of each write, and
// telling what was synced. It goes by Node's own functions, so that the code under test is none the wiser.

import fs, { fstatSync, readlinkSync } from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import { constants } from 'node:os'

const real = {
  writeSync: fs.writeSync,
  fsyncSync: fs.fsyncSync,
  renameSync: fs.renameSync,
  linkSync: fs.linkSync,
}

/** Whatever was replaced is Node's own again. */
export function mend(): void {
  Object.assign(fs, real)
  syncBuiltinESMExports()
}

/** Puts functions in the place of Node's; each is given the real one. */
export function replace(functions: Partial<typeof real>): void {
  Object.assign(fs, functions)
  syncBuiltinESMExports()
}

export const genuine = real

const pathOf = (fd: number): string => readlinkSync(`/proc/self/fd/${fd}`)

function noSpace(): never {
  throw Object.assign(new Error('ENOSPC: no space left on device, write'), {
    errno: -constants.errno.ENOSPC,
    code: 'ENOSPC',
    syscall: 'write',
  })
}

type Write = (fd: number, bytes: Buffer, position: number) => number

/** Takes each form of a write apart: a text or bytes, a part of them, at a position or at the end. */
function onWrite(roots: readonly string[], act: Write): void {
  const writeSync = (fd: number, data: unknown, ...rest: (number | null | undefined | string)[]): number => {
    if (!roots.some((root) => pathOf(fd).startsWith(root)))
      return (real.writeSync as (...all: unknown[]) => number)(fd, data, ...rest)
    const [first, second, third] = rest
    if (typeof data === 'string')
      return act(fd, Buffer.from(data), typeof first === 'number' ? first : fstatSync(fd).size)
    const whole = data as Buffer
    const offset = typeof first === 'number' ? first : 0
    const length = typeof second === 'number' ? second : whole.length - offset
    const position = typeof third === 'number' ? third : fstatSync(fd).size
    return act(fd, whole.subarray(offset, offset + length), position)
  }
  replace({ writeSync })
}

const write: Write = (fd, bytes, position) => real.writeSync(fd, bytes, 0, bytes.length, position)

/** No file below `roots` grows any more. What a file has already can be written over. */
export function fillDisk(...roots: string[]): void {
  onWrite(roots, (fd, bytes, position) => {
    const room = Math.min(bytes.length, fstatSync(fd).size - position)
    return room <= 0 ? noSpace() : write(fd, bytes.subarray(0, room), position)
  })
}

/** The same of a file system that never writes in place: nothing can be written over either. */
export function fillCopyOnWriteDisk(...roots: string[]): void {
  onWrite(roots, noSpace)
}

/** Each write takes seven bytes at most, and says so. */
export function shortWrites(...roots: string[]): void {
  onWrite(roots, (fd, bytes, position) => write(fd, bytes.subarray(0, 7), position))
}

/** Calls back with the path of everything that is synced, written or renamed below `roots`. */
export function watchDisk(
  tell: (what: 'write' | 'sync' | 'rename', path: string) => void,
  ...roots: string[]
): void {
  onWrite(roots, (fd, bytes, position) => {
    tell('write', pathOf(fd))
    return write(fd, bytes, position)
  })
  replace({
    fsyncSync: (fd) => {
      tell('sync', pathOf(fd))
      real.fsyncSync(fd)
    },
    renameSync: (from, to) => {
      tell('rename', String(to))
      real.renameSync(from, to)
    },
  })
}
