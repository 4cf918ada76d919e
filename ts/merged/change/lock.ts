// One change at a time, whoever makes it. The lock is a UNIX socket in the state folder, which the kernel closes with the
// last process that has it: a killed change leaves nothing that has to be cleaned up. It must not know what it guards.
//
// Node has no flock. An abstract socket would be another lock in every network namespace, and anybody could take its name; a
// file with a pid in it lies when pids are used again. Here files lock.1, lock.2, ... follow each other: who wants the lock
// links its own socket to the number after the last, which only one can do, and only once the last one's socket is dead. The
// last file is never taken away, so that a number is never used twice; earlier ones are, by the next holder.

import { accessSync, closeSync, constants, linkSync, mkdirSync, openSync, readdirSync, rmSync } from 'node:fs'
import { connect, createServer, type Server } from 'node:net'
import { join } from 'node:path'
import { EBUSY, EOPNOTSUPP, VfioError } from '../../errors.js'
import { explained } from './disk.js'
import { journalNumbers } from './entries.js'

const PATTERN = /^lock\.(\d+)$/
/** How long a holder may take to say who it is. */
const PATIENCE = 300
/** How long one that says nothing is waited for: its process was killed, and what it was writing is about to end. */
const LAST_WRITE = 3_000

/** A short path to a folder, however long its own: a socket's address has 108 bytes. */
const shortPath = (fd: number, name: string): string => `/proc/self/fd/${fd}/${name}`

/**
 * The last lock, and the number after it, which no journal has either: the locks of a folder that was copied or cleared may
 * be gone. Both of one look: with a later one the number would be that of whoever has won meanwhile.
 */
function numbers(folder: string): { last: number; next: number } {
  const names = readdirSync(folder)
  const last = names.reduce((most, name) => Math.max(most, Number(PATTERN.exec(name)?.[1] ?? 0)), 0)
  return { last, next: Math.max(last, ...journalNumbers(names)) + 1 }
}

/** What the holder of a socket says of itself; an empty text if it says nothing; null if nobody has it. */
function holder(path: string): Promise<string | null> {
  return new Promise((resolve) => {
    let said = ''
    const socket = connect(path)
    const end = (result: string | null): void => {
      clearTimeout(timer)
      socket.destroy()
      resolve(result)
    }
    const timer = setTimeout(() => end(said), PATIENCE)
    socket.setEncoding('utf8').on('data', (text: string) => (said += text))
    socket.on('end', () => end(said))
    // Refused: the file has outlived its process. Any other failure is no proof of that.
    socket.on('error', ({ code }: NodeJS.ErrnoException) =>
      end(code === 'ECONNREFUSED' || code === 'ENOENT' ? null : said),
    )
  })
}

function listen(path: string): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => {
      socket.on('error', () => undefined)
      socket.end(`process ${process.pid} (${process.argv.slice(1, 4).join(' ')})`)
    })
    server.once('error', reject)
    server.listen(path, () => resolve(server))
  })
}

/** The right to change the host. */
export class ChangeLock {
  /** Rises from change to change. */
  readonly number: number
  readonly #server: Server
  readonly #folder: number

  private constructor(server: Server, folder: number, number: number) {
    this.#server = server
    this.#folder = folder
    this.number = number
  }

  /** The descriptor that holds it, for a process that must keep it; undefined if Node does not tell. */
  get fd(): number | undefined {
    const { _handle: handle } = this.#server as Server & { _handle?: { fd?: number } | null }
    return handle?.fd !== undefined && handle.fd >= 0 ? handle.fd : undefined
  }

  /**
   * Takes it, without waiting.
   * @throws VfioError EBUSY, `change-locked`, naming who has it
   */
  static async take(folder: string): Promise<ChangeLock> {
    if (process.platform !== 'linux')
      throw new VfioError(EOPNOTSUPP, 'lock', {
        subject: folder,
        remedy: 'The host can be changed only on Linux.',
      })
    let fd: number
    try {
      mkdirSync(folder, { recursive: true, mode: 0o700 })
      accessSync(folder, constants.W_OK)
      fd = openSync(folder, 'r')
    } catch (error) {
      throw explained(error, folder)
    }
    const own = `socket.${process.pid}.${Math.random().toString(36).slice(2)}`
    let server: Server | undefined
    try {
      server = await listen(shortPath(fd, own))
      const number = await ChangeLock.#win(folder, fd, own)
      return new ChangeLock(server, fd, number)
    } catch (error) {
      server?.close()
      closeSync(fd)
      throw explained(error, folder)
    } finally {
      rmSync(join(folder, own), { force: true })
    }
  }

  static async #win(folder: string, fd: number, own: string): Promise<number> {
    const busy = (who: string): VfioError =>
      new VfioError(EBUSY, 'lock', {
        subject: folder,
        reason: 'change-locked',
        remedy:
          who === ''
            ? 'Another process is changing the host, or a write of a killed process still sleeps in the kernel: wait for it.'
            : `${who} is changing the host: wait for it.`,
      })
    const end = performance.now() + LAST_WRITE
    let { last, next } = numbers(folder)
    for (let who = last > 0 ? await holder(shortPath(fd, `lock.${last}`)) : null; who !== null;) {
      if (who !== '' || performance.now() > end) throw busy(who)
      ;({ last, next } = numbers(folder))
      who = await holder(shortPath(fd, `lock.${last}`))
    }
    const number = next
    try {
      linkSync(join(folder, own), join(folder, `lock.${number}`))
    } catch (error) {
      if (error instanceof Error && 'code' in error && error.code === 'EEXIST') throw busy('')
      throw error
    }
    // Who listed the folder long ago may have linked a number that had been, and had been taken away since.
    if (numbers(folder).last !== number) {
      rmSync(join(folder, `lock.${number}`), { force: true })
      throw busy('')
    }
    for (const name of readdirSync(folder)) {
      const each = Number(PATTERN.exec(name)?.[1] ?? number)
      if (each < number) rmSync(join(folder, name), { force: true })
    }
    return number
  }

  async release(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#server.close(() => resolve())
    })
    closeSync(this.#folder)
  }
}
