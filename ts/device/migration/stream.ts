// MigrationStream: the data of one migration session, in chunks. Knows nothing of the order of states, nor of where the data
// comes from.
import { EOPNOTSUPP, VfioError, type VfioErrorContext, attempt, attemptAsync } from '../../errors.js'
import { bytes as bytesOf, integer } from '../../validate.js'
import type { MigrationSession } from '../backend.js'

/** What is left to read before the device stops (VFIO_MIG_GET_PRECOPY_INFO): estimates of the driver. */
export interface PrecopyInfo {
  /** Bytes of the first pass that were not read yet; leave pre-copy when it is 0. */
  readonly initialBytes: number
  /** Bytes that changed since they were read. */
  readonly dirtyBytes: number
  /**
   * VFIO_PRECOPY_INFO_REINIT: the driver begins the first pass anew, and `initialBytes` is its size. Undefined without the
   * second version of the information (VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2, Linux 7.1).
   */
  readonly reinit: boolean | undefined
}

const FLAG_REINIT = 1 // VFIO_PRECOPY_INFO_REINIT

/** The most that one read asks for, in bytes. */
export const MOST_CHUNK = 64 << 20

const WRITE_CHUNK = 1 << 20

/** A state's data: read from a device that saves, written to one that resumes. Opaque, in order. */
export class MigrationStream {
  /** What it calls itself in errors. */
  readonly label: string
  readonly #session: MigrationSession
  readonly #version2: boolean

  /** @internal */
  constructor(session: MigrationSession, label: string, version2: boolean) {
    this.label = label
    this.#session = session
    this.#version2 = version2
  }

  /** True once close() was called. */
  get closed(): boolean {
    return this.#session.closed
  }

  /** The descriptor's number. The object keeps ownership. @throws VfioError EOPNOTSUPP where the data comes another way */
  get fd(): number {
    const { fd } = this.#session
    if (fd !== undefined) return fd
    throw this.#without(
      'VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE',
      'The data has no descriptor: read() and write() it.',
    )
  }

  /** Whether `precopyInfo()` has an answer. @internal */
  get tellsWhatIsLeft(): boolean {
    return this.#session.precopyInfo !== undefined
  }

  /**
   * Reads what there is, off the main thread.
   * @param size bytes at most, 1 to 64 MiB
   * @returns empty at the end of the stream
   * @throws VfioError ENOMSG while pre-copying, when there is nothing more for now; EAGAIN when nothing came for a tenth of
   *   a second; ENODEV when the session has ended
   */
  async read(size: number): Promise<Uint8Array> {
    integer(size, 'size', 1, MOST_CHUNK)
    return attemptAsync({ subject: this.label }, () => this.#session.read(size))
  }

  /**
   * Writes all of the bytes, off the main thread.
   * @throws VfioError EFAULT, EINVAL or ENOMEM when the driver does not take them: they come from another kind of device,
   *   or of driver
   */
  async write(data: ArrayBufferView): Promise<void> {
    let rest = bytesOf(data, 'data')
    while (rest.byteLength > 0) {
      const part = rest.subarray(0, WRITE_CHUNK)
      const taken = await this.#writePart(part)
      rest = rest.subarray(taken)
    }
  }

  /** What is left while pre-copying (VFIO_MIG_GET_PRECOPY_INFO). @throws VfioError EINVAL in every other state */
  precopyInfo(): PrecopyInfo {
    const answer = attempt({ subject: this.label }, () => this.#session.precopyInfo?.())
    if (answer === undefined)
      throw this.#without(
        'VFIO_MIG_GET_PRECOPY_INFO',
        'The amount left is unknown: read until the end of the stream.',
      )
    const view = new DataView(answer.buffer, answer.byteOffset, answer.byteLength)
    return {
      initialBytes: Number(view.getBigUint64(8, true)),
      dirtyBytes: Number(view.getBigUint64(16, true)),
      // Before the second version the field holds whatever was given.
      reinit: this.#version2 ? (view.getUint32(4, true) & FLAG_REINIT) !== 0 : undefined,
    }
  }

  /** Lets go of the descriptor. The session itself ends with the device's next state. Idempotent. */
  close(): void {
    this.#session.close()
  }

  [Symbol.dispose](): void {
    this.close()
  }

  #without(call: string, remedy: string): VfioError {
    return new VfioError(EOPNOTSUPP, call, { subject: this.label, reason: 'no-feature', remedy })
  }

  #writeContext(code: string): VfioErrorContext {
    if (!['EFAULT', 'EINVAL', 'ENOMEM'].includes(code)) return { subject: this.label }
    return {
      subject: this.label,
      remedy: 'The data is not one whole save() of the same kind of device and driver, in order.',
    }
  }

  async #writePart(part: Uint8Array): Promise<number> {
    try {
      return await attemptAsync(
        ({ code }) => this.#writeContext(code),
        () => this.#session.write(part),
      )
    } catch (error) {
      if ((error as Partial<VfioError>).code === 'EAGAIN') return 0
      throw error
    }
  }
}
