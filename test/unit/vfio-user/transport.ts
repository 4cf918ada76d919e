// Help for the tests of the transport: a framing like that of vfio-user, messages, and descriptors to send.
import { closeSync, fstatSync, openSync, readdirSync, readSync } from 'node:fs'

import type { Connection } from '../../../ts/vfio-user/transport/connection.js'
import type { ConnectionOptions } from '../../../ts/vfio-user/transport/framing.js'

export const MOST = 2 ** 20 + 64

export const OPTIONS: ConnectionOptions = {
  framing: { lengthOffset: 4, headerBytes: 16, maxMessage: MOST },
}

/** Puts a message into the send buffer: its length, a number, and a pattern that follows from it. */
export function compose(connection: Connection, length: number, number: number): number {
  const { out, outData } = connection
  outData.setUint32(0, number, true)
  outData.setUint32(4, length, true)
  outData.setUint32(8, 0, true)
  outData.setUint32(12, 0, true)
  out.fill(number & 0xff, 16, length)
  return length
}

export function sendMessage(connection: Connection, length: number, number = 0, fds?: number[]): boolean {
  return connection.send(compose(connection, length, number), fds)
}

/** The number of a message that `compose` made, checked to be whole. */
export function numberOf(connection: Connection, i: number): number {
  const { data, bytes } = connection
  const start = connection.offset(i)
  const length = connection.length(i)
  const number = data.getUint32(start, true)
  if (data.getUint32(start + 4, true) !== length) throw new Error('the length is another')
  for (let at = start + 16; at < start + length; at++) {
    if (bytes[at] !== (number & 0xff)) throw new Error(`byte ${String(at - start)} is another`)
  }
  return number
}

/** The numbers of the messages in the table. */
export function numbersIn(connection: Connection): number[] {
  return Array.from({ length: connection.count }, (_, i) => numberOf(connection, i))
}

export function openDescriptors(): number {
  return readdirSync('/proc/self/fd').length
}

/** A descriptor that nobody else has, and how to know it again. */
export function ownFd(): { fd: number; close: () => void } {
  const fd = openSync('/dev/zero', 'r')
  return {
    fd,
    close: () => {
      closeSync(fd)
    },
  }
}

/** Whether a descriptor is /dev/zero, and open. */
export function isZero(fd: number): boolean {
  const byte = new Uint8Array([1])
  return fstatSync(fd).isCharacterDevice() && readSync(fd, byte) === 1 && byte[0] === 0
}
