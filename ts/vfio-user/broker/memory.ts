// The memory of a broker's client: what it shows, by its addresses, mapped into the IOMMU for the device. Owns those mappings. What a
// client claims about its memory, DeviceDma checks.
import { closeSync } from 'node:fs'

import { EINVAL, ENOMEM, VfioError } from '../../errors.js'
import type { AddressSpace } from '../../iommu/address-space.js'
import { GuestMemory } from '../../memory/guest-memory.js'
import { UNMAP_FLAG } from '../protocol/constants.js'
import { type DmaMap, type DmaUnmap, dmaAccess } from '../protocol/dma.js'
import { DeviceDma } from '../server/dma.js'
import type { ClientLink, ServedMemory } from '../server/served.js'
import type { Tell } from './events.js'

const CALL = 'VFIO_USER_DMA_MAP'

interface Pinned {
  readonly size: bigint
  readonly memory: GuestMemory
}

function rangeText(iova: bigint, size: bigint): string {
  return `0x${iova.toString(16)} + 0x${size.toString(16)}`
}

export class BrokeredMemory implements ServedMemory {
  /** What a client may log is what this process writes, which is nothing. */
  readonly logging = false
  readonly #name: string
  readonly #space: AddressSpace
  readonly #limit: bigint
  readonly #tell: Tell | null
  readonly #dma: DeviceDma
  readonly #pinned = new Map<bigint, Pinned>()
  #bytes = 0n
  // One change after the other: mapping takes its time, and a client may be gone before it is done.
  #turn: Promise<unknown> = Promise.resolve()

  constructor(name: string, space: AddressSpace, limit: bigint, tell: Tell | null) {
    this.#name = name
    this.#space = space
    this.#limit = limit
    this.#tell = tell
    this.#dma = new DeviceDma(name, { busMaster: true })
  }

  /** Bytes that the device reaches. */
  get bytes(): bigint {
    return this.#bytes
  }

  attach({ windows, messages, mostMaps }: ClientLink): void {
    this.#dma.attach({ windows: windows(), messages, mostMaps })
  }

  map(map: DmaMap, fd: number | undefined): Promise<void> {
    return this.#inTurn(async () => {
      let open = fd
      try {
        this.#check(map)
        this.#dma.map(map, fd)
        if (fd === undefined) return
        try {
          const memory = GuestMemory.fromFd(fd)
          open = undefined
          await this.#pin(map, memory)
        } catch (error) {
          this.#dma.unmap({ flags: 0, iova: map.iova, size: map.size })
          throw error
        }
      } finally {
        if (open !== undefined) closeSync(open)
      }
    }).then(() => {
      const access = fd === undefined ? { read: false, write: false } : dmaAccess(map.flags)
      this.#tell?.({ what: 'map', iova: map.iova, size: map.size, ...access })
    })
  }

  unmap(unmap: DmaUnmap): Promise<bigint> {
    return this.#inTurn(async () => {
      const { iova, size, flags } = unmap
      const all = (flags & UNMAP_FLAG.all) !== 0
      const bytes = this.#dma.unmap(unmap)
      for (const [at, { size: length }] of [...this.#pinned])
        if (all || (at >= iova && at + length <= iova + size)) await this.#unpin(at)
      this.#tell?.({ what: 'unmap', iova, size: bytes })
      return bytes
    })
  }

  takeDirty(): Uint8Array {
    throw new VfioError(EINVAL, 'VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT', { subject: this.#name })
  }

  /**
   * The client is gone: the device reaches nothing of its memory once this has settled.
   * @throws what the last refusal was, with everything tried
   */
  release(): Promise<void> {
    this.#dma.detach()
    return this.#inTurn(async () => {
      let refused: unknown
      for (const iova of [...this.#pinned.keys()]) {
        try {
          await this.#unpin(iova)
        } catch (error) {
          refused = error
        }
      }
      if (refused !== undefined) throw refused as Error
    })
  }

  /** Before anything of the file is touched. What is mapped is pinned, all of it. */
  #check({ iova, size, offset }: DmaMap): void {
    const subject = `${this.#name} at ${rangeText(iova, size)}`
    if (offset + size > Number.MAX_SAFE_INTEGER) throw new VfioError(EINVAL, CALL, { subject })
    if (this.#bytes + size <= this.#limit) return
    throw new VfioError(ENOMEM, CALL, {
      subject,
      remedy: `A client may have ${String(this.#limit)} bytes mapped (memoryLimit), because the host pins what is mapped.`,
    })
  }

  async #pin({ iova, size, offset, flags }: DmaMap, memory: GuestMemory): Promise<void> {
    const place = { iova, offset: Number(offset), size: Number(size), ...dmaAccess(flags) }
    try {
      await this.#space.map(memory, place)
    } catch (error) {
      memory.close()
      if (!(error instanceof RangeError)) throw error
      // What is no whole pages, or lies where the IOMMU translates nothing, is the client's mistake.
      const subject = `${this.#name} at ${rangeText(iova, size)}`
      throw new VfioError(EINVAL, CALL, { subject, remedy: error.message })
    }
    this.#pinned.set(iova, { size, memory })
    this.#bytes += size
  }

  async #unpin(iova: bigint): Promise<void> {
    const pinned = this.#pinned.get(iova)
    if (pinned === undefined) return
    // A space that is closed has nothing mapped.
    if (!this.#space.closed) await this.#space.unmap(iova, pinned.size)
    this.#pinned.delete(iova)
    this.#bytes -= pinned.size
    pinned.memory.close()
  }

  #inTurn<T>(step: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(step)
    this.#turn = done.catch(() => undefined)
    return done
  }
}
