// Owns the cache folder: where it is, and how something enters it. What is in the cache is complete, because
// it is made beside its place and moved there in one rename; two first runs at once therefore cannot mix.

import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, statSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'

export const cacheFolder = () => {
  const folder = join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'node-vfio', 'rig')
  mkdirSync(folder, { recursive: true })
  return folder
}

const DAY = 24 * 60 * 60 * 1000

// A run that was killed while it filled the cache leaves its half-made folder behind.
const sweep = (folder) => {
  for (const name of readdirSync(folder).filter((entry) => entry.startsWith('.making-'))) {
    const path = join(folder, name)
    const made = statSync(path, { throwIfNoEntry: false })
    if (made && Date.now() - made.mtimeMs > DAY) rmSync(path, { recursive: true, force: true })
  }
}

/** The path of `name` in the cache; when it is missing, `make` is called to fill a folder that becomes it. */
export const cached = async (name, make) => {
  const folder = cacheFolder()
  const place = join(folder, name)
  if (existsSync(place)) return place
  sweep(folder)
  const making = mkdtempSync(join(folder, '.making-'))
  try {
    await make(making)
    renameSync(making, place)
  } catch (error) {
    // ENOTEMPTY and EEXIST say that another run was faster; what it made is as good as ours.
    if (!existsSync(place) || !['ENOTEMPTY', 'EEXIST'].includes(error.code)) throw error
  } finally {
    rmSync(making, { recursive: true, force: true })
  }
  return place
}

export const digest = (...parts) => {
  const hash = createHash('sha256')
  for (const part of parts) hash.update(part).update('\0')
  return hash.digest('hex').slice(0, 16)
}
