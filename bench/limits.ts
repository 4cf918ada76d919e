// The C++ limits as programs: each prints a number, or several.
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
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
  return Number(run(name, args, fds))
}

/** Runs one that takes many samples, and gives them: nanoseconds, in their order. */
export function runLimitForSamples(name: string, args: readonly (string | number)[]): Float64Array {
  const folder = mkdtempSync(join(tmpdir(), 'node-vfio-bench-'))
  try {
    const file = join(folder, 'samples')
    run(name, args, [], { BENCH_SAMPLES: file })
    const { buffer, byteOffset, length } = readFileSync(file)
    return new Float64Array(buffer.slice(byteOffset, byteOffset + length))
  } finally {
    rmSync(folder, { recursive: true })
  }
}

function run(
  name: string,
  args: readonly (string | number)[],
  fds: readonly number[],
  env: Record<string, string> = {},
): string {
  const { status, signal, stdout, stderr, error } = spawnSync(
    `${ROOT}build-bench/limits/${name}`,
    args.map(String),
    {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe', ...fds],
      env: { ...process.env, ...env },
    },
  )
  if (error !== undefined) throw error
  if (status === 0) return stdout
  throw new Error(
    `build-bench/limits/${name}: ${stderr.trim()} (${signal ?? `exit status ${String(status)}`})`,
  )
}
