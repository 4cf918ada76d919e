// The registers of a brokered device as its client reaches them: asked of the policy, done at the device, and told of. What the
// device does not take is as on the bus: a read gives all ones, a write is dropped.
import { VfioError } from '../../errors.js'
import type { RegionArea } from '../../uapi/vfio/device-info.js'
import type { Region } from '../../device/region.js'
import type { AccessWidth, RegisterValue } from '../server/options.js'
import type { ServedRegion } from '../server/region.js'
import type { AccessEvent, AccessOutcome, Tell } from './events.js'
import { type BrokerPolicy, type Decision, altered, decide } from './policy.js'

type Width = AccessWidth | 8

/** Who looks at accesses: nobody, where both are null. */
export interface Watch {
  readonly policy: BrokerPolicy | null
  readonly tell: Tell<AccessEvent> | null
}

const GO: Decision = { kind: 'go' }

function ones(width: Width): bigint {
  return (1n << BigInt(8 * width)) - 1n
}

/** As regions of the server's take it: a bigint for 8 bytes. */
function valueOf(width: Width, value: bigint): RegisterValue {
  const cut = BigInt.asUintN(8 * width, value)
  return width === 8 ? cut : Number(cut)
}

export class BrokeredRegion implements ServedRegion {
  readonly size: number
  readonly wide: boolean
  readonly bytes = null
  readonly room = null
  readonly #region: Region
  readonly #table: RegionArea | null
  readonly #watch: Watch
  readonly #watched: boolean

  /** @param table the MSI-X table, where it lies in this region: its vectors are the kernel's, and clients set theirs by message */
  constructor(region: Region, table: RegionArea | null, watch: Watch) {
    this.#region = region
    this.size = region.size
    // The kernel takes configuration space in pieces of 4 bytes.
    this.wide = region.name !== 'config'
    this.#table = table
    this.#watch = watch
    this.#watched = watch.policy !== null || watch.tell !== null
  }

  read(offset: number, width: AccessWidth): RegisterValue {
    if (!this.#watched) return this.#get(offset, width) ?? valueOf(width, ones(width))
    return this.#readWatched(offset, width)
  }

  write(offset: number, width: AccessWidth, value: number): void {
    if (this.#watched) this.#writeWatched(offset, width, BigInt(value))
    else this.#put(offset, width, value)
  }

  read64(offset: number): RegisterValue {
    if (!this.#watched) return this.#get(offset, 8) ?? ones(8)
    return this.#readWatched(offset, 8)
  }

  write64(offset: number, value: bigint): void {
    if (this.#watched) this.#writeWatched(offset, 8, value)
    else this.#put(offset, 8, value)
  }

  #decide(offset: number, size: Width, written: bigint | undefined): Decision {
    const { policy } = this.#watch
    return policy === null ? GO : decide(policy, { space: this.#region.name, offset, size, written })
  }

  #readWatched(offset: number, width: Width): RegisterValue {
    const decision = this.#decide(offset, width, undefined)
    const told = (value: bigint, outcome: AccessOutcome): RegisterValue => {
      const answer = valueOf(width, value)
      this.#tell('read', offset, width, BigInt(answer), outcome)
      return answer
    }
    if (decision.kind === 'replace') return told(decision.value, 'replaced')
    if (decision.kind === 'deny') {
      this.#tell('read', offset, width, null, 'denied')
      throw decision.denial
    }
    const got = this.#get(offset, width)
    if (got === null) return told(ones(width), 'unanswered')
    if (decision.kind === 'go') return told(BigInt(got), 'done')
    return told(this.#alter(decision.alter, 'read', offset, width, BigInt(got)), 'altered')
  }

  #writeWatched(offset: number, width: Width, value: bigint): void {
    const decision = this.#decide(offset, width, value)
    if (decision.kind === 'deny') {
      this.#tell('write', offset, width, value, 'denied')
      throw decision.denial
    }
    let sent = value
    if (decision.kind === 'replace') sent = decision.value
    if (decision.kind === 'alter') sent = this.#alter(decision.alter, 'write', offset, width, value)
    const taken = this.#put(offset, width, valueOf(width, sent))
    const outcomes = { go: 'done', replace: 'replaced', alter: 'altered' } as const
    this.#tell('write', offset, width, value, taken ? outcomes[decision.kind] : 'unanswered')
  }

  #alter(
    alter: (value: bigint) => bigint,
    what: 'read' | 'write',
    offset: number,
    width: Width,
    value: bigint,
  ): bigint {
    try {
      return altered(alter, value)
    } catch (denial) {
      this.#tell(what, offset, width, what === 'read' ? null : value, 'denied')
      throw denial
    }
  }

  #tell(
    what: 'read' | 'write',
    offset: number,
    size: Width,
    value: bigint | null,
    outcome: AccessOutcome,
  ): void {
    this.#watch.tell?.({ what, space: this.#region.name, offset, size, value, outcome })
  }

  // -- at the device --

  /** Null where it does not answer. */
  #get(offset: number, width: Width): RegisterValue | null {
    const region = this.#region
    if (!region.flags.read || this.#inTable(offset, width)) return null
    try {
      this.#mend()
      if (width === 4) return region.read32(offset)
      if (width === 8) return region.read64(offset)
      return width === 2 ? region.read16(offset) : region.read8(offset)
    } catch (error) {
      if (error instanceof VfioError) return null
      throw error
    }
  }

  /** False where it is not taken. */
  #put(offset: number, width: Width, value: RegisterValue): boolean {
    const region = this.#region
    if (!region.flags.write || this.#inTable(offset, width)) return false
    try {
      this.#mend()
      if (width === 8) region.write64(offset, BigInt(value))
      else if (width === 4) region.write32(offset, Number(value))
      else if (width === 2) region.write16(offset, Number(value))
      else region.write8(offset, Number(value))
      return true
    } catch (error) {
      if (error instanceof VfioError) return false
      throw error
    }
  }

  /** A client that turned decoding off and on again, or reset the device, has faulted what is mapped here. */
  #mend(): void {
    if (this.#region.mmapAreas.length > 0 && this.#region.faulted) this.#region.remap()
  }

  #inTable(offset: number, width: Width): boolean {
    const table = this.#table
    return table !== null && offset < table.offset + table.size && table.offset < offset + width
  }
}
