// The C++ limits as programs: each prints one number.
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'

/** The repository, seen from build-bench/bench. */
export const ROOT = fileURLToPath(new URL('../..', import.meta.url))

export const REGISTERS_LIBRARY = `${ROOT}build-bench/limits/libregisters.so`

/** Runs a limit program, which sees `fds` as its descriptors 3 and up. */
export function runLimit(
  name: string,
  args: readonly (string | number)[],
  fds: readonly number[] = [],
): number {
  const { status, signal, stdout, stderr, error } = spawnSync(
    `${ROOT}build-bench/limits/${name}`,
    args.map(String),
    {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe', ...fds],
    },
  )
  if (error !== undefined) throw error
  if (status === 0) return Number(stdout)
  throw new Error(
    `build-bench/limits/${name}: ${stderr.trim()} (${signal ?? `exit status ${String(status)}`})`,
  )
}
