// What the rows of `vfio bench` are measured with: the limits, and the addon of the benchmarks, where they can be compiled.
import { createRequire } from 'node:module'
import type { BenchAddon } from './addon.js'
import { Compiler, type CompilerOptions, type None } from './compiler.js'
import type { Measure } from './harness.js'
import { type ProgramArguments, runProgram, runProgramForSamples } from './programs.js'
import { type Loop, perTurn } from './work.js'

export class BenchTools {
  readonly #compiler: Compiler
  #addon: BenchAddon | None | undefined

  constructor(options: CompilerOptions) {
    this.#compiler = new Compiler(options)
  }

  /** A program as a measurement; `unit` makes its number one of the row's. */
  limit(name: string, args: ProgramArguments, unit = (printed: number): number => printed): Measure | None {
    const file = this.#compiler.program(name)
    if (typeof file !== 'string') return { none: `limit: ${file.none}` }
    return () => unit(Number(runProgram(file, args)))
  }

  /** A program that takes samples, in nanoseconds. */
  samples(name: string, args: ProgramArguments): (() => Float64Array) | None {
    const file = this.#compiler.program(name)
    if (typeof file !== 'string') return { none: `limit: ${file.none}` }
    return () => runProgramForSamples(file, args)
  }

  /** The benchmarks' own addon, compiled when it is first asked for. */
  get addon(): BenchAddon | None {
    if (this.#addon === undefined) {
      const file = this.#compiler.addon()
      this.#addon = typeof file === 'string' ? (createRequire(import.meta.url)(file) as BenchAddon) : file
    }
    return this.#addon
  }

  /** Nanoseconds of the processor's time per turn of a loop. */
  perTurn(turns: number, loop: Loop): Measure {
    const { addon } = this
    // Without the addon, the whole process's: to a microsecond, its other threads included.
    return perTurn('none' in addon ? processTime : (): number => addon.cpuTime(), turns, loop)
  }
}

function processTime(): number {
  const { user, system } = process.cpuUsage()
  return (user + system) * 1000
}
