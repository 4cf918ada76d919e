// DeviceMigration: moves a device through the states of its migration, and its state out of it and into another.
import { setTimeout as sleep } from 'node:timers/promises'

import { EBADF, EBUSY, EINVAL, VfioError, attemptAsync } from '../../errors.js'
import { bytes as bytesOf, callable, integer, object, oneOf, options as optionsOf } from '../../validate.js'
import type { DeviceCore } from '../core.js'
import { callFeature, probeFeature } from '../features/call.js'
import { FEATURES } from '../features/ids.js'
import {
  MIGRATION_STATES,
  type MigrationCapabilities,
  type MigrationState,
  SAVING,
  decodeCapabilities,
  hasState,
  shortestWay,
  transition,
  wayInWords,
} from './states.js'
import { MOST_CHUNK, MigrationStream, type PrecopyInfo } from './stream.js'

/** How the data that a device gives while it still runs is read. */
export interface PrecopyOptions {
  /**
   * Asked after each chunk, and again while there is none: true stops the device and reads the rest. By default that is
   * when the first pass has been read and nothing more is there.
   */
  until?: (info: PrecopyInfo) => boolean | Promise<boolean>
}

export interface SaveOptions {
  /** Bytes of a chunk at most, 1 to 64 MiB (default 1 MiB). */
  chunkSize?: number
  /** Read what can be read before the device stops (default false): the device is stopped for less long. */
  preCopy?: boolean | PrecopyOptions
}

const DEFAULT_CHUNK = 1 << 20
const POLL_MILLISECONDS = 10
const STATE = FEATURES.migDeviceState.uapi
/** Where a device may be when its state is saved or replaced: nothing of another session is under way. */
const QUIET: readonly MigrationState[] = ['running', 'runningP2p', 'stop']

/** What the driver says about migration; undefined where it has none. @internal */
export function readCapabilities(device: DeviceCore): MigrationCapabilities | undefined {
  if (!probeFeature(device, 'migration', 'get')) return undefined
  const data = callFeature(device, 'migration', 'get', new Uint8Array(8))
  return decodeCapabilities(new DataView(data.buffer, data.byteOffset, 8).getBigUint64(0, true))
}

/**
 * The migration of a device (VFIO_DEVICE_FEATURE_MIGRATION, Linux 5.18): its state is read out here and written into
 * another device of the same kind and driver. Memory is not part of it. A device keeps the state of its migration when
 * it is closed: one that this object moved away from `running` is reset as it closes.
 */
export class DeviceMigration {
  /** What the driver can. */
  readonly capabilities: MigrationCapabilities
  readonly #device: DeviceCore
  #stream: MigrationStream | null = null
  #busy: string | null = null
  #moved = false
  #version2: boolean | undefined

  /** @internal */
  constructor(device: DeviceCore, capabilities: MigrationCapabilities) {
    this.#device = device
    this.capabilities = capabilities
  }

