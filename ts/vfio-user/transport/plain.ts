// Parts of a device's regions that are nothing but memory, answered by the addon. Knows neither devices nor what else is sent.
import { attempt } from '../../errors.js'
import { GuestMemory } from '../../memory/guest-memory.js'
import { addon } from '../../native/index.js'
import { array, boolean, instance, integer, object } from '../../validate.js'
import { Connection } from './connection.js'

/** A part of a region whose registers keep what is written to them, and do nothing else. */
export interface PlainRange {
  /** The region's index. */
  readonly region: number
  /** Where in the region it begins. */
  readonly start: number
  /** Bytes. */
  readonly size: number
  /** The memory that it is; one that was made here, or is sealed. */
  readonly memory: GuestMemory
  /** Where in the memory it begins (default 0). */
  readonly offset?: number
  /** Whether the peer may write there (default true). What it may not is told like any other message. */
  readonly writable?: boolean
}

/**
 * Has REGION_READ and REGION_WRITE of such ranges answered without JavaScript, from now on, instead of those of before. The order
 * holds: behind a message that is told, those of a receive are told too, so whoever receives must be able to answer them. So are
 * messages of more than 4096 bytes, and those that are not as they should be.
 * @throws VfioError EEXIST when two ranges overlap, EBUSY while another Worker receives
 */
export function answerPlain(connection: Connection, ranges: readonly PlainRange[]): void {
  instance(connection, Connection, 'connection')
  const shapes = array(ranges, 'ranges').map((range, i) => {
    const name = `ranges[${String(i)}]`
    const { region, start, size, memory, offset = 0, writable = true } = object(range, name)
    instance(memory, GuestMemory, `${name}.memory`)
    integer(region, `${name}.region`, 0, 0xffff_ffff)
    integer(start, `${name}.start`, 0, Number.MAX_SAFE_INTEGER)
    integer(size, `${name}.size`, 1, memory.size)
    integer(offset, `${name}.offset`, 0, memory.size - size)
    boolean(writable, `${name}.writable`)
    if (!memory.sealed) throw new TypeError(`${name}.memory must be sealed at its size`)
    return [region, start, size, memory.native, offset, writable] as [
      number,
      number,
      number,
      typeof memory.native,
      number,
      boolean,
    ]
  })
  attempt({ subject: 'plain ranges' }, () => {
    addon().connectionPlain(connection.native, shapes)
  })
}
