// Handle: owns one native object. It closes once, in order, and refuses use afterwards; what is collected unclosed is
// closed and reported. SharedHandle: one whose object other Workers may hold too, by token.
import { EBADF, VfioError } from './errors.js'
import { addon, type NativeHandle } from './native/index.js'

/** What `share()` gives and `postMessage` carries; `Class.claim(token)` turns it into an object in another Worker. */
export interface ShareToken<Kind extends string = string> {
  readonly vfio: Kind
  readonly id: number
  readonly [detail: string]: unknown
}

interface Abandoned {
  native: NativeHandle
  label: string
}

const abandoned = new FinalizationRegistry<Abandoned>(({ native, label }) => {
  process.emitWarning(`${label} was garbage-collected without close(); it is closed now`, {
    type: 'VfioLeakWarning',
    detail: 'Call close(), or declare it with `using`.',
  })
  addon().handlePark(native)
  addon().handleRelease(native, false)
})

/** Checks that a value is a token of one kind. */
function readToken(token: unknown, kind: string): ShareToken {
  if (typeof token !== 'object' || token === null) throw new TypeError('token must come from share()')
  const { vfio, id } = token as Partial<ShareToken>
  if (vfio !== kind) throw new TypeError(`token must be one of ${kind}.share(), not of ${String(vfio)}`)
  if (typeof id !== 'number' || !Number.isSafeInteger(id) || id < 1)
    throw new TypeError('token.id must be a number')
  return token as ShareToken
}

/** Takes hold of the object behind a token. */
function claimNative(id: number, kind: string): NativeHandle {
  const native = addon().handleClaim(id)
  const found = addon().handleKind(native)
  if (found !== kind) {
    addon().handleRelease(native, false)
    throw new TypeError(`token names a ${found}, not a ${kind}`)
  }
  return native
}

/** Lets go of a native object that no Handle owns. */
export function releaseNative(native: NativeHandle): void {
  addon().handleRelease(native, false)
}

/** The number of a native object, which all handles of it in this process have in common. */
export function identityOf(native: NativeHandle): number {
  return addon().handleShare(native)
}

/**
 * Owner of one native object. Subclasses add `close()` in the form that suits them.
 */
export abstract class Handle {
  readonly #native: NativeHandle
  readonly #label: string
  #closed = false
  // Made at first use: most objects have none.
  #undos: Set<() => void> | undefined
  // What went wrong while closing, thrown once the object is let go.
  #failures: unknown[] | undefined
  #pending = 0
  #idle: (() => void) | undefined
  #closing: Promise<void> | undefined

  /** @internal */
  protected constructor(native: NativeHandle, label: string) {
    this.#native = native
    this.#label = label
    abandoned.register(this, { native, label }, this)
  }

  /** True once close() was called. */
  get closed(): boolean {
    return this.#closed
  }

  /** What the object calls itself in errors and warnings. */
  get label(): string {
    return this.#label
  }

  /** The native object. @internal */
  get native(): NativeHandle {
    this.refuseClosed()
    return this.#native
  }

  /** @throws VfioError EBADF once it is closed. @internal */
  protected refuseClosed(): void {
    if (this.#closed) throw new VfioError(EBADF, 'closed', { subject: this.#label })
  }

  /** The native object inside `running()`, where closing waits for the call. @internal */
  protected get nativeInFlight(): NativeHandle {
    return this.#native
  }

  /** Counts a call that runs off the main thread, so that close() can wait for it. @internal */
  protected async running<T>(call: () => Promise<T>): Promise<T> {
    this.#pending++
    try {
      return await call()
    } finally {
      if (--this.#pending === 0) this.#idle?.()
    }
  }

  /** True when no other handle of the process, in any Worker, holds the object. @internal */
  protected get lastHolder(): boolean {
    return addon().handleHolders(this.#native) === 1
  }

  /** Something to undo before the object is let go, the last first; returns how to take that back. @internal */
  beforeClose(undo: () => void): () => void {
    const own = (): void => {
      undo()
    }
    const undos = (this.#undos ??= new Set())
    undos.add(own)
    return () => {
      undos.delete(own)
    }
  }

  /** How much there is to undo. @internal */
  protected get undoCount(): number {
    return this.#undos?.size ?? 0
  }

  /** Undoes it, each whatever became of the others. Closing does so after `beforeRelease`, which may do it earlier. */
  protected undoAll(): void {
    for (const undo of [...(this.#undos ?? [])].reverse()) this.#tolerate(undo)
    this.#undos?.clear()
  }

  /** What closing does before the object is let go. An error does not keep it from going: close() throws it afterwards. */
  protected beforeRelease(): void {
    // Nothing by default.
  }

  #tolerate(step: () => void): void {
    try {
      step()
    } catch (error) {
      ;(this.#failures ??= []).push(error)
    }
  }

  #throwFailure(): void {
    const failures = this.#failures
    this.#failures = undefined
    if (failures !== undefined) throw failures[0]
  }

  /** Marks the object closed and undoes what was set up; false when that was done before. */
  #begin(): boolean {
    if (this.#closed) return false
    this.#tolerate(() => {
      this.beforeRelease()
    })
    this.undoAll()
    this.#closed = true
    abandoned.unregister(this)
    addon().handlePark(this.#native)
    return true
  }

  /** Closes on the spot, after the calls in flight. */
  protected closeNow(): void {
    this.#begin()
    // Also when close() is under way: the call then waits for that to end.
    addon().handleRelease(this.#native, true)
    this.#throwFailure()
  }

  /** Closes without blocking: new calls throw at once, the promise resolves when the object is gone. */
  protected closeLater(): Promise<void> {
    return (this.#closing ??= this.#close())
  }

  async #close(): Promise<void> {
    if (!this.#begin()) return
    if (this.#pending > 0) {
      await new Promise<void>((resolve) => {
        this.#idle = resolve
      })
    }
    await addon().handleDestroy(this.#native)
    this.#throwFailure()
  }
}

/** A handle of an object that several Workers of the process may hold: `share()` in one, `Class.claim()` in another. */
export abstract class SharedHandle<Kind extends string> extends Handle {
  readonly #kind: Kind

  /** @internal */
  protected constructor(native: NativeHandle, kind: Kind, label: string = kind) {
    super(native, label)
    this.#kind = kind
  }

  /**
   * A token for `claim()` of the same class in another Worker of this process. It holds nothing: keep this object open until
   * it was claimed.
   */
  share(): ShareToken<Kind> {
    const id = addon().handleShare(this.native)
    return { vfio: this.#kind, id, ...this.tokenDetails() }
  }

  /** What a token says beside which object it is. @internal */
  protected tokenDetails(): Readonly<Record<string, unknown>> {
    return {}
  }

  /**
   * Takes hold of the object behind a token and makes its wrapper in this environment.
   * @param nativeKind what the addon calls such an object
   * @internal
   */
  protected static claimed<T>(
    token: unknown,
    kind: string,
    make: (native: NativeHandle, token: ShareToken) => T,
    nativeKind: (token: ShareToken) => string = () => kind,
  ): T {
    const read = readToken(token, kind)
    const native = claimNative(read.id, nativeKind(read))
    try {
      return make(native, read)
    } catch (error) {
      addon().handleRelease(native, false)
      throw error
    }
  }
}
