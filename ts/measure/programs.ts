// Runs the C++ limits: programs that print a number, or leave samples in a file.
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export type ProgramArguments = readonly (string | number)[]

export interface ProgramOptions {
  /** Its descriptors 3 and up. */
  readonly fds?: readonly number[]
  /** Added to the environment. */
  readonly env?: Readonly<Record<string, string>>
}

/** Runs a program and gives what it prints. */
export function runProgram(
  file: string,
  args: ProgramArguments,
  { fds = [], env = {} }: ProgramOptions = {},
): string {
  const { status, signal, stdout, stderr, error } = spawnSync(file, args.map(String), {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe', ...fds],
    env: { ...process.env, ...env },
  })
  if (error !== undefined) throw error
  if (status === 0) return stdout
  throw new Error(`${file}: ${stderr.trim()} (${signal ?? `exit status ${String(status)}`})`)
}

/** Runs one that takes many samples, and gives them: nanoseconds, in their order. */
export function runProgramForSamples(file: string, args: ProgramArguments): Float64Array {
  const folder = mkdtempSync(join(tmpdir(), 'node-vfio-bench-'))
  try {
    const samples = join(folder, 'samples')
    runProgram(file, args, { env: { BENCH_SAMPLES: samples } })
    const { buffer, byteOffset, length } = readFileSync(samples)
    return new Float64Array(buffer.slice(byteOffset, byteOffset + length))
  } finally {
    rmSync(folder, { recursive: true })
  }
}
