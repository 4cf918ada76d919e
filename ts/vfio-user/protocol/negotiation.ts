// VERSION: what each side says it can, as JSON, and what the two agree on. Everything in it is a claim of a peer.
import { COMMAND, MOST_DATA, MOST_FDS, MOST_VERSION_TEXT, VERSION } from './constants.js'
import { writeCommand, writeReply } from './header.js'

const TEXT = 20

/** What one side says it can. A key that it left out is undefined; what that stands for, DEFAULTS says. */
export interface Claims {
  readonly maxMsgFds?: number
  readonly maxDataXferSize?: number
  readonly maxDmaMaps?: number
  /** A set of page sizes, one bit each. */
  readonly pgsizes?: number
  readonly writeMultiple?: boolean
  readonly twinSocket?: { readonly supported: boolean; readonly fdIndex?: number }
  readonly migration?: { readonly pgsize?: number; readonly maxBitmapSize?: number }
}

export interface VersionMessage {
  readonly major: number
  readonly minor: number
  /** Undefined where the message has no text. */
  readonly claims: Claims | undefined
}

/** What holds for who names nothing. */
export const DEFAULTS = {
  maxMsgFds: 1,
  maxDataXferSize: 1 << 20,
  maxDmaMaps: 65535,
  pgsizes: 4096,
  writeMultiple: false,
} as const

/** What this package says it can, as a server and as a client. */
export const OWN_CLAIMS = {
  maxMsgFds: MOST_FDS,
  maxDataXferSize: MOST_DATA,
  maxDmaMaps: 65535,
  pgsizes: 4096,
  writeMultiple: true,
} as const satisfies Claims

/** What holds between two sides. */
export interface Agreement {
  readonly minor: number
  readonly maxMsgFds: number
  readonly maxDataXferSize: number
  readonly maxDmaMaps: number
  readonly writeMultiple: boolean
  /** Bytes of a page of the client's dirty bitmaps, where it does migration. */
  readonly migrationPage: number | null
  readonly twinSocket: boolean
}

const CHECKS = {
  // No message carries more descriptors than the kernel's SCM_MAX_FD; libvfio-user says up to 1024 nevertheless.
  max_msg_fds: (value: unknown) => count(value, 0, 0xffff_ffff),
  max_data_xfer_size: (value: unknown) => count(value, 1, Number.MAX_SAFE_INTEGER),
  max_dma_maps: (value: unknown) => count(value, 1, Number.MAX_SAFE_INTEGER),
  pgsizes: (value: unknown) => count(value, 1, Number.MAX_SAFE_INTEGER),
} as const

class Malformed extends Error {}

function count(value: unknown, least: number, most: number): number {
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= least && value <= most)
    return value
  throw new Malformed('a number is expected')
}

function flag(value: unknown): boolean {
  if (typeof value === 'boolean') return value
  throw new Malformed('true or false is expected')
}

function table(value: unknown): Record<string, unknown> {
  if (typeof value === 'object' && value !== null && !Array.isArray(value))
    return value as Record<string, unknown>
  throw new Malformed('an object is expected')
}

function optional<T, K extends string>(
  from: Record<string, unknown>,
  key: string,
  name: K,
  read: (value: unknown) => T,
): Partial<Record<K, T>> {
  // Only what the text itself says: `__proto__` and its like are keys as others.
  return Object.hasOwn(from, key) ? ({ [name]: read(from[key]) } as Record<K, T>) : {}
}

