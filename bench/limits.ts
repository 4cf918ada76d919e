// The C++ limits as programs: each prints a number, or several.
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { runProgram, runProgramForSamples } from '../ts/measure/programs.js'

/** The repository, seen from build-bench/bench. */
export const ROOT = fileURLToPath(new URL('../..', import.meta.url))

export const REGISTERS_LIBRARY = `${ROOT}build-bench/limits/libregisters.so`

const limit = (name: string): string => `${ROOT}build-bench/limits/${name}`

/** Runs a limit program, which sees `fds` as its descriptors 3 and up, and gives the number that it prints. */
export function runLimit(
  name: string,
  args: readonly (string | number)[],
  fds: readonly number[] = [],
): number {
  return Number(runProgram(limit(name), args, { fds }))
}

/** Runs one that takes many samples, and gives them: nanoseconds, in their order. */
export function runLimitForSamples(name: string, args: readonly (string | number)[]): Float64Array {
  return runProgramForSamples(limit(name), args)
}

/** The same, while this process's event loop turns: for a program that plays against this process. */
export async function runLimitForSamplesBeside(
  name: string,
  args: readonly (string | number)[],
): Promise<Float64Array> {
  const folder = await mkdtemp(join(tmpdir(), 'node-vfio-bench-'))
  try {
    const samples = join(folder, 'samples')
    await promisify(execFile)(limit(name), args.map(String), {
      env: { ...process.env, BENCH_SAMPLES: samples },
    })
    const { buffer, byteOffset, length } = await readFile(samples)
    return new Float64Array(buffer.slice(byteOffset, byteOffset + length))
  } finally {
    await rm(folder, { recursive: true })
  }
}

/** Starts one that serves, and waits until it does, which it says by a line. */
export async function startLimit(
  name: string,
  args: readonly (string | number)[],
): Promise<{ close(): Promise<void> }> {
  const program = spawn(limit(name), args.map(String), { stdio: ['ignore', 'pipe', 'inherit'] })
  const ended = once(program, 'exit')
  await Promise.race([
    once(program.stdout, 'data'),
    ended.then(() => {
      throw new Error(`${name} ended before it served`)
    }),
  ])
  return {
    async close() {
      program.kill()
      await ended
    },
  }
}
