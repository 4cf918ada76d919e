// MigrationMachine: a device's way through the states of its migration, and its state as a stream of bytes. The states and the
// ways between them are the kernel's; what moving means, the device's author says.
import {
  MIGRATION_STATES,
  type MigrationCapabilities,
  type MigrationState,
  transition,
} from '../../device/migration/states.js'
import { EBUSY, EINVAL, EIO, VfioError } from '../../errors.js'
import { bytes as bytesOf, callable, object } from '../../validate.js'
import type { UserMigration } from './options.js'

const STATE = 'VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE'
const SECTION_BYTES = 8
const SECTION = { preCopied: 1, state: 2, config: 3, vectors: 4 } as const
/** What a state may be long: a peer that writes more is refused. */
const MOST_STATE = 1 << 30

const ECANCELED = 125

/** What of the device goes along with its author's state. */
export interface OwnState {
  save(): readonly [config: Uint8Array, vectors: Uint8Array]
  load(config: Uint8Array, vectors: Uint8Array): void
}

function section(kind: number, bytes: Uint8Array): Uint8Array {
  const made = new Uint8Array(SECTION_BYTES + bytes.length)
  const view = new DataView(made.buffer)
  view.setUint32(0, kind, true)
  view.setUint32(4, bytes.length, true)
  made.set(bytes, SECTION_BYTES)
  return made
}

function joined(chunks: readonly Uint8Array[]): Uint8Array {
  const made = new Uint8Array(chunks.reduce((total, each) => total + each.length, 0))
  let at = 0
  for (const each of chunks) {
    made.set(each, at)
    at += each.length
  }
  return made
}

/** The sections of a stream by kind. @throws VfioError EINVAL for bytes that are not whole sections, each once */
function sectionsOf(stream: Uint8Array): Map<number, Uint8Array> {
  const view = new DataView(stream.buffer, stream.byteOffset, stream.byteLength)
  const found = new Map<number, Uint8Array>()
  for (let at = 0; at < stream.length;) {
    const length = at + SECTION_BYTES <= stream.length ? view.getUint32(at + 4, true) : Infinity
    const end = at + SECTION_BYTES + length
    if (end > stream.length || found.has(view.getUint32(at, true))) throw unreadable()
    found.set(view.getUint32(at, true), stream.subarray(at + SECTION_BYTES, end))
    at = end
  }
  return found
}

function unreadable(): VfioError {
  return new VfioError(EINVAL, STATE, { remedy: 'The data is not a state that such a device has saved.' })
}

export class MigrationMachine {
  readonly capabilities: MigrationCapabilities
  readonly #author: UserMigration
  readonly #own: OwnState
  #state: MigrationState = 'running'
  // What is read out: the chunks that are left, and how far the first one is read.
  #out: Uint8Array[] = []
  #read = 0
  #in: Uint8Array[] = []
  #written = 0
  #busy = false
  // Counts resets.
  #epoch = 0

  constructor(author: UserMigration, own: OwnState) {
    object(author, 'migration')
    for (const name of ['save', 'load'] as const) callable(author[name], `migration.${name}`)
    for (const name of ['stop', 'run', 'preCopy'] as const)
      if (author[name] !== undefined) callable(author[name], `migration.${name}`)
    this.#author = author
    this.#own = own
    this.capabilities = { stopCopy: true, p2p: false, preCopy: author.preCopy !== undefined }
  }

  get state(): MigrationState {
    return this.#state
  }