  /** The device's state, as the driver has it (VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE). */
  get state(): MigrationState {
    const data = callFeature(this.#device, 'migDeviceState', 'get', new Uint8Array(8))
    const number = new DataView(data.buffer, data.byteOffset, 8).getUint32(0, true)
    const state = MIGRATION_STATES[number]
    if (state !== undefined) return state
    throw new VfioError(EINVAL, STATE, {
      subject: this.#device.label,
      remedy: `The driver has a state, ${String(number)}, that this version does not know.`,
    })
  }

  /**
   * How much there is to read once the device has stopped, in bytes: an estimate (VFIO_DEVICE_FEATURE_MIG_DATA_SIZE,
   * Linux 6.2).
   */
  get stopCopySize(): number {
    const data = callFeature(this.#device, 'migDataSize', 'get', new Uint8Array(8))
    return Number(new DataView(data.buffer, data.byteOffset, 8).getBigUint64(0, true))
  }

  /** The data of the session that is under way, while the device saves or resumes; null otherwise. */
  get stream(): MigrationStream | null {
    return this.#stream
  }

  /**
   * Moves the device to another state, through those between. For `save()` and `restore()` it is not needed.
   * @returns the session's data where the new state has one (`stopCopy`, `preCopy`, `preCopyP2p`, `resuming`), else null
   * @throws VfioError EINVAL (`illegal-transition`), before the kernel is asked, with the shortest legal way in the remedy;
   *   the driver's errno when it fails: the device is then in whatever state it reached, see `state`
   */
  async setState(state: MigrationState): Promise<MigrationStream | null> {
    oneOf(state, 'state', MIGRATION_STATES)
    return this.#exclusively('setState()', () => this.#change(state))
  }

  /**
   * The device's state, chunk by chunk. The device stops (after pre-copy, where asked for) and is in `stop` when the last
   * chunk was taken. When the loop ends early, or fails, it goes back to the state that it was in.
   * @throws VfioError EINVAL (`illegal-transition`) for a device that is not `running`, `runningP2p` or `stop`; EBUSY
   *   while another call of this object is under way
   */
  save(options?: SaveOptions): AsyncGenerator<Uint8Array, void, undefined> {
    const { chunkSize = DEFAULT_CHUNK, preCopy = false } = optionsOf(options, 'options')
    integer(chunkSize, 'chunkSize', 1, MOST_CHUNK)
    if (typeof preCopy === 'boolean') return this.#save(chunkSize, preCopy, undefined)
    const { until } = object(preCopy, 'preCopy')
    if (until !== undefined) callable(until, 'preCopy.until')
    return this.#save(chunkSize, true, until)
  }

  /**
   * Writes a state into the device, which is in `stop` afterwards: `setState('running')` lets it go on. The chunks are
   * those of one `save()`, in order; how they are cut does not matter. When it fails, the device is reset.
   * @throws VfioError EINVAL, EFAULT or ENOMEM when the driver does not take the data; EINVAL (`illegal-transition`) as for
   *   `save`
   */
  async restore(source: Iterable<ArrayBufferView> | AsyncIterable<ArrayBufferView>): Promise<void> {
    const given: object = object(source, 'source')
    if (!(Symbol.iterator in given) && !(Symbol.asyncIterator in given))
      throw new TypeError('source must be iterable')
    await this.#exclusively('restore()', async () => {
      this.#requireQuiet('resuming')
      const stream = await this.#change('resuming')
      try {
        for await (const chunk of source) await stream.write(bytesOf(chunk, 'chunk'))
        await this.#change('stop')
      } catch (error) {
        // A session for resuming ends with its data or with a reset, nothing else.
        if (!this.#device.closed) await this.#device.reset().catch(() => undefined)
        throw error
      }
    })
  }

  /** The device was reset: what was under way is over. @internal */
  afterReset(): void {
    this.#stream?.close()
    this.#stream = null
    this.#moved = false
  }

  /** The device closes. `reset` is called when it would keep a state that its next user does not expect. @internal */
  closeWithDevice(reset: (() => void) | null): void {
    this.#stream?.close()
    this.#stream = null
    if (reset !== null && this.#moved && this.state !== 'running') reset()
  }

  async *#save(
    chunkSize: number,
    preCopy: boolean,
    until: PrecopyOptions['until'],
  ): AsyncGenerator<Uint8Array, void, undefined> {
    const leave = this.#enter('save()')
    let before: MigrationState | undefined
    let failure: unknown
    try {
      before = this.#requireQuiet(preCopy ? 'preCopy' : 'stopCopy')
      if (preCopy) yield* this.#preCopy(before, chunkSize, until)
      const stream = await this.#change('stopCopy')
      for (;;) {
        const chunk = await readNext(stream, chunkSize)
        if (chunk?.byteLength === 0) break
        if (chunk !== null) yield chunk
      }
      await this.#change('stop')
      before = undefined
    } catch (error) {
      failure = error
      throw error
    } finally {
      if (before !== undefined) await this.#goBack(before, failure)
      leave()
    }
  }

  async *#preCopy(
    before: MigrationState,
    chunkSize: number,
    until: PrecopyOptions['until'],
  ): AsyncGenerator<Uint8Array, void, undefined> {
    if (before === 'stop')
      throw this.#illegal(before, 'preCopy', 'Pre-copy is for a device that runs: leave it out.')
    this.#enableVersion2()
    const stream = await this.#change(before === 'running' ? 'preCopy' : 'preCopyP2p')
    for (;;) {
      const chunk = await readNext(stream, chunkSize)
      // While pre-copying an end is for now only; drivers say so by ENOMSG, or by an empty read.
      const idle = chunk === null || chunk.byteLength === 0
      if (!idle) yield chunk
      if (idle || until !== undefined) {
        // Where nothing tells what is left, that nothing comes is all there is to go by.
        if (until === undefined && !stream.tellsWhatIsLeft) return
        const info = stream.precopyInfo()
        if (until === undefined ? info.initialBytes === 0 : await until(info)) return
      }
      if (idle) await sleep(POLL_MILLISECONDS)
    }
  }

