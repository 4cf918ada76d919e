// Windows: what a peer lets us reach of its memory, by its addresses. Owns the ArrayBuffers that lie in it; the table and the
// copies are native. Knows no message: who maps, unmaps, or asks for what is not mapped, is its user's business.
import { attempt, VfioError, type VfioErrorContext } from '../errors.js'
import { withUdmabuf } from '../drm/udmabuf.js'
import { type ShareToken, SharedHandle } from '../handle.js'
import { DirtyBitmap } from '../memory/dirty-bitmap.js'
import type { DmaBufFile } from '../memory/dma-buf-file.js'
import { MAX_WINDOW } from '../memory/guest-memory.js'
import { pageSize as ordinaryPage } from '../memory/page.js'
import { addon, type NativeHandle } from '../native/index.js'
import type { WindowsPort } from '../native/memory.js'
import {
  bigint,
  boolean,
  bytes as bytesOf,
  instance,
  integer,
  MAX_U64,
  object,
  oneOf,
  options as optionsOf,
} from '../validate.js'

/** What the peer allows: reading its memory, writing to it. */
export interface WindowAccess {
  readonly read: boolean
  readonly write: boolean
}

/** How far a range can be reached: in memory, by asking the peer, or not at all. */
export type WindowReach = 'mapped' | 'message' | 'none'

export interface WindowsOptions {
  /** How many windows there may be, 1 to 65535 (default 65535). Each takes a mapping, of which a process has as many. */
  readonly most?: number
  /**
   * Takes files of any file system (default false: memory only, that is memfd, tmpfs and hugetlbfs). Others can hold up whoever
   * touches them for ever, so it is for peers that you trust.
   */
  readonly anyFile?: boolean
}

const REACHES: readonly WindowReach[] = ['none', 'message', 'mapped']

const REMEDIES: Readonly<Record<string, string>> = {
  EEXIST: 'It overlaps a window that is there: remove that one first.',
  ENOSPC: 'There are as many windows as may be (the option most).',
  ERANGE: 'The file ends before the range does.',
  EOPNOTSUPP: 'The descriptor is not of memory (memfd, tmpfs, hugetlbfs); the option anyFile takes others.',
  ENOENT: 'No window has that address and size.',
  EFAULT: 'Part of the range is not mapped: ask the peer for it by message, if reach() says so.',
  EACCES: 'The peer does not allow this direction.',
  EIO: 'The peer made the file shorter than the window.',
}

// Keeps the windows for as long as an ArrayBuffer of theirs lives.
const owners = new WeakMap<ArrayBuffer, Windows>()

interface View {
  readonly iova: bigint
  readonly buffer: WeakRef<ArrayBuffer>
}

/** A table of windows on a peer's memory. */
export class Windows extends SharedHandle<'Windows'> {
  readonly #port: WindowsPort
  // Those of this environment, to be detached with their window. Those of others find zeros.
  #views: View[] = []
  // How many there are before those that were collected are looked for.
  #manyViews = 64

  constructor(options?: WindowsOptions) {
    super(made(options), 'Windows')
    this.#port = addon().windowsFunctions(this.native)
  }

  /** The table behind a token, in this environment. */
  static claim(token: ShareToken): Windows {
    return SharedHandle.claimed(token, 'Windows', (native) => {
      pending = native
      try {
        return new Windows()
      } finally {
        pending = undefined
      }
    })
  }

  /** How many windows there are. */
  get size(): number {
    return addon().windowsCount(this.native)
  }

  /**
   * Adds a window of the peer's addresses.
   * @param fd the file that its memory is in, which stays yours: close it afterwards. Undefined where the peer gave none: the
   * range is known, and reached by messages.
   * @param offset where in the file it begins
   * @throws VfioError EEXIST when it overlaps another, ENOSPC, ERANGE when the file is shorter, EOPNOTSUPP when it is not memory,
   * EACCES when the descriptor is not open for it, ENOMEM; everything is as it was then
   */
  add(iova: bigint, size: bigint, fd: number | undefined, offset: bigint, access: WindowAccess): void {
    bigint(iova, 'iova', 0n, MAX_U64)
    bigint(size, 'size', 1n, MAX_U64)
    if (iova + size - 1n > MAX_U64) throw new RangeError('iova + size must not pass 2^64')
    if (fd !== undefined) integer(fd, 'fd', 0, 0x7fff_ffff)
    bigint(offset, 'offset', 0n, MAX_U64)
    const { read, write } = object(access, 'access')
    boolean(read, 'access.read')
    boolean(write, 'access.write')
    attempt(about(iova, size), () => {
      addon().windowsAdd(this.native, iova, size, fd ?? -1, offset, read, write)
    })
  }

