// Files and folders of the disk, as steps: what driverctl and mdevctl read after a reboot. A file that was there comes back
// as it was: its bytes, mode and owner, and a symbolic link as a link.

import { lstatSync, mkdirSync, readFileSync, readlinkSync, rmdirSync, rmSync, statSync } from 'node:fs'
import { dirname } from 'node:path'
import { EEXIST, EINVAL, VfioError } from '../../errors.js'
import type { FileNature, HostStep, HostWrite, Look } from '../../host/step.js'
import { textOf } from './bytes.js'
import { onDisk, syncFolder, writeLink, writeWhole } from './disk.js'

const FOLDER = 'folder'
const PERMISSIONS = 0o7777

/** ELOOP: a symbolic link that leads to itself leads nowhere. */
const ABSENT = ['ENOENT', 'ENOTDIR', 'ELOOP']

const codeOf = (error: unknown): string =>
  error instanceof Error && 'code' in error ? String(error.code) : ''

/** What `read` gives; null where its subject is not there. */
function orNull<T>(path: string, read: () => T): T | null {
  return onDisk(path, () => {
    try {
      return read()
    } catch (error) {
      if (ABSENT.includes(codeOf(error))) return null
      throw error
    }
  })
}

/** What is there, byte for byte; null for nothing, and for a link that leads nowhere. */
export function lookAtDisk({ how, path }: Look): string | null {
  if (how === 'folder') return orNull(path, () => statSync(path).isDirectory()) === true ? FOLDER : null
  return orNull(path, () => {
    // A FIFO would never end, and could not be put back; a link to /dev/null, which masks a file, holds nothing.
    if (statSync(path).isFile()) return textOf(readFileSync(path))
    if (lstatSync(path).isSymbolicLink()) return ''
    throw new VfioError(EINVAL, 'read', { subject: path, remedy: 'It is no file: take it away first.' })
  })
}

/** What a file is beside what it holds; null for nothing. */
function natureOf(path: string): FileNature | null {
  return orNull(path, () => {
    const stat = lstatSync(path)
    const { uid, gid } = stat
    const mode = stat.mode & PERMISSIONS
    if (!stat.isSymbolicLink()) return { mode, uid, gid }
    return { mode, uid, gid, link: textOf(readlinkSync(path, 'buffer')) }
  })
}

export function writeToDisk(how: Look['how'], { file, text, nature }: HostWrite): void {
  onDisk(file, () => {
    if (how === 'folder') {
      if (text === null) rmdirSync(file)
      else mkdirSync(file, 0o755)
      syncFolder(dirname(file))
    } else if (nature?.link !== undefined) {
      writeLink(file, nature.link, nature)
    } else if (text !== null) {
      writeWhole(file, text, nature)
    } else {
      rmSync(file, { force: true })
      syncFolder(dirname(file))
    }
  })
}

/** Takes a folder away unless something is in it; says whether it is gone. */
export function removeEmptyFolder(path: string): boolean {
  return onDisk(path, () => {
    try {
      rmdirSync(path)
    } catch (error) {
      if (['ENOTEMPTY', 'EEXIST'].includes(codeOf(error))) return false
      if (!ABSENT.includes(codeOf(error))) throw error
      return true
    }
    syncFolder(dirname(path))
    return true
  })
}

function folderStep(folder: string): HostStep {
  return {
    write: { file: folder, text: FOLDER },
    look: { how: 'folder', path: folder },
    old: null,
    new: FOLDER,
    why: 'for the file in it',
    undo: { file: folder, text: null },
  }
}

/**
 * The folders above `path` that are missing, outermost first, and then the file itself, if it has to change. A symbolic
 * link gives way to a file, and what it leads to is not touched.
 * @throws VfioError EEXIST if there is something else in the place of one of the folders
 */
export function fileSteps(path: string, text: string | null, why: string): HostStep[] {
  const look = { how: 'file', path } as const
  const old = lookAtDisk(look)
  if (old === text) return []
  const nature = natureOf(path)
  const isFile = nature !== null && nature.link === undefined
  const steps: HostStep[] = [
    {
      write: { file: path, text, ...(text !== null && isFile ? { nature } : {}) },
      look,
      old,
      new: text,
      why,
      undo: { file: path, text: old, ...(nature === null ? {} : { nature }) },
    },
  ]
  for (let folder = dirname(path); text !== null; folder = dirname(folder)) {
    if (lookAtDisk({ how: 'folder', path: folder }) !== null || folder === dirname(folder)) break
    if (natureOf(folder) !== null)
      throw new VfioError(EEXIST, 'plan', {
        subject: folder,
        remedy: 'It is not a folder, or a symbolic link that leads to none: fix that first.',
      })
    steps.unshift(folderStep(folder))
  }
  return steps
}

export function isOnDisk({ look }: Pick<HostStep, 'look'>): boolean {
  return look.how === 'file' || look.how === 'folder'
}