  /** VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2, for as long as the device is open. */
  #enableVersion2(): void {
    if (this.#version2 !== undefined) return
    this.#version2 = probeFeature(this.#device, 'migPrecopyInfoV2', 'set')
    if (this.#version2) callFeature(this.#device, 'migPrecopyInfoV2', 'set', new Uint8Array())
  }

  async #change(to: 'stopCopy' | 'preCopy' | 'preCopyP2p' | 'resuming'): Promise<MigrationStream>
  async #change(to: MigrationState): Promise<MigrationStream | null>
  async #change(to: MigrationState): Promise<MigrationStream | null> {
    const from = this.state
    if (transition(this.capabilities, from, to) === null) throw this.#illegal(from, to)
    if (from === to) return this.#stream
    if (to === 'preCopy' || to === 'preCopyP2p') this.#enableVersion2()
    this.#moved = true
    const session = await this.#device.running(async () => {
      const made = await attemptAsync(
        () => this.#failureContext(from),
        () => this.#device.backend.migrationSession(MIGRATION_STATES.indexOf(to)),
      )
      // The device waits with its end for this call: what the change has made goes first, and the state with it.
      if (this.#device.closed) {
        made?.close()
        this.#device.resetEnding()
        throw new VfioError(EBADF, 'closed', { subject: this.#device.label })
      }
      return made
    })
    const goesOn = SAVING.includes(from) && SAVING.includes(to)
    if (session !== null || !goesOn) this.#stream?.close()
    if (session !== null) {
      const label = `migration data of ${this.#device.label}`
      this.#stream = new MigrationStream(session, label, this.#version2 === true)
    } else if (!goesOn) {
      this.#stream = null
    }
    return this.#stream
  }

  #failureContext(from: MigrationState): { subject: string; remedy: string } {
    const subject = this.#device.label
    let now: MigrationState
    try {
      now = this.state
    } catch {
      return { subject, remedy: 'The device no longer reports its state: call reset().' }
    }
    if (now === 'error')
      return { subject, remedy: 'The device is in the error state: only reset() leads out of it.' }
    if (now === from) return { subject, remedy: `The device is still in ${from}.` }
    return { subject, remedy: `The device got as far as ${now}.` }
  }

  /** Undoes a session for saving that did not end well; an error that is known already is worth more than one of this. */
  async #goBack(before: MigrationState, failure: unknown): Promise<void> {
    if (this.#device.closed) return
    try {
      if (this.state !== 'error') await this.#change(before)
    } catch (error) {
      if (failure === undefined) throw error
    }
  }

  #requireQuiet(to: MigrationState): MigrationState {
    const from = this.state
    if (!QUIET.includes(from)) throw this.#illegal(from, to)
    if (!hasState(this.capabilities, to)) throw this.#illegal(from, to)
    return from
  }

  #illegal(from: MigrationState, to: MigrationState, remedy?: string): VfioError {
    const way = shortestWay(this.capabilities, from, to)
    return new VfioError(EINVAL, STATE, {
      subject: `${this.#device.label}, from ${from} to ${to}`,
      reason: 'illegal-transition',
      remedy:
        remedy ??
        (way === null
          ? `The driver has no such state: it can ${describeCapabilities(this.capabilities)}.`
          : `The shortest legal sequence is ${wayInWords(this.capabilities, from, way)}.`),
    })
  }

  #enter(what: string): () => void {
    if (this.#busy !== null) {
      throw new VfioError(EBUSY, STATE, {
        subject: this.#device.label,
        remedy: `Its ${this.#busy} is in progress: wait for it to end.`,
      })
    }
    this.#busy = what
    return () => {
      this.#busy = null
    }
  }

  async #exclusively<T>(what: string, call: () => Promise<T>): Promise<T> {
    const leave = this.#enter(what)
    try {
      return await call()
    } finally {
      leave()
    }
  }
}

function describeCapabilities({ p2p, preCopy }: MigrationCapabilities): string {
  return ['stop-copy', p2p && 'P2P', preCopy && 'pre-copy'].filter(Boolean).join(', ')
}

/** The next chunk, empty at an end; null when the driver has none for now. */
async function readNext(stream: MigrationStream, size: number): Promise<Uint8Array | null> {
  try {
    return await stream.read(size)
  } catch (error) {
    if (error instanceof VfioError && (error.code === 'ENOMSG' || error.code === 'EAGAIN')) return null
    throw error
  }
}
