// Where the addon's binary can be: compiled on this machine, or brought by the package for a processor and a C library.
import { existsSync } from 'node:fs'
import { join } from 'node:path'

/** The C library of this process; null where that is not known. */
export type Libc = 'glibc' | 'musl' | null

/** What of the report that Node.js writes of a process is used here. */
export interface ReportHeader {
  readonly header?: { readonly glibcVersionRuntime?: string; readonly osName?: string }
}

function report(): ReportHeader | undefined {
  // As typed, it is always there; not every runtime has it.
  const { report: writer } = process as { report?: { getReport?: () => unknown } }
  return writer?.getReport?.() as ReportHeader | undefined
}

/** The version of glibc that this process has; undefined with another C library. */
export function glibcVersion(): string | undefined {
  return report()?.header?.glibcVersionRuntime
}

/** The C library of a process, by its report: each names the system, and glibc's version where there is glibc. */
export function libcOf(found: ReportHeader | undefined): Libc {
  if (found?.header?.osName === undefined) return null
  return found.header.glibcVersionRuntime === undefined ? 'musl' : 'glibc'
}

/** The processors for which the package has binaries. */
export const CARRIED_FOR: readonly string[] = ['x64', 'arm64']

/** The file's name, as node-gyp makes it of the target's. */
export const BINARY = 'node_vfio'

/** A way to the binary from the package's folder, in the words of `bindings`. */
export type Way = readonly string[]

const BUILT: Way = ['module_root', 'build', 'Release', 'bindings']
const carried = (folder: string): Way => ['module_root', 'prebuilds', folder, 'bindings']

/** Whether it was compiled here, which is asked for first: who does that wants it. */
export function isBuilt(root: string): boolean {
  return existsSync(join(root, 'build', 'Release', `${BINARY}.node`))
}

/** The ways to try, in their order. */
export function ways(root: string, { arch = process.arch, libc = (): Libc => libcOf(report()) } = {}): Way[] {
  // The report takes milliseconds, and in a clone nobody needs it.
  if (isBuilt(root) || !CARRIED_FOR.includes(arch)) return [BUILT]
  const found = libc()
  const folders = found === null ? ['glibc', 'musl'] : [found]
  return [BUILT, ...folders.map((name) => carried(`linux-${arch}-${name}`))]
}
