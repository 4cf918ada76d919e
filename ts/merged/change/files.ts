// Files and folders of the disk, as steps: what driverctl and mdevctl read after a reboot. Written whole or not at all.

import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs'
import { dirname } from 'node:path'
import { VfioError } from '../../errors.js'
import type { HostStep, HostWrite, Look } from '../../host/step.js'

const FOLDER = 'folder'

/** What Node refuses, as a VfioError that says who may. Other errors are given back as they are. */
export function explained(error: unknown, subject: string): unknown {
  const { errno, syscall, code } = error instanceof Error ? (error as NodeJS.ErrnoException) : {}
  if (errno === undefined || syscall === undefined) return error
  const denied = code === 'EACCES' || code === 'EPERM'
  return new VfioError(Math.abs(errno), syscall, {
    subject,
    ...(denied ? { reason: 'permission', remedy: 'The host is changed by root: run it as root.' } : {}),
  })
}

function absent(error: unknown): boolean {
  return error instanceof Error && 'code' in error && ['ENOENT', 'ENOTDIR'].includes(String(error.code))
}

/** What is there, byte for byte; null for nothing. */
export function lookAtDisk({ how, path }: Look): string | null {
  try {
    if (how === 'folder') return statSync(path).isDirectory() ? FOLDER : null
    return readFileSync(path, 'utf8')
  } catch (error) {
    if (absent(error)) return null
    throw error
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

/** Writes a file as a whole, and waits for the disk. */
export function writeWhole(path: string, text: string, mode = 0o644): void {
  const fresh = `${path}.node-vfio`
  const fd = openSync(fresh, 'w', mode)
  try {
    writeSync(fd, text)
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
  renameSync(fresh, path)
  syncFolder(dirname(path))
}

export function writeToDisk(how: Look['how'], { file, text }: HostWrite): void {
  if (how === 'folder') {
    if (text === null) rmdirSync(file)
    else mkdirSync(file)
    syncFolder(dirname(file))
    return
  }
  if (text !== null) {
    writeWhole(file, text)
    return
  }
  rmSync(file, { force: true })
  syncFolder(dirname(file))
}

/** The folders above `path` that are missing, outermost first, and then the file itself, if it has to change. */
export function fileSteps(path: string, text: string | null, why: string): HostStep[] {
  const old = lookAtDisk({ how: 'file', path })
  if (old === text) return []
  const steps: HostStep[] = [
    {
      write: { file: path, text },
      look: { how: 'file', path },
      old,
      new: text,
      why,
      undo: { file: path, text: old },
    },
  ]
  for (let folder = dirname(path); text !== null; folder = dirname(folder)) {
    const look = { how: 'folder', path: folder } as const
    if (lookAtDisk(look) !== null || folder === dirname(folder)) break
    steps.unshift({
      write: { file: folder, text: FOLDER },
      look,
      old: null,
      new: FOLDER,
      why: 'for the file in it',
      undo: { file: folder, text: null },
    })
  }
  return steps
}

export function isOnDisk({ look }: HostStep): boolean {
  return look.how === 'file' || look.how === 'folder'
}
