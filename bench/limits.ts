// The C++ limits as programs: each prints a number, or several.
import { fileURLToPath } from 'node:url'
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
