// Listener: a UNIX socket that peers connect to. Owns the file's coming and going, and the waiting for peers; knows nothing of
// what they send.
import { lstatSync, rmSync } from 'node:fs'

import { FileWatch } from '../../event/file-watch.js'
import { attempt, VfioError, type VfioErrorContext } from '../../errors.js'
import { type ShareToken, SharedHandle } from '../../handle.js'
import { addon, type NativeHandle } from '../../native/index.js'
import type { ConnectionShape } from '../../native/socket.js'
import { array, boolean, callable, integer, options as optionsOf, string } from '../../validate.js'
import { Connection } from './connection.js'
import { type ConnectionOptions, shapeOf } from './framing.js'

export interface ListenOptions {
  /** How many peers may wait to be accepted, 0 to 4096 (default 16). */
  readonly backlog?: number
  /** The permissions of the socket's file, 0 to 0o777 (default: as the process's umask leaves them). Writing is connecting. */
  readonly mode?: number
  /** Takes the place of a socket's file that nobody listens to any more (default true). */
  readonly replaceStale?: boolean
}

const LISTEN_REMEDIES: Readonly<Record<string, string>> = {
  EADDRINUSE: 'Something is there already: another server, or a file that is no socket.',
  ENOENT: 'The folder does not exist.',
  EACCES: 'Making a socket takes the right to write to its folder.',
  ENAMETOOLONG: 'A path of a socket has 107 bytes at most: take a shorter one, or a relative one.',
}

function explain(path: string): (error: VfioError) => VfioErrorContext {
  return (error) => {
    const remedy = LISTEN_REMEDIES[error.code]
    return remedy === undefined ? { subject: path } : { subject: path, remedy }
  }
}

const RETRY_MILLISECONDS = 100
/** So many are accepted in a row before the rest of the event loop has its turn. */
const MOST_ROUNDS = 64
const MOST_MILLISECONDS = 2 ** 31 - 1

/** A socket that peers connect to. */
export class Listener extends SharedHandle<'Listener'> {
  readonly #shape: ConnectionShape
  #stop: (() => void) | undefined

  private constructor(native: NativeHandle, shape: ConnectionShape, label: string) {
    super(native, 'Listener', label)
    this.#shape = shape
  }

  /**
   * Listens on a path of the file system. The file goes with the listener.
   * @param connection what each connection that comes is like
   * @throws VfioError EADDRINUSE when somebody listens there, or the file is no socket
   */
  static listen(path: string, connection: ConnectionOptions, options?: ListenOptions): Listener {
    string(path, 'path')
    const shape = shapeOf(connection)
    const { backlog = 16, mode, replaceStale = true } = optionsOf(options, 'options')
    integer(backlog, 'backlog', 0, 4096)
    if (mode !== undefined) integer(mode, 'mode', 0, 0o777)
    boolean(replaceStale, 'replaceStale')
    const listen = (): NativeHandle => addon().listenerListen(path, backlog, mode ?? null)
    const native = attempt(explain(path), () => {
      try {
        return listen()
      } catch (error) {
        const taken = error instanceof VfioError && error.code === 'EADDRINUSE'
        if (!taken || !replaceStale || !isStale(path, shape)) throw error
      }
      rmSync(path, { force: true })
      return listen()
    })
    return new Listener(native, shape, path)
  }

  /**
   * Takes ownership of a UNIX stream socket that listens already, as a service manager hands it over.
   * @throws VfioError EPROTOTYPE when it is another kind of socket, EINVAL when it does not listen; it stays yours then
   */
  static fromFd(fd: number, connection: ConnectionOptions): Listener {
    integer(fd, 'fd', 0, 0x7fff_ffff)
    const shape = shapeOf(connection)
    const label = `descriptor ${String(fd)}`
    return new Listener(
      attempt({ subject: label }, () => addon().listenerFromFd(fd)),
      shape,
      label,
    )
  }

  /** The listener behind a token, in this environment. A peer is accepted by one of them. */
  static claim(token: ShareToken): Listener {
    return SharedHandle.claimed(token, 'Listener', (native, { shape }) => {
      return new Listener(
        native,
        array(shape as ConnectionShape, 'token.shape') as ConnectionShape,
        'Listener',
      )
    })
  }

  protected override tokenDetails(): Readonly<Record<string, unknown>> {
    return { shape: this.#shape }
  }

  /** The descriptor's number. The object keeps ownership. */
  get fd(): number {
    return addon().handleFd(this.native)
  }

  /**
   * Calls a handler in the event loop for each peer that connects. What it throws is an uncaught exception.
   * @param onRefusal told when the process has no descriptor or memory for another; the peer waits, and is tried again. Without
   * it that is a process warning.
   * @returns how to stop
   */
  accept(
    handler: (connection: Connection) => unknown,
    onRefusal: (error: VfioError) => unknown = warn,
  ): () => void {
    callable(handler, 'handler')
    callable(onRefusal, 'onRefusal')
    this.#stop?.()
    let watch: FileWatch | undefined
    let timer: NodeJS.Timeout | undefined
    const start = (): void => {
      watch = new FileWatch(this.native, () => {
        this.#acceptSome(handler, (error) => {
          // The loop would tell of the peer again and again meanwhile.
          watch?.close()
          timer = setTimeout(start, RETRY_MILLISECONDS)
          onRefusal(error)
        })
      })
    }
    const stop = (): void => {
      clearTimeout(timer)
      watch?.close()
      if (this.#stop === stop) this.#stop = undefined
    }
    start()
    this.#stop = stop
    return stop
  }

  // The loop tells again of those that are left.
  #acceptSome(handler: (connection: Connection) => unknown, onRefusal: (error: VfioError) => unknown): void {
    for (let rounds = 0; rounds < MOST_ROUNDS && this.#stop !== undefined; rounds++) {
      let connection
      try {
        connection = this.acceptSync(0)
      } catch (error) {
        if (!(error instanceof VfioError)) throw error
        onRefusal(error)
        return
      }
      if (connection === undefined) return
      try {
        handler(connection)
      } catch (error) {
        queueMicrotask(() => {
          throw error
        })
      }
    }
  }

  /**
   * Blocks the thread until a peer connects, which is meant for a Worker. Terminating the Worker ends it within 100
   * milliseconds.
   * @param timeoutMs 0 to 2^31 - 1 milliseconds
   * @returns undefined when the time is over
   */
  acceptSync(timeoutMs: number): Connection | undefined {
    integer(timeoutMs, 'timeoutMs', 0, MOST_MILLISECONDS)
    const native = attempt({ subject: this.label }, () =>
      addon().listenerAccept(this.native, timeoutMs, ...this.#shape),
    )
    return native === null ? undefined : Connection.adopt(native)
  }

  /** Stops listening, and removes the file. Connections stay. Idempotent. */
  close(): void {
    this.closeNow()
  }

  [Symbol.dispose](): void {
    this.close()
  }

  protected override beforeRelease(): void {
    this.#stop?.()
  }
}

function warn(error: VfioError): void {
  process.emitWarning(`A peer cannot be accepted yet: ${error.message}`, { type: 'VfioWarning' })
}

/** Whether a path is a socket that nobody listens to. */
function isStale(path: string, shape: ConnectionShape): boolean {
  if (lstatSync(path, { throwIfNoEntry: false })?.isSocket() !== true) return false
  try {
    addon().handleRelease(addon().connectionConnect(path, ...shape), false)
    return false
  } catch (error) {
    return error instanceof VfioError && error.code === 'ECONNREFUSED'
  }
}
