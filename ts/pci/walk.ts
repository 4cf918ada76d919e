// Follows the two capability lists through whatever a device answers, and says what was wrong with them. It
// must not know the contents of any capability.

import { type Capability, capabilityTitle, decodeCapability } from './capabilities.js'
import { CapabilityReader, CapabilityTruncated } from './capability-reader.js'
import type { ConfigSpace } from './config-space.js'
import {
  decodeExtendedCapability,
  type ExtendedCapability,
  extendedCapabilityTitle,
} from './extended-capabilities.js'
import { isPresent } from './presence.js'
import * as regs from './registers.js'

/**
 * What can be wrong with a configuration space:
 * - `absent`: the header reads all ones; the device is gone, unplugged or did not come back from a reset.
 * - `all-ones`: so does a capability; the list ends there.
 * - `loop`: a pointer leads to a capability already seen; the list ends there.
 * - `misaligned`: a pointer has one of its two lowest bits set; they are ignored, as Linux does.
 * - `below-list`: a pointer leads below 0x40, or 0x100 in the extended list; the list ends there.
 * - `beyond-space`: a pointer leads past the bytes that can be read; the list ends there.
 * - `truncated`: a capability's registers reach past the bytes that can be read; it is kept as `'unknown'`.
 * - `no-extended-space`: a PCI Express device shows 256 bytes or fewer, so that its extended list is unseen.
 */
export type ConfigProblemKind =
  | 'absent'
  | 'all-ones'
  | 'loop'
  | 'misaligned'
  | 'below-list'
  | 'beyond-space'
  | 'truncated'
  | 'no-extended-space'

/** One thing that is wrong with a configuration space. */
export interface ConfigProblem {
  readonly kind: ConfigProblemKind
  /** Which part of configuration space it concerns. */
  readonly list: 'header' | 'standard' | 'extended'
  /** Offset of the pointer, capability or register at fault. */
  readonly offset: number
  /** The same in words, for people. */
  readonly message: string
}

/** The capabilities that could be reached, in list order, and what stood in the way of the rest. */
export interface Walk<T> {
  readonly capabilities: T[]
  readonly problems: ConfigProblem[]
}

function hex(value: number): string {
  return `0x${value.toString(16)}`
}

function absent(): ConfigProblem {
  const message = 'configuration space reads all ones: the device does not answer'
  return { kind: 'absent', list: 'header', offset: 0, message }
}

interface List<T> {
  readonly list: 'standard' | 'extended'
  /** Lowest offset that a capability may have. */
  readonly start: number
  /** End of the bytes that can be read. */
  readonly limit: number
  /** Bytes of a capability's own header. */
  readonly headerSize: number
  /** Reads and decodes the capability at `offset`; null if its header reads all ones. */
  read(
    offset: number,
    onTruncated: (error: CapabilityTruncated) => void,
  ): { capability: T; next: number } | null
}

/**
 * Follows a list from the pointer `first`, which was found at offset `from`. Ends on any input: an offset is
 * visited once, and offsets are finite.
 */
function follow<T>(list: List<T>, from: number, first: number): Walk<T> {
  const walk: Walk<T> = { capabilities: [], problems: [] }
  const visited = new Set<number>()
  const report = (kind: ConfigProblemKind, offset: number, message: string): void => {
    walk.problems.push({ kind, list: list.list, offset, message })
  }

  let pointer = first
  while (pointer !== 0) {
    const offset = pointer & ~3
    if (offset < list.start) {
      report('below-list', from, `the pointer at ${hex(from)} is ${hex(pointer)}, below ${hex(list.start)}`)
      break
    }
    if (offset !== pointer) {
      report('misaligned', from, `the pointer at ${hex(from)} is ${hex(pointer)}, not a multiple of 4`)
    }
    if (visited.has(offset)) {
      report('loop', from, `the pointer at ${hex(from)} leads back to ${hex(offset)}`)
      break
    }
    if (offset + list.headerSize > list.limit) {
      report(
        'beyond-space',
        from,
        `the pointer at ${hex(from)} is ${hex(pointer)}, past ${hex(list.limit)} bytes`,
      )
      break
    }
    visited.add(offset)
    const found = list.read(offset, (error) => {
      report('truncated', offset, `the capability at ${hex(offset)} is cut off: ${error.message}`)
    })
    if (found === null) {
      report('all-ones', offset, `the capability at ${hex(offset)} reads all ones`)
      break
    }
    walk.capabilities.push(found.capability)
    from = offset
    pointer = found.next
  }
  return walk
}

