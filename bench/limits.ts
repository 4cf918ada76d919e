// The C++ limits as programs: each prints a number, or several.
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'

/** The repository, seen from build-bench/bench. */
export const ROOT = fileURLToPath(new URL('../..', import.meta.url))

export const REGISTERS_LIBRARY = `${ROOT}build-bench/limits/libregisters.so`

/** Runs a limit program, which sees `fds` as its descriptors 3 and up, and gives the number that it prints. */
export function runLimit(
  name: string,
  args: readonly (string | number)[],
  fds: readonly number[] = [],
): number {
  return runLimitOfSeveral(name, args, fds)[0]!
}

/** The same for a program that prints several numbers. */
export function runLimitOfSeveral(
  name: string,
  args: readonly (string | number)[],
  fds: readonly number[] = [],
): number[] {
  const { status, signal, stdout, stderr, error } = spawnSync(
    `${ROOT}build-bench/limits/${name}`,
    args.map(String),
    {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe', ...fds],
    },
  )
  if (error !== undefined) throw error
  if (status === 0) return stdout.trim().split(/\s+/).map(Number)
  throw new Error(
    `build-bench/limits/${name}: ${stderr.trim()} (${signal ?? `exit status ${String(status)}`})`,
  )
}
