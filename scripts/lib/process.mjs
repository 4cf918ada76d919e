// Starting other programs, with their output shown, captured, or taken line by line.

import { spawn, spawnSync } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { delimiter, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const ROOT = dirname(dirname(dirname(fileURLToPath(import.meta.url))))

const failed = (command, error) => {
  if (error.code === 'ENOENT') return `${command} was not found`
  if (error.code === 'ETIMEDOUT') return `${command} did not end in time`
  return `${command} cannot be started: ${error.message}`
}

const ending = (status, signal) => (signal === null ? `exit status ${status}` : `ended by ${signal}`)

/** Runs a program with its output shown. Returns undefined when it went well, else a sentence. */
export const run = (command, args, options = {}) => {
  const { status, signal, error } = spawnSync(command, args, { stdio: 'inherit', cwd: ROOT, ...options })
  if (error) return failed(command, error)
  return status === 0 ? undefined : `${[command, ...args].join(' ')}: ${ending(status, signal)}`
}

/** The output of a program, or undefined when it cannot be started or fails. */
export const capture = (command, args, options = {}) => {
  const { status, stdout } = spawnSync(command, args, {
    encoding: 'utf8',
    cwd: ROOT,
    stdio: ['ignore', 'pipe', 'ignore'],
    ...options,
  })
  return status === 0 ? stdout.trim() : undefined
}

/** Cuts what is written to it into lines. */
export class Lines {
  #rest = ''
  #take

  constructor(take) {
    this.#take = take
  }

  write(chunk) {
    const lines = (this.#rest + chunk).split('\n')
    this.#rest = lines.pop()
    for (const line of lines) this.#take(line.replace(/\r$/, ''))
  }

  end() {
    if (this.#rest !== '') this.#take(this.#rest)
    this.#rest = ''
  }
}

/**
 * Runs a program and gives each line of its output to `take`; `quiet` hides its errors. When it says nothing for
 * `silence.after` milliseconds, `silence.tell` is called with its process. Resolves as `run` returns.
 * @param {string} command
 * @param {string[]} args
 * @param {(line: string) => void} take
 * @param {import('node:child_process').SpawnOptions & { quiet?: boolean, silence?: { after: number, tell: (pid: number) => void } }} options
 * @returns {Promise<string | undefined>}
 */
export const runLines = (command, args, take, { quiet = false, silence, ...options } = {}) =>
  new Promise((resolve) => {
    const child = spawn(command, args, {
      cwd: ROOT,
      ...options,
      stdio: ['ignore', 'pipe', quiet ? 'ignore' : 'inherit'],
    })
    const lines = new Lines(take)
    child.stdout.setEncoding('utf8')
    const timer = silence && setTimeout(() => silence.tell(child.pid), silence.after)
    child.stdout.on('data', (chunk) => {
      timer?.refresh()
      lines.write(chunk)
    })
    child.on('error', (error) => {
      clearTimeout(timer)
      resolve(failed(command, error))
    })
    child.on('close', (status, signal) => {
      clearTimeout(timer)
      lines.end()
      resolve(status === 0 ? undefined : `${command}: ${ending(status, signal)}`)
    })
  })

/** The first of several program names that is on the PATH. */
export const findProgram = (...names) => {
  for (const name of names) {
    for (const folder of (process.env.PATH ?? '').split(delimiter)) {
      try {
        accessSync(join(folder, name), constants.X_OK)
        return name
      } catch {
        // not here
      }
    }
  }
  return undefined
}
