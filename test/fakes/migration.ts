// The migration of a fake device: the states of the second protocol, with what its regions hold as the data.
import type { MigrationSession } from '../../ts/device/backend.js'
import { EBADF, EINVAL, VfioError } from '../../ts/errors.js'
import { MIGRATION_STATES, type MigrationState } from '../../ts/device/migration/states.js'

const ENOMSG = 42
const CALL = 'VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE'

/** What is moved. */
export interface Movable {
  save(): Uint8Array
  load(data: Uint8Array): void
}

/** What of the protocol a driver has, as VFIO_DEVICE_FEATURE_MIGRATION says it. */
export const MIGRATION_FLAG = { stopCopy: 1, p2p: 2, preCopy: 4 } as const

export class FakeMigration {
  readonly flags: number
  state: MigrationState = 'running'
  /** States that were asked for. */
  readonly changes: MigrationState[] = []
  /** What each change waits for. */
  gate: Promise<void> = Promise.resolve()
  readonly #device: Movable
  readonly #tells: boolean
  #session: FakeSession | undefined

  /** @param tells whether sessions say what is left of pre-copying */
  constructor(device: Movable, flags: number, tells = true) {
    this.#device = device
    this.flags = flags
    this.#tells = tells
  }

  async change(number: number): Promise<MigrationSession | null> {
    await this.gate
    const to = MIGRATION_STATES[number]
    if (to === undefined) throw new VfioError(EINVAL, CALL)
    const from = this.state
    this.changes.push(to)
    if (from === 'resuming' && to === 'stop') this.#device.load(this.#session?.taken() ?? new Uint8Array())
    this.state = to
    if (from === 'preCopy' && to === 'stopCopy') {
      this.#session?.endsFor(this.#device.save())
      return null
    }
    if (to === 'stopCopy' || to === 'preCopy' || to === 'resuming') {
      const preCopy = to === 'preCopy'
      this.#session = new FakeSession(to === 'resuming' ? null : this.#device.save(), preCopy)
      if (preCopy && this.#tells) this.#session.tell()
      return this.#session
    }
    return null
  }

  afterReset(): void {
    this.state = 'running'
    this.#session = undefined
  }
}

/** A stream without a descriptor. */
class FakeSession implements MigrationSession {
  closed = false
  precopyInfo?: () => Uint8Array
  #data: Uint8Array
  #open: boolean
  #at = 0
  readonly #given: Uint8Array[] = []

  /** @param open whether more may come after what there is */
  constructor(data: Uint8Array | null, open: boolean) {
    this.#data = data ?? new Uint8Array()
    this.#open = open
  }

  tell(): void {
    this.precopyInfo = () => {
      const view = new DataView(new ArrayBuffer(24))
      view.setBigUint64(8, BigInt(this.#data.length - this.#at), true)
      return new Uint8Array(view.buffer)
    }
  }

  /** The device stopped: what it has now, all of it, ends the stream. */
  endsFor(data: Uint8Array): void {
    this.#data = data
    this.#at = 0
    this.#open = false
  }

  taken(): Uint8Array {
    return Uint8Array.from(this.#given.flatMap((bytes) => [...bytes]))
  }

  async read(size: number): Promise<Uint8Array> {
    if (this.closed) throw new VfioError(EBADF, 'closed')
    const chunk = this.#data.slice(this.#at, this.#at + size)
    if (chunk.length === 0 && this.#open) throw new VfioError(ENOMSG, 'read')
    this.#at += chunk.length
    return chunk
  }

  async write(bytes: Uint8Array): Promise<number> {
    if (this.closed) throw new VfioError(EBADF, 'closed')
    // Less than is offered, as a pipe takes it.
    const part = bytes.slice(0, 1000)
    this.#given.push(part)
    return part.length
  }

  close(): void {
    this.closed = true
  }
}
