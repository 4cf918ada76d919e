// Writes to sysfs, and looks at what came of it, from a process of its own: a write can sleep in the kernel for as long as
// somebody holds the device, and a look can wait for that write. Neither may hold this process or a thread of libuv's.
// It must not know what is written.

import { type ChildProcess, spawn } from 'node:child_process'
import { constants } from 'node:os'
import { ETIMEDOUT, VfioError } from '../errors.js'
import type { Look } from './step.js'

/** What a change needs of the kernel. Tests put a simulated kernel in its place. */
export interface HostIo {
  /** What is there; null for nothing. `file` and `folder` are not asked for. */
  look(look: Look): Promise<string | null>
  /**
   * Writes a line to an attribute, in one write.
   * @throws VfioError with the kernel's errno; ETIMEDOUT if the write still sleeps when its time is up
   */
  write(file: string, text: string): Promise<void>
  close(): Promise<void>
}

export interface KernelIoOptions {
  /** How long a write may take, in milliseconds (default 60,000). */
  readonly timeout?: number | undefined
  /** A descriptor that lives as long as the last write does: the lock's. */
  readonly keep?: number | undefined
}

/**
 * The other process: takes a line of JSON per request, and ends with its input, so that it never outlives a write by
 * much. An attribute is opened for writing alone and never created.
 */
const PROGRAM = `
const fs = require('node:fs')
const { O_WRONLY, O_RDONLY, O_NONBLOCK } = fs.constants
const absent = new Set(['ENOENT', 'ENOTDIR', 'ENODEV', 'EINVAL'])
const acts = {
  write({ path, text }) {
    const fd = fs.openSync(path, O_WRONLY)
    try { fs.writeSync(fd, text + '\\n') } finally { fs.closeSync(fd) }
    return null
  },
  text({ path }) {
    const fd = fs.openSync(path, O_RDONLY | O_NONBLOCK)
    try {
      const bytes = Buffer.alloc(65536)
      return bytes.toString('utf8', 0, fs.readSync(fd, bytes, 0, bytes.length, null)).trim()
    } finally { fs.closeSync(fd) }
  },
  link: ({ path }) => fs.readlinkSync(path).replace(/.*\\//, ''),
  presence: ({ path }) => (fs.existsSync(path) ? 'present' : null),
}
function answer(request) {
  try {
    return { value: acts[request.act](request) }
  } catch (error) {
    if (request.act !== 'write' && absent.has(error.code)) return { value: null }
    return { errno: Math.abs(error.errno ?? 5), syscall: error.syscall ?? request.act }
  }
}
// The other end of a pipe may take a part.
function say(text) {
  const bytes = Buffer.from(text + '\\n')
  for (let done = 0; done < bytes.length;) {
    try { done += fs.writeSync(1, bytes, done) } catch (error) {
      if (error.code !== 'EAGAIN' && error.code !== 'EINTR') process.exit(1)
    }
  }
}
let rest = ''
const input = Buffer.alloc(65536)
say('{}')
for (;;) {
  let count
  try { count = fs.readSync(0, input, 0, input.length, null) } catch (error) {
    if (error.code === 'EAGAIN' || error.code === 'EINTR') continue
    count = 0
  }
  if (count === 0) process.exit(0)
  const lines = (rest + input.toString('utf8', 0, count)).split('\\n')
  rest = lines.pop()
  for (const line of lines) say(JSON.stringify(answer(JSON.parse(line))))
}
`

interface Answer {
  readonly value?: string | null
  readonly errno?: number
  readonly syscall?: string
}

/** One process that writes, and at most one request under way in it. */
class Writer {
  readonly #child: ChildProcess
  #rest = ''
  #waiting: ((answer: Answer | null) => void) | null = null
  #ended = false
  /** That it is up, or has ended: the time of a write does not start before. */
  readonly #up: Promise<void>