function standardList(config: ConfigSpace): List<Capability> {
  const limit = Math.min(config.size, regs.PCI_CFG_SPACE_SIZE)
  return {
    list: 'standard',
    start: regs.PCI_STD_HEADER_SIZEOF,
    limit,
    headerSize: 2,
    read(offset, onTruncated) {
      const id = config.read8(offset + regs.PCI_CAP_LIST_ID)
      if (id === 0xff) return null
      const next = config.read8(offset + regs.PCI_CAP_LIST_NEXT)
      const header = { id, title: capabilityTitle(id), offset, next: next & ~3 }
      try {
        return { capability: decodeCapability(new CapabilityReader(config, offset, limit), header), next }
      } catch (error) {
        if (!(error instanceof CapabilityTruncated)) throw error
        onTruncated(error)
        return { capability: { ...header, name: 'unknown' }, next }
      }
    },
  }
}

function extendedList(config: ConfigSpace): List<ExtendedCapability> {
  const limit = Math.min(config.size, regs.PCI_CFG_SPACE_EXP_SIZE)
  return {
    list: 'extended',
    start: regs.PCI_CFG_SPACE_SIZE,
    limit,
    headerSize: 4,
    read(offset, onTruncated) {
      const word = config.read32(offset)
      if (word === 0xffffffff) return null
      const id = word & 0xffff
      const next = word >>> 20
      const version = (word >>> 16) & 0xf
      const header = { id, title: extendedCapabilityTitle(id), offset, next: next & ~3, version }
      try {
        return {
          capability: decodeExtendedCapability(new CapabilityReader(config, offset, limit), header),
          next,
        }
      } catch (error) {
        if (!(error instanceof CapabilityTruncated)) throw error
        onTruncated(error)
        return { capability: { ...header, name: 'unknown' }, next }
      }
    },
  }
}

/** Walks the standard list. Throws only what `config` itself throws, whatever the device answers. */
export function walkCapabilities(config: ConfigSpace): Walk<Capability> {
  if (!isPresent(config)) return { capabilities: [], problems: [absent()] }
  if ((config.read16(regs.PCI_STATUS) & regs.PCI_STATUS_CAP_LIST) === 0)
    return { capabilities: [], problems: [] }
  const type = config.read8(regs.PCI_HEADER_TYPE) & regs.PCI_HEADER_TYPE_MASK
  const from = type === regs.PCI_HEADER_TYPE_CARDBUS ? regs.PCI_CB_CAPABILITY_LIST : regs.PCI_CAPABILITY_LIST
  return follow(standardList(config), from, config.read8(from))
}

/**
 * Whether what lies beyond 256 bytes is an extended list: PCI Express has one, and PCI-X in mode 2. Elsewhere it is whatever the
 * bridge or the root complex puts there, an echo of the first 256 bytes often.
 */
function listsBeyond256(config: ConfigSpace, { id, offset }: Capability): boolean {
  if (id === regs.PCI_CAP_ID_EXP) return true
  if (id !== regs.PCI_CAP_ID_PCIX) return false
  const type = config.read8(regs.PCI_HEADER_TYPE) & regs.PCI_HEADER_TYPE_MASK
  // A bridge keeps its status elsewhere, in another form; those of PCI-X never had extended registers.
  if (type !== regs.PCI_HEADER_TYPE_NORMAL || offset + regs.PCI_X_STATUS + 4 > config.size) return false
  const status = config.read32(offset + regs.PCI_X_STATUS)
  return (status & (regs.PCI_X_STATUS_266MHZ | regs.PCI_X_STATUS_533MHZ)) !== 0
}

/** How a device says that it has none, where its first one would be: with zeros, or with an id of all ones that leads nowhere. */
function saysNone(word: number): boolean {
  return word === 0 || (word & 0xfff0_ffff) >>> 0 === 0xffff
}

/** Walks the extended list. Throws only what `config` itself throws, whatever the device answers. */
export function walkExtendedCapabilities(config: ConfigSpace): Walk<ExtendedCapability> {
  if (!isPresent(config)) return { capabilities: [], problems: [absent()] }
  const bearer = walkCapabilities(config).capabilities.find((each) => listsBeyond256(config, each))
  if (bearer === undefined) return { capabilities: [], problems: [] }
  if (config.size <= regs.PCI_CFG_SPACE_SIZE) {
    if (bearer.id !== regs.PCI_CAP_ID_EXP) return { capabilities: [], problems: [] }
    const message = `a PCI Express device, but its configuration space ends after ${config.size} bytes`
    const problem = { kind: 'no-extended-space', list: 'extended', offset: bearer.offset, message } as const
    return { capabilities: [], problems: [problem] }
  }
  if (saysNone(config.read32(regs.PCI_CFG_SPACE_SIZE))) return { capabilities: [], problems: [] }
  return follow(extendedList(config), regs.PCI_CFG_SPACE_SIZE, regs.PCI_CFG_SPACE_SIZE)
}
