// What the misbehaving server of these tests can do wrong, and the registers of its device.
/** What is wrong with a reply. */
export type Misbehaviour =
  | 'silence'
  | 'half'
  | 'drip'
  | 'wrongId'
  | 'wrongCommand'
  | 'notAReply'
  | 'extraFds'
  | 'short'
  | 'bare'
  | 'error'
  | 'errorWithoutReason'
  | 'oddError'
  | 'tooLong'
  | 'tooShort'
  | 'closeInstead'
  | 'closeAfter'
  | 'closeInside'
  | 'twice'
  | 'garbage'
  | 'flood'

export interface Quirks {
  readonly path: string
  /** To which command it misbehaves, and how; once it has answered so many of them well. */
  readonly at?: number
  readonly how?: Misbehaviour
  readonly after?: number
  /** The text of its VERSION reply, and its version. */
  readonly version?: string | null
  readonly major?: number
  readonly minor?: number
  /** Whether it sends a second socket for its own requests, when it is asked whether it has one. */
  readonly twin?: boolean
  /** Numbers of DEVICE_GET_INFO. */
  readonly numRegions?: number
  readonly numIrqs?: number
  readonly reset?: boolean
  /** Of bar2: bytes of the file behind its descriptor, its areas, and what its info claims. */
  readonly fileBytes?: number
  readonly areas?: readonly (readonly [offset: number, size: number])[]
  readonly barBytes?: bigint
  readonly descriptor?: 'file' | 'none' | 'null'
  readonly infoArgsz?: number
  /** Takes several writes in one message. */
  readonly several?: boolean
  /** Sends the file of bar2 once for each of its areas, as libvfio-user up to 2023 does. */
  readonly filePerArea?: boolean
  /** Says of configuration space that it can neither be read nor written, as that one does. */
  readonly closedConfig?: boolean
  /** Answers a posted write nevertheless. */
  readonly answersPosted?: boolean
}

/** Registers of bar0. A write to `go` makes it ask for memory: before it replies, after that, or later. */
export const REGISTER = {
  go: 0x100,
  iova: 0x108,
  count: 0x110,
  write: 0x114,
  result: 0x118,
  shrink: 0x120,
  fire: 0x128,
  window: 0x200,
} as const
export const GO = { before: 1, after: 2, later: 3 } as const
export const BAR0 = 4096
export const BAR2 = 16384