  constructor(keep: number | undefined) {
    // What else this process is started with (an --import, a debugger) is not for that one.
    const env = { ...process.env }
    delete env.NODE_OPTIONS
    // A group of its own: an interrupt from the terminal must not end a write between its two halves.
    this.#child = spawn(process.execPath, ['-e', PROGRAM], {
      detached: true,
      env,
      stdio: ['pipe', 'pipe', 'ignore', keep ?? 'ignore'],
    })
    this.#up = new Promise((resolve) => {
      this.#waiting = () => resolve()
    })
    this.#child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.#rest += text
      const end = this.#rest.indexOf('\n')
      if (end < 0) return
      const line = this.#rest.slice(0, end)
      this.#rest = this.#rest.slice(end + 1)
      this.#settle(JSON.parse(line) as Answer)
    })
    const end = (): void => {
      this.#ended = true
      this.#settle(null)
    }
    this.#child.on('error', end).on('close', end)
    this.#child.stdin?.on('error', () => undefined)
  }

  get pid(): number {
    return this.#child.pid ?? 0
  }

  #settle(answer: Answer | null): void {
    const settle = this.#waiting
    this.#waiting = null
    settle?.(answer)
  }

  /** Null if the process ended; undefined if the time is up. */
  async ask(request: object, timeout: number): Promise<Answer | null | undefined> {
    await this.#up
    if (this.#ended) return null
    return new Promise((resolve) => {
      const timer = setTimeout(() => {
        this.#waiting = null
        resolve(undefined)
      }, timeout)
      this.#waiting = (answer) => {
        clearTimeout(timer)
        resolve(answer)
      }
      this.#child.stdin?.write(`${JSON.stringify(request)}\n`)
    })
  }

  /** Lets it end by itself, when it is through. */
  end(): Promise<void> {
    if (this.#ended) return Promise.resolve()
    return new Promise((resolve) => {
      this.#child.on('close', () => resolve())
      this.#child.stdin?.end()
    })
  }

  /** Gives it up: a write that sleeps keeps it, for all that can be done, until who holds the device lets go. */
  abandon(): void {
    this.#child.kill('SIGKILL')
    this.#child.unref()
    this.#child.stdin?.destroy()
    this.#child.stdout?.destroy()
  }
}

const DEFAULT_TIMEOUT = 60_000

/** The kernel itself. */
export class KernelIo implements HostIo {
  readonly #timeout: number
  readonly #keep: number | undefined
  #writer: Writer | null = null

  constructor({ timeout = DEFAULT_TIMEOUT, keep }: KernelIoOptions = {}) {
    this.#timeout = timeout
    this.#keep = keep
  }

  async #ask(act: Look['how'] | 'write', path: string, text?: string): Promise<string | null> {
    this.#writer ??= new Writer(this.#keep)
    const answer = await this.#writer.ask({ act, path, text }, this.#timeout)
    if (answer === undefined) {
      const { pid } = this.#writer
      this.#writer.abandon()
      this.#writer = null
      throw new VfioError(ETIMEDOUT, act === 'write' ? 'write' : 'read', {
        subject: path,
        reason: 'timeout',
        remedy: `Process ${pid} still sleeps in the kernel because the device is in use. Close whatever has it open.`,
      })
    }
    if (answer === null) {
      this.#writer = null
      throw new VfioError(constants.errno.EPIPE, act === 'write' ? 'write' : 'read', {
        subject: path,
        remedy: 'The process that writes to the host ended: it was killed or could not be started.',
      })
    }
    if (answer.errno !== undefined)
      throw new VfioError(answer.errno, answer.syscall ?? act, { subject: path })
    return answer.value ?? null
  }

  look({ how, path }: Look): Promise<string | null> {
    return this.#ask(how, path)
  }

  async write(file: string, text: string): Promise<void> {
    await this.#ask('write', file, text)
  }

  async close(): Promise<void> {
    const writer = this.#writer
    this.#writer = null
    await writer?.end()
  }
}
