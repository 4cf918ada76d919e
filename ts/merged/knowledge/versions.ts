// Compares versions of kernels and drivers, as far as they are known: `580.x` is some version of a branch. It must not know any
// rule.

interface Version {
  readonly parts: readonly number[]
  /** Whether more parts follow that are not known. */
  readonly open: boolean
}

/** The numbers at the start of a version; null if there are none. */
function parse(text: string): Version | null {
  const match = /^\d+(?:\.\d+)*/.exec(text)
  if (match === null) return null
  return {
    parts: match[0].split('.').map(Number),
    open: /^\.[x*]$/.test(text.slice(match[0].length)),
  }
}

/**
 * Distributions call all updates of a stable branch by its first release and a number of their own: `6.1.0-18-amd64`. What such a
 * kernel has of `6.1.119` cannot be told.
 */
function hidesUpdates(release: string, parts: readonly number[]): boolean {
  return parts.length === 3 && parts[2] === 0 && /^\d+\.\d+\.0-\d/.test(release)
}

/**
 * Below 0 if `version` is earlier than `bound`, 0 for the same, above 0 for a later one; null if it cannot be told, or either is no
 * version.
 */
export function compareVersions(version: string, bound: string): number | null {
  const have = parse(version)
  const want = parse(bound)
  if (have === null || want === null) return null
  const open = have.open || hidesUpdates(version, have.parts)
  const known = have.open ? have.parts : open ? have.parts.slice(0, 2) : have.parts
  for (const [index, part] of want.parts.entries()) {
    if (index >= known.length && open && want.parts.slice(index).some((each) => each !== 0)) return null
    const difference = (known[index] ?? 0) - part
    if (difference !== 0) return difference
  }
  return known.slice(want.parts.length).some((each) => each !== 0) || (open && have.open) ? 1 : 0
}

/** Whether `version` is `least` or a later one; null if it cannot be told. */
export function isAtLeast(version: string, least: string): boolean | null {
  const order = compareVersions(version, least)
  return order === null ? null : order >= 0
}

/** Whether a version belongs to a branch, such as 580.126.08 to 580. */
export function isOfBranch(version: string, branch: string): boolean {
  return version === branch || version.startsWith(`${branch}.`)
}

/** Whether a text is as a pattern says, in which `*` stands for any piece. */
export function isLike(text: string, pattern: string): boolean {
  const [first = '', ...rest] = pattern.split('*')
  if (rest.length === 0) return text === pattern
  const last = rest.pop() ?? ''
  if (!text.startsWith(first) || !text.endsWith(last) || text.length < first.length + last.length)
    return false
  let at = first.length
  for (const piece of rest) {
    const found = text.indexOf(piece, at)
    if (found < 0 || found + piece.length > text.length - last.length) return false
    at = found + piece.length
  }
  return true
}
