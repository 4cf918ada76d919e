// The data of a migration over a socket: each piece is a message. Knows the session's end, not what its bytes mean.
import type { MigrationSession } from '../../device/backend.js'
import { EBADF, VfioError } from '../../errors.js'
import { FEATURE_DATA, encodeMigRead, encodeMigWrite, migDataSize } from '../protocol/feature.js'
import { type Channel, understood } from './channel.js'

export class UserMigrationSession implements MigrationSession {
  readonly #channel: Channel
  #closed = false
  #ended = false

  constructor(channel: Channel) {
    this.#channel = channel
  }

  get closed(): boolean {
    return this.#closed
  }

  /** What ended was for now only: the device has gone on to its next state. */
  goOn(): void {
    this.#ended = false
  }

  async read(size: number): Promise<Uint8Array> {
    this.#refuseClosed()
    // A short answer was the end: not every server is at ease with being asked again.
    if (this.#ended) {
      this.#ended = false
      return new Uint8Array()
    }
    const asked = Math.min(size, this.#channel.terms.mostData)
    const reply = await this.#channel.askLater((view) => encodeMigRead(view, 0, 0, asked))
    const got = understood(reply, (view, at, length) => {
      const bytes = migDataSize(view, at, length)
      return bytes < 0 || bytes > asked ? null : bytes
    })
    this.#ended = got > 0 && got < asked
    return new Uint8Array(reply.view.buffer, FEATURE_DATA, got)
  }

  async write(bytes: Uint8Array): Promise<number> {
    this.#refuseClosed()
    const count = Math.min(bytes.byteLength, this.#channel.terms.mostData)
    const encode = (view: DataView): number => {
      new Uint8Array(view.buffer, FEATURE_DATA, count).set(bytes.subarray(0, count))
      return encodeMigWrite(view, 0, 0, count)
    }
    await this.#channel.askLater(encode, { room: FEATURE_DATA + count })
    return count
  }

  close(): void {
    this.#closed = true
  }

  #refuseClosed(): void {
    if (this.#closed) throw new VfioError(EBADF, 'closed', { subject: 'migration data' })
  }
}