/** The claims in a text; null where it is none, or says what cannot be. Unknown keys are passed over. */
export function parseClaims(text: string): Claims | null {
  try {
    const outer = table(JSON.parse(text))
    if (!Object.hasOwn(outer, 'capabilities')) return {}
    const given = table(outer.capabilities)
    return {
      ...optional(given, 'max_msg_fds', 'maxMsgFds', CHECKS.max_msg_fds),
      ...optional(given, 'max_data_xfer_size', 'maxDataXferSize', CHECKS.max_data_xfer_size),
      ...optional(given, 'max_dma_maps', 'maxDmaMaps', CHECKS.max_dma_maps),
      ...optional(given, 'pgsizes', 'pgsizes', CHECKS.pgsizes),
      ...optional(given, 'write_multiple', 'writeMultiple', flag),
      ...optional(given, 'twin_socket', 'twinSocket', (value) => {
        const twin = table(value)
        return {
          supported: false,
          ...optional(twin, 'supported', 'supported', flag),
          ...optional(twin, 'fd_index', 'fdIndex', (each) => count(each, 0, MOST_FDS - 1)),
        }
      }),
      ...optional(given, 'migration', 'migration', (value) => {
        const migration = table(value)
        return {
          ...optional(migration, 'pgsize', 'pgsize', pageSize),
          ...optional(migration, 'max_bitmap_size', 'maxBitmapSize', (each) =>
            count(each, 1, Number.MAX_SAFE_INTEGER),
          ),
        }
      }),
    }
  } catch (error) {
    if (error instanceof Malformed || error instanceof SyntaxError) return null
    throw error
  }
}

function pageSize(value: unknown): number {
  const size = count(value, 1, 2 ** 40)
  if (Number.isInteger(Math.log2(size))) return size
  throw new Malformed('a power of two is expected')
}

/** The text of claims, as short as it can be. */
export function formatClaims(claims: Claims): string {
  const { migration, twinSocket } = claims
  return JSON.stringify({
    capabilities: {
      max_msg_fds: claims.maxMsgFds,
      max_data_xfer_size: claims.maxDataXferSize,
      max_dma_maps: claims.maxDmaMaps,
      pgsizes: claims.pgsizes,
      write_multiple: claims.writeMultiple,
      migration: migration && { pgsize: migration.pgsize, max_bitmap_size: migration.maxBitmapSize },
      twin_socket: twinSocket && { supported: twinSocket.supported, fd_index: twinSocket.fdIndex },
    },
  })
}

/** Null for what is too short or too long, and for a text that is none. One without its NUL is taken to the message's end. */
export function decodeVersion(view: DataView, at: number, length: number): VersionMessage | null {
  if (length < TEXT || length - TEXT > MOST_VERSION_TEXT) return null
  const major = view.getUint16(at + 16, true)
  const minor = view.getUint16(at + 18, true)
  if (length === TEXT) return { major, minor, claims: undefined }
  const bytes = new Uint8Array(view.buffer, view.byteOffset + at + TEXT, length - TEXT)
  const nul = bytes.indexOf(0)
  // A copy: what arrives in shared memory is no input of TextDecoder.
  const text = new TextDecoder().decode(bytes.slice(0, nul < 0 ? bytes.length : nul))
  if (text === '') return { major, minor, claims: undefined }
  const claims = parseClaims(text)
  return claims === null ? null : { major, minor, claims }
}

function putVersion(view: DataView, at: number, major: number, minor: number, text: string | null): number {
  view.setUint16(at + 16, major, true)
  view.setUint16(at + 18, minor, true)
  if (text === null) return TEXT
  const bytes = new TextEncoder().encode(text)
  new Uint8Array(view.buffer, view.byteOffset + at + TEXT, bytes.length + 1).set(bytes)
  view.setUint8(at + TEXT + bytes.length, 0)
  return TEXT + bytes.length + 1
}

/** A client's proposal. @returns the bytes of the message */
export function encodeVersion(view: DataView, at: number, id: number, claims: Claims): number {
  const size = putVersion(view, at, VERSION.major, VERSION.minor, formatClaims(claims))
  return writeCommand(view, at, id, COMMAND.version, size)
}

/**
 * A server's reply.
 * @param claims null for one without a text
 * @param most bytes of the message, which are those of the proposal: QEMU reads no more than it sent, and takes the rest for the
 *   next message
 */
