// Which folder of native/ may include which. It reads #include lines and knows nothing of C++ beyond them.

/**
 * What each folder of native/ may include beside itself. '' is native/ itself, the module's entry.
 *
 * @type {Record<string, readonly string[]>}
 */
export const MAY_INCLUDE = {
  support: [],
  uapi: [],
  event: ['support'],
  memory: ['support'],
  socket: ['event', 'memory', 'support'],
  drm: ['memory', 'support'],
  iommufd: ['memory', 'support', 'uapi'],
  vfio: ['event', 'iommufd', 'memory', 'support', 'uapi'],
  kvm: ['event', 'memory', 'support', 'uapi'],
  '': ['support', 'event', 'memory', 'vfio', 'iommufd', 'kvm', 'socket', 'drm'],
}

/**
 * A way round in the table, folder by folder, or undefined.
 *
 * @param {Record<string, readonly string[]>} table
 * @returns {string[] | undefined}
 */
export const circleIn = (table) => {
  /** @type {Set<string>} */
  const cleared = new Set()
  /** @type {(folder: string, path: string[]) => string[] | undefined} */
  const walk = (folder, path) => {
    if (path.includes(folder)) return [...path.slice(path.indexOf(folder)), folder]
    if (cleared.has(folder)) return undefined
    for (const next of table[folder] ?? []) {
      const circle = walk(next, [...path, folder])
      if (circle !== undefined) return circle
    }
    cleared.add(folder)
    return undefined
  }
  for (const folder of Object.keys(table)) {
    const circle = walk(folder, [])
    if (circle !== undefined) return circle
  }
  return undefined
}

/** @param {string} path */
const folderOf = (path) => path.split('/').slice(0, -1).join('/')

/**
 * What is wrong with the includes and the names of files, one line each, with file and line.
 *
 * @param {Map<string, string>} files texts by their paths in native/
 * @param {Record<string, readonly string[]>} [table]
 * @returns {string[]}
 */
export const includeProblems = (files, table = MAY_INCLUDE) => {
  const problems = []
  const circle = circleIn(table)
  if (circle !== undefined) problems.push(`the table of folders has a circle: ${circle.join(' -> ')}`)
  for (const [path, text] of files) {
    const folder = folderOf(path)
    const allowed = table[folder]
    if (allowed === undefined) {
      problems.push(`native/${path}:1: no row for native/${folder} in the table of folders`)
      continue
    }
    if (path.includes('-')) problems.push(`native/${path}:1: words in a file's name are separated by _`)
    for (const [index, line] of text.split('\n').entries()) {
      const [, included] = /^\s*#\s*include\s*"([^"]+)"/.exec(line) ?? []
      if (included === undefined) continue
      const to = folderOf(included)
      const where = `native/${path}:${index + 1}`
      if (!files.has(included)) {
        problems.push(`${where}: there is no native/${included}`)
      } else if (to !== folder && !allowed.includes(to)) {
        const may = allowed.length === 0 ? 'no other folder' : `only ${allowed.join(', ')}`
        problems.push(`${where}: includes ${included}, but native/${folder} may include ${may}`)
      }
    }
  }
  return problems
}