  /**
   * Removes a window, which must be named as it was added. Its ArrayBuffers are detached when this returns; whoever has its
   * memory in another Worker finds zeros there.
   * @throws VfioError ENOENT when there is none of that address and size
   */
  remove(iova: bigint, size: bigint): void {
    bigint(iova, 'iova', 0n, MAX_U64)
    bigint(size, 'size', 0n, MAX_U64)
    const inside: ArrayBuffer[] = []
    const outside: View[] = []
    for (const view of this.#views) {
      const buffer = view.buffer.deref()
      if (buffer === undefined) continue
      if (view.iova >= iova && view.iova < iova + size) inside.push(buffer)
      else outside.push(view)
    }
    attempt(about(iova, size), () => {
      addon().windowsRemove(this.native, iova, size, inside)
    })
    this.#views = outside
  }

  /** Removes all of them. */
  removeAll(): void {
    addon().windowsRemoveAll(this.native, this.#live())
    this.#views = []
  }

  /** How far a range can be reached. */
  reach(iova: bigint, length: number, direction: 'read' | 'write'): WindowReach {
    oneOf(direction, 'direction', ['read', 'write'])
    return REACHES[this.#port.reach(iova, length, direction === 'write')] ?? 'none'
  }

  /**
   * Copies from the peer's memory, across windows too.
   * @param target of the length that is to be copied
   * @throws VfioError EFAULT when part of the range is not mapped, EACCES when the peer does not allow it (nothing was copied
   * then), EIO when it made its file shorter
   */
  copyIn(iova: bigint, target: Uint8Array): void {
    try {
      this.#port.copyIn(iova, target)
    } catch (error) {
      throw told(error, iova, target)
    }
  }

  /** Copies into the peer's memory; as `copyIn()`. */
  copyOut(iova: bigint, source: Uint8Array): void {
    try {
      this.#port.copyOut(iova, source)
    } catch (error) {
      throw told(error, iova, source)
    }
  }

  /**
   * Copies a list of pieces from the peer's memory into one range of bytes, in one call. All of them are checked before the first
   * is copied.
   * @param pieces addresses and sizes in turn; together as many bytes as `target` has (else VfioError EINVAL)
   */
  gather(pieces: BigUint64Array, target: Uint8Array): void {
    attempt(explainPieces, () => {
      this.#port.gather(pieces, bytesOf(target, 'target'))
    })
  }

  /** Copies one range of bytes into a list of pieces of the peer's memory; as `gather()`. */
  scatter(pieces: BigUint64Array, source: Uint8Array): void {
    attempt(explainPieces, () => {
      this.#port.scatter(pieces, bytesOf(source, 'source'))
    })
  }

  /**
   * The peer's memory itself, of one window that may be read and written. It is detached when the window is removed. What you
   * write there is not logged: see `markDirty()`.
   */
  window(iova: bigint, length: number): ArrayBuffer {
    bigint(iova, 'iova', 0n, MAX_U64)
    integer(length, 'length', 1, MAX_WINDOW)
    const explain = about(iova, BigInt(length), 'One ArrayBuffer lies in one window.')
    const buffer = attempt(explain, () => addon().windowsView(this.native, iova, length))
    owners.set(buffer, this)
    if (this.#views.length >= this.#manyViews) {
      this.#views = this.#views.filter(({ buffer: each }) => each.deref() !== undefined)
      this.#manyViews = Math.max(64, this.#views.length * 2)
    }
    this.#views.push({ iova, buffer: new WeakRef(buffer) })
    return buffer
  }

  /**
   * Pieces of the peer's memory as a dma-buf, without a copy, by /dev/udmabuf. It stays what it is when the windows are gone.
   * @param pieces addresses and sizes in turn, of whole pages
   * @throws VfioError ENOENT of `open` without udmabuf, EOPNOTSUPP for files that may become shorter, EINVAL for what are no whole
   * pages, or too many parts
   */
  dmaBuf(pieces: BigUint64Array, path = '/dev/udmabuf'): DmaBufFile {
    const flat = [...instance(pieces, BigUint64Array, 'pieces')]
    if (flat.length === 0 || flat.length % 2 !== 0)
      throw new RangeError('pieces must be addresses and sizes in turn')
    return withUdmabuf(path, (fd) => addon().udmabufOfWindows(fd, this.native, flat))
  }

  // -- dirty pages --

  /**
   * From now on `copyOut()` and `scatter()` mark the pages that they write to. What was marked before is forgotten.
   * @param pageSize a power of two from 4096 to 2^40 bytes (default: this machine's)
   */
  startDirtyLog(pageSize = ordinaryPage()): void {
    addon().windowsLog(this.native, shiftOf(pageSize))
  }

  stopDirtyLog(): void {
    addon().windowsLog(this.native, null)
  }

  /** Marks pages that were written to in another way. Without a log it does nothing. */
  markDirty(iova: bigint, length: number): void {
    bigint(iova, 'iova', 0n, MAX_U64)
    addon().windowsMark(this.native, iova, integer(length, 'length', 0, Number.MAX_SAFE_INTEGER))
  }

  /**
   * The marks of a range, which are taken away by this.
   * @param size bytes, up to 2^31 pages
   * @throws VfioError EINVAL when nothing is logged
   */
  takeDirty(iova: bigint, size: bigint, pageSize = ordinaryPage()): DirtyBitmap {
    bigint(iova, 'iova', 0n, MAX_U64)
    const shift = shiftOf(pageSize)
    bigint(size, 'size', 1n, 1n << BigInt(31 + shift))
    const pages = Number((size + BigInt(pageSize) - 1n) / BigInt(pageSize))
    const explain = about(iova, size, 'Nothing is logged: startDirtyLog() first.')
    const marks = attempt(explain, () => addon().windowsDirty(this.native, iova, size, shift))
    return new DirtyBitmap(marks.subarray(0, Math.ceil(pages / 8)), iova, pages, pageSize)
  }

  /** Removes the windows once no Worker holds the table any more; the ArrayBuffers of this one are detached. Idempotent. */
  close(): void {
    this.closeNow()
  }

  [Symbol.dispose](): void {
    this.close()
  }

  protected override beforeRelease(): void {
    addon().windowsDetach(this.#live())
    this.#views = []
  }

  #live(): ArrayBuffer[] {
    return this.#views.flatMap(({ buffer }) => buffer.deref() ?? [])
  }
}

// How claim hands its handle to the public constructor, which users call without one.
let pending: NativeHandle | undefined

function made(options: WindowsOptions | undefined): NativeHandle {
  if (pending !== undefined) return pending
  const { most = 65535, anyFile = false } = optionsOf(options, 'options')
  return addon().windowsCreate(integer(most, 'most', 1, 65535), boolean(anyFile, 'anyFile'))
}

function shiftOf(pageSize: number): number {
  integer(pageSize, 'pageSize', 4096, 2 ** 40)
  const shift = Math.log2(pageSize)
  if (!Number.isInteger(shift)) throw new RangeError('pageSize must be a power of two')
  return shift
}

/** What is known of a refusal; `invalid` is what EINVAL means here. */
function about(iova: bigint, size: bigint, invalid?: string): (error: VfioError) => VfioErrorContext {
  return ({ code }) => {
    const subject = `0x${iova.toString(16)} + 0x${size.toString(16)}`
    const remedy = code === 'EINVAL' ? invalid : REMEDIES[code]
    return remedy === undefined ? { subject } : { subject, remedy }
  }
}

/** Why a copy failed. Arguments are looked at only then: the addon has looked at them already. */
function told(error: unknown, iova: bigint, range: Uint8Array): unknown {
  bigint(iova, 'iova', 0n, MAX_U64)
  instance(range, Uint8Array, 'bytes')
  return error instanceof VfioError ? error.with(about(iova, BigInt(range.length))(error)) : error
}

function explainPieces({ code }: VfioError): VfioErrorContext {
  const subject = 'a list of pieces'
  if (code === 'EINVAL')
    return { subject, remedy: 'The pieces must have as many bytes together as the range.' }
  const remedy = REMEDIES[code]
  return remedy === undefined ? { subject } : { subject, remedy }
}
