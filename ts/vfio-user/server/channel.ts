// What a session needs of a connection: messages in place, their descriptors, and sending. A Connection is one; so is a stand-in of
// a test.

export interface Channel {
  readonly data: DataView
  readonly out: Uint8Array
  readonly outData: DataView
  /** How many messages the table holds. */
  readonly count: number
  offset(i: number): number
  length(i: number): number
  descriptors(i: number): number
  /** The descriptors of a message, the caller's from here on. */
  takeFds(i: number): number[]
  /** The first bytes of `out`. False once the connection has ended. */
  send(length: number, fds?: readonly number[]): boolean
  /** So many bytes of `out`, then others. */
  sendBytes(header: number, payload: Uint8Array, fds?: readonly number[]): boolean
  /** Ends the connection for both sides. */
  hangUp(): void
}
