// Writes to the disk that are whole and lasting, and what its refusals mean. It must not know what is written.

import {
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  fstatSync,
  fsyncSync,
  lchownSync,
  openSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeSync,
} from 'node:fs'
import { dirname } from 'node:path'
import { EIO, ofNode, VfioError } from '../../errors.js'
import type { FileNature } from '../../host/step.js'
import { bytesOf } from './bytes.js'

const REMEDIES: Readonly<Record<string, string>> = {
  ENOSPC: 'The file system is full (no space or no inodes): make room on it.',
  EDQUOT: 'The quota on this file system is used up: free some space or raise it.',
  EROFS: 'The file system is mounted read-only here.',
  EISDIR: 'A folder has the name of the file.',
  ENOTDIR: 'A file has the name of a folder.',
  ELOOP: 'Its symbolic links lead nowhere.',
}

/** What Node refuses, as a VfioError with what to do. Other errors are given back as they are. */
export function explained(error: unknown, subject: string): unknown {
  const { code = '' } = error instanceof Error ? (error as NodeJS.ErrnoException) : {}
  if (code === 'EACCES' || code === 'EPERM')
    return ofNode(error, {
      subject,
      reason: 'permission',
      remedy: 'Only root can change the host: run it as root.',
    })
  const remedy = REMEDIES[code]
  return ofNode(error, { subject, ...(remedy === undefined ? {} : { remedy }) })
}

/** Runs `act`; what Node refuses comes out as a VfioError about `subject`. */
export function onDisk<T>(subject: string, act: () => T): T {
  try {
    return act()
  } catch (error) {
    throw explained(error, subject)
  }
}

/** A disk that is nearly full takes a part of a write and says so only by the count. */
export function writeFully(fd: number, bytes: Buffer, position: number): void {
  for (let done = 0; done < bytes.length;) {
    const count = writeSync(fd, bytes, done, bytes.length - done, position + done)
    if (count === 0) throw new VfioError(EIO, 'write', { remedy: 'The file system accepts no more data.' })
    done += count
  }
}

/** What was written is there after a loss of power. */
export function syncFolder(path: string): void {
  const fd = openSync(path, 'r')
  try {
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
}

const freshName = (path: string): string => `${path}.node-vfio`

/** What a process that was killed while it wrote `path` has left beside it. */
export function clearTrace(path: string): void {
  rmSync(freshName(path), { force: true })
}

const { O_CREAT, O_EXCL, O_WRONLY } = constants

function writeFresh(path: string, text: string, nature: FileNature | undefined): void {
  // Nobody else may read it before it has its mode.
  const fd = openSync(path, O_WRONLY | O_CREAT | O_EXCL, nature === undefined ? 0o644 : 0o600)
  try {
    writeFully(fd, bytesOf(text), 0)
    if (nature !== undefined) {
      const { uid, gid } = fstatSync(fd)
      if (uid !== nature.uid || gid !== nature.gid) fchownSync(fd, nature.uid, nature.gid)
      fchmodSync(fd, nature.mode)
    }
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
}

/** Puts what `make` makes of a fresh name in the place of `path`, at once: the old is there, or the new. */
function replace(path: string, make: (fresh: string) => void): void {
  const fresh = freshName(path)
  rmSync(fresh, { force: true })
  try {
    make(fresh)
    renameSync(fresh, path)
  } catch (error) {
    rmSync(fresh, { force: true })
    throw error
  }
  syncFolder(dirname(path))
}

/** Writes a file as a whole, with mode and owner if they are given, and waits for the disk. */
export function writeWhole(path: string, text: string, nature?: FileNature): void {
  replace(path, (fresh) => writeFresh(fresh, text, nature))
}

/** Makes a symbolic link, or puts it in the place of a file. */
export function writeLink(path: string, link: string, { uid, gid }: FileNature): void {
  replace(path, (fresh) => {
    symlinkSync(bytesOf(link), fresh)
    if (uid !== process.getuid?.() || gid !== process.getgid?.()) lchownSync(fresh, uid, gid)
  })
}
