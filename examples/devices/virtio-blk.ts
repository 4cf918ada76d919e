// virtio-blk: a file as a guest's disk. Knows requests and the file; what a request asks for is its driver's own claim.
import { fdatasync, fstatSync, read, write } from 'node:fs'

import { VirtioDevice } from './virtio/device.js'
import { type Chain, DriverError } from './virtio/queue.js'

const TYPE = 2
const CLASS = 0x010000
const QUEUE = 0
const SECTOR = 512
const HEADER_BYTES = 16

const FEATURE = { mostSegments: 1n << 2n, readOnly: 1n << 5n, blockSize: 1n << 6n, flush: 1n << 9n } as const
const CONFIG = { bytes: 24, capacity: 0, mostSegments: 12, blockSize: 20 } as const
const MOST_SEGMENTS = 126

const REQUEST = { read: 0, write: 1, flush: 4, id: 8 } as const
const STATUS = { ok: 0, error: 1, unsupported: 2 } as const
const ID_BYTES = 20

/** Requests are taken while fewer bytes than this are on their way to or from the file. */
const MOST_UNDER_WAY = 16 << 20

export interface DiskOptions {
  /** An open file, or a block device. It stays yours. */
  fd: number
  /** Bytes, of which whole sectors are shown (default: the file's). */
  size?: number
  readOnly?: boolean
  /** What the guest is told as its serial number, at most 20 bytes. */
  id?: string
  onError?: (error: Error) => void
}

export class VirtioDisk extends VirtioDevice {
  readonly #fd: number
  readonly #bytes: number
  readonly #readOnly: boolean
  readonly #id: Uint8Array
  #underWay = 0
  // Counts resets: what was asked for before one is not answered after it.
  #era = 0

  constructor({ fd, size = fstatSync(fd).size, readOnly = false, id = '', onError }: DiskOptions) {
    const config = new DataView(new ArrayBuffer(CONFIG.bytes))
    const sectors = Math.floor(size / SECTOR)
    config.setBigUint64(CONFIG.capacity, BigInt(sectors), true)
    config.setUint32(CONFIG.mostSegments, MOST_SEGMENTS, true)
    config.setUint32(CONFIG.blockSize, SECTOR, true)
    super({
      name: 'virtio-blk',
      type: TYPE,
      classCode: CLASS,
      queues: [128],
      features: FEATURE.mostSegments | FEATURE.blockSize | FEATURE.flush | (readOnly ? FEATURE.readOnly : 0n),
      config: new Uint8Array(config.buffer),
      ...(onError && { onError }),
    })
    this.#fd = fd
    this.#bytes = sectors * SECTOR
    this.#readOnly = readOnly
    this.#id = Buffer.from(id, 'latin1').subarray(0, ID_BYTES)
  }

  protected override notified(): void {
    while (this.#underWay < MOST_UNDER_WAY) {
      const chain = this.take(QUEUE)
      if (chain === undefined) return
      this.#request(chain)
    }
  }

  protected override onReset(): void {
    this.#era++
  }

  #request(chain: Chain): void {
    if (chain.readableBytes < HEADER_BYTES || chain.writableBytes < 1)
      throw new DriverError('a request without a header, or without room for its status')
    const bytes = chain.read()
    const header = new DataView(bytes.buffer, bytes.byteOffset, HEADER_BYTES)
    const position = Number(header.getBigUint64(8, true)) * SECTOR
    switch (header.getUint32(0, true)) {
      case REQUEST.read:
        this.#read(chain, position)
        break
      case REQUEST.write:
        this.#write(chain, position, bytes.subarray(HEADER_BYTES))
        break
      case REQUEST.flush:
        fdatasync(this.#fd, this.#ending(chain, 0))
        break
      case REQUEST.id:
        this.#answer(chain, Buffer.concat([this.#id, Buffer.alloc(ID_BYTES)]).subarray(0, ID_BYTES))
        break
      default:
        this.#answer(chain, undefined, STATUS.unsupported)
    }
  }

  /** Whether whole sectors lie on the disk. */
  #onDisk(position: number, length: number): boolean {
    return length % SECTOR === 0 && position + length <= this.#bytes
  }

  #read(chain: Chain, position: number): void {
    const length = chain.writableBytes - 1
    if (!this.#onDisk(position, length)) {
      this.#answer(chain, undefined, STATUS.error)
      return
    }
    // Zeros where the file ends before the disk does.
    const data = Buffer.alloc(length)
    const end = this.#ending(chain, length, data)
    read(this.#fd, data, 0, length, position, end)
  }

  #write(chain: Chain, position: number, data: Uint8Array): void {
    if (this.#readOnly || !this.#onDisk(position, data.length)) {
      this.#answer(chain, undefined, STATUS.error)
      return
    }
    const end = this.#ending(chain, data.length)
    write(this.#fd, data, 0, data.length, position, (error, written) => {
      end(error ?? (written < data.length ? new Error('the file has no room') : null))
    })
  }

  /** What is done when the file has answered. */
  #ending(chain: Chain, bytes: number, data?: Uint8Array): (error: Error | null) => void {
    const era = this.#era
    this.#underWay += bytes
    return (error) => {
      this.#underWay -= bytes
      this.guarded(() => {
        if (era === this.#era) {
          if (error === null) this.#answer(chain, data)
          else this.#answer(chain, undefined, STATUS.error)
        }
        // Room for those that waited.
        this.notified()
      })
    }
  }

  /** Gives a request back: data at the start of what the driver has room for, the status in its last byte. */
  #answer(chain: Chain, data?: Uint8Array, status: number = STATUS.ok): void {
    const last = chain.writableBytes - 1
    const fits = (data?.length ?? 0) <= last
    if (data !== undefined && fits) chain.write(data)
    chain.writeAt(last, Uint8Array.of(fits ? status : STATUS.error))
    this.give(QUEUE, chain, last + 1)
  }
}