export function encodeVersionReply(
  view: DataView,
  at: number,
  id: number,
  minor: number,
  claims: Claims | null,
  most: number,
): number {
  const text = claims === null ? null : shortened(claims, most - TEXT - 1)
  return writeReply(view, at, id, COMMAND.version, putVersion(view, at, VERSION.major, minor, text))
}

/** In which order keys go when a text must be shorter: what stands for its default first, what a peer cannot do without last. */
const EXPENDABLE = [
  'twinSocket',
  'pgsizes',
  'maxDmaMaps',
  'writeMultiple',
  'maxDataXferSize',
  'maxMsgFds',
  'migration',
] as const

/** The text of claims in at most so many bytes; null where not even an empty one has room. */
function shortened(claims: Claims, most: number): string | null {
  const rest: Claims = { ...claims }
  for (const key of [undefined, ...EXPENDABLE]) {
    if (key !== undefined) Reflect.deleteProperty(rest, key)
    const text = formatClaims(rest)
    if (text.length <= most) return text
  }
  return null
}

function least(theirs: number | undefined, absent: number, own: number): number {
  return Math.min(theirs ?? absent, own)
}

/** What holds between this side and one that made these claims. */
function agreementOf(minor: number, theirs: Claims, own: Claims): Agreement {
  const has = (claims: Claims): boolean => claims.writeMultiple ?? DEFAULTS.writeMultiple
  return {
    minor,
    maxMsgFds: least(theirs.maxMsgFds, DEFAULTS.maxMsgFds, own.maxMsgFds ?? DEFAULTS.maxMsgFds),
    maxDataXferSize: least(
      theirs.maxDataXferSize,
      DEFAULTS.maxDataXferSize,
      own.maxDataXferSize ?? DEFAULTS.maxDataXferSize,
    ),
    maxDmaMaps: least(theirs.maxDmaMaps, DEFAULTS.maxDmaMaps, own.maxDmaMaps ?? DEFAULTS.maxDmaMaps),
    writeMultiple: has(theirs) && has(own),
    migrationPage: theirs.migration?.pgsize ?? null,
    twinSocket: theirs.twinSocket?.supported === true && own.twinSocket?.supported === true,
  }
}

/** A server's answer to a proposal. */
export interface Answer {
  readonly agreement: Agreement
  /** What the reply says; null for one without a text, as the proposal was. */
  readonly claims: Claims | null
}

/**
 * What a server answers. It says no more than it was asked: QEMU ends at a key that it did not name or at a number above its
 * own, and at a minor version above its own.
 * @param own what the server can; `migration` where its device migrates
 * @returns null where the two speak different versions
 */
export function answerTo(proposal: VersionMessage, own: Claims): Answer | null {
  if (proposal.major !== VERSION.major) return null
  const minor = Math.min(proposal.minor, VERSION.minor)
  const theirs = proposal.claims ?? {}
  const agreement = agreementOf(minor, theirs, own)
  if (proposal.claims === undefined) return { agreement, claims: null }
  const asked = (key: keyof Claims): boolean => theirs[key] !== undefined && own[key] !== undefined
  const page = own.migration === undefined ? undefined : theirs.migration?.pgsize
  return {
    agreement,
    claims: {
      ...(asked('maxMsgFds') && { maxMsgFds: agreement.maxMsgFds }),
      ...(asked('maxDataXferSize') && { maxDataXferSize: agreement.maxDataXferSize }),
      ...(asked('maxDmaMaps') && { maxDmaMaps: agreement.maxDmaMaps }),
      ...(asked('writeMultiple') && { writeMultiple: agreement.writeMultiple }),
      // The Rust crate's client ends at one without its page size.
      ...(page !== undefined && { migration: { pgsize: page } }),
    },
  }
}

/**
 * What a client makes of the answer: null where it is not one to its proposal. Numbers above the proposed ones are taken for the
 * proposed ones.
 */
export function agreeTo(reply: VersionMessage, own: Claims): Agreement | null {
  if (reply.major !== VERSION.major || reply.minor > VERSION.minor) return null
  return agreementOf(reply.minor, reply.claims ?? {}, own)
}