  /** The state's number in the kernel's order. */
  get number(): number {
    return MIGRATION_STATES.indexOf(this.#state)
  }

  /** Bytes that are left to be read. */
  get size(): number {
    return this.#out.reduce((total, each) => total + each.length, 0) - this.#read
  }

  /**
   * Goes to a state, through those between.
   * @throws VfioError EINVAL where no way leads there; EIO when the author's part of it throws: the device is in its error state
   *   then, which a reset ends
   */
  async go(number: number): Promise<void> {
    if (this.#busy) throw new VfioError(EBUSY, STATE, { remedy: 'It is under way to another state still.' })
    this.#busy = true
    try {
      await this.#go(number)
    } finally {
      this.#busy = false
    }
  }

  async #go(number: number): Promise<void> {
    const epoch = this.#epoch
    const to = MIGRATION_STATES[number]
    const way = to === undefined ? null : transition(this.capabilities, this.#state, to)
    if (way === null) throw new VfioError(EINVAL, STATE, { subject: `${this.#state} to ${to ?? number}` })
    for (const next of way) {
      try {
        await this.#step(this.#state, next)
      } catch (cause) {
        if (epoch === this.#epoch) this.#fail()
        const error = cause instanceof VfioError ? cause : new VfioError(EIO, STATE, { subject: next })
        if (error !== cause) error.cause = cause
        throw error
      }
      // A reset came between, and ended it.
      if (epoch !== this.#epoch) throw new VfioError(ECANCELED, STATE, { subject: next })
      this.#state = next
    }
  }

  /** The next bytes of the stream into `target`; how many these are. -1 in a state that has no stream to read. */
  take(target: Uint8Array): number {
    if (this.#state !== 'stopCopy' && this.#state !== 'preCopy') return -1
    let filled = 0
    for (let chunk = this.#out[0]; chunk !== undefined && filled < target.length; chunk = this.#out[0]) {
      const part = chunk.subarray(this.#read, this.#read + target.length - filled)
      target.set(part, filled)
      filled += part.length
      this.#read += part.length
      if (this.#read < chunk.length) break
      this.#out.shift()
      this.#read = 0
    }
    return filled
  }

  /** The next bytes of another device's stream. @throws VfioError EINVAL in another state, or when there are too many */
  give(bytes: Uint8Array): void {
    if (this.#state !== 'resuming' || this.#written + bytes.length > MOST_STATE)
      throw new VfioError(EINVAL, 'VFIO_USER_MIG_DATA_WRITE', { subject: this.#state })
    this.#in.push(bytes.slice())
    this.#written += bytes.length
  }

  /** A reset ends whatever was under way. */
  reset(): void {
    this.#forget()
    this.#epoch++
    this.#state = 'running'
  }

  #fail(): void {
    this.#forget()
    this.#state = 'error'
  }

  #forget(): void {
    this.#out = []
    this.#read = 0
    this.#in = []
    this.#written = 0
  }

  async #step(from: MigrationState, to: MigrationState): Promise<void> {
    if (to === 'preCopy') {
      const bytes = bytesOf(await this.#author.preCopy?.(), 'what preCopy() returns')
      this.#out = [section(SECTION.preCopied, bytes)]
      return
    }
    // From pre-copy on, the device runs until it stops.
    if (from === 'running' || (from === 'preCopy' && to === 'stopCopy')) await this.#author.stop?.()
    if (to === 'stopCopy') await this.#save()
    else if (from === 'resuming') await this.#load()
    else this.#forget()
    if (to === 'running' && from === 'stop') await this.#author.run?.()
  }

  async #save(): Promise<void> {
    const state = bytesOf(await this.#author.save(), 'what save() returns')
    const [config, vectors] = this.#own.save()
    this.#out.push(
      section(SECTION.config, config),
      section(SECTION.vectors, vectors),
      section(SECTION.state, state),
    )
  }

  async #load(): Promise<void> {
    const sections = sectionsOf(joined(this.#in))
    this.#forget()
    const state = sections.get(SECTION.state)
    const config = sections.get(SECTION.config)
    const vectors = sections.get(SECTION.vectors)
    if (state === undefined || config === undefined || vectors === undefined) throw unreadable()
    this.#own.load(config, vectors)
    await this.#author.load(state, sections.get(SECTION.preCopied) ?? null)
  }
}
