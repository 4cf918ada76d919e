// A client for tests of the server: sends what it is told to, right or wrong, and hands out what comes. And a server for it.
import { closeSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { ExecutionContext } from 'ava'

import { type EventFd } from '../../../../ts/event/eventfd.js'
import {
  UserDevice,
  type UserDeviceOptions,
  UserDeviceServer,
  type UserDeviceServerOptions,
} from '../../../../ts/vfio-user/index.js'
import { FRAMING, IRQ_ACTION, IRQ_DATA } from '../../../../ts/vfio-user/protocol/constants.js'
import { encodeDmaMap, encodeDmaUnmap } from '../../../../ts/vfio-user/protocol/dma.js'
import * as header from '../../../../ts/vfio-user/protocol/header.js'
import { encodeSetIrqs } from '../../../../ts/vfio-user/protocol/irqs.js'
import { type Claims, encodeVersion } from '../../../../ts/vfio-user/protocol/negotiation.js'
import * as io from '../../../../ts/vfio-user/protocol/region-io.js'
import { Connection } from '../../../../ts/vfio-user/transport/connection.js'
import type { ConnectionEnd } from '../../../../ts/vfio-user/transport/end.js'
import { type GuestMemory } from '../../../../ts/memory/guest-memory.js'
import { temporaryFolder } from '../../../temporary.js'

/** A message that came. */
export interface Received {
  readonly view: DataView
  readonly bytes: Uint8Array
  readonly fds: number[]
  /** Null for what is no error. */
  readonly errno: number | null
}

export type Encode = (view: DataView, id: number) => number

const CLAIMS: Claims = {
  maxMsgFds: 16,
  maxDataXferSize: 1 << 20,
  maxDmaMaps: 65535,
  writeMultiple: true,
  migration: { pgsize: 4096 },
}

export class Peer {
  readonly connection: Connection
  /** What came, in order: replies and commands. */
  readonly received: Received[] = []
  /** Commands of the server's, which are answered here. */
  onCommand: ((command: Received) => void) | undefined
  readonly ended: Promise<ConnectionEnd>
  #id = 0
  readonly #waiting = new Map<number, (reply: Received) => void>()
  readonly #endings = new Set<(end: ConnectionEnd) => void>()

  constructor(connection: Connection) {
    this.connection = connection
    this.ended = new Promise((resolve) => {
      connection.onMessages(
        () => {
          for (let i = 0; i < connection.count; i++) this.#take(i)
        },
        (end) => {
          for (const ending of this.#endings) ending(end)
          resolve(end)
        },
      )
    })
  }

  static connect(t: ExecutionContext, path: string): Peer {
    const peer = new Peer(Connection.connect(path, { framing: FRAMING, queueBytes: 64 << 20 }))
    t.teardown(() => {
      peer.close()
    })
    return peer
  }

  /** Sends a message that `encode` makes, without waiting for anything. @returns its id */
  send(encode: Encode, fds?: readonly number[]): number {
    const id = (this.#id = (this.#id + 1) & 0xffff)
    this.connection.send(encode(this.connection.outData, id), fds)
    return id
  }

  /** The reply to it, an error too. */
  async call(encode: Encode, fds?: readonly number[]): Promise<Received> {
    return this.reply(this.send(encode, fds))
  }

  reply(id: number): Promise<Received> {
    return new Promise((resolve, reject) => {
      const ending = (end: ConnectionEnd): void => {
        reject(new Error(end.message))
      }
      this.#endings.add(ending)
      this.#waiting.set(id, (reply) => {
        this.#endings.delete(ending)
        resolve(reply)
      })
    })
  }

  async negotiate(claims: Claims = CLAIMS): Promise<Received> {
    return this.call((view, id) => encodeVersion(view, 0, id, claims))
  }

  async read(region: number, offset: number, count: number): Promise<Uint8Array> {
    const reply = await this.call((view, id) => io.writeRegionRead(view, 0, id, region, offset, count))
    if (reply.errno !== null) throw new Error(`errno ${String(reply.errno)}`)
    if (reply.bytes.length !== 32 + count) throw new Error(`a reply of ${String(reply.bytes.length)} bytes`)
    return reply.bytes.subarray(32)
  }

  async read32(region: number, offset: number): Promise<number> {
    const bytes = await this.read(region, offset, 4)
    return new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true)
  }

  async write(region: number, offset: number, bytes: Uint8Array): Promise<void> {
    const reply = await this.call(writing(region, offset, bytes, false))
    if (reply.errno !== null) throw new Error(`errno ${String(reply.errno)}`)
  }

  async write32(region: number, offset: number, value: number): Promise<void> {
    await this.write(region, offset, bytesOf32(value))
  }

  /** A write to which no reply is wanted. */
  post32(region: number, offset: number, value: number): void {
    this.send(writing(region, offset, bytesOf32(value), true))
  }

  /** Turns bus mastering on, as drivers do. */
  async master(): Promise<void> {
    await this.write(7, 4, Uint8Array.of(6, 0))
  }

  async map(
    memory: GuestMemory | null,
    iova: bigint,
    size: bigint,
    offset = 0n,
    flags = 3,
  ): Promise<Received> {
    const map = { flags, offset, iova, size }
    return this.call((view, id) => encodeDmaMap(view, 0, id, map), memory === null ? undefined : [memory.fd])
  }

  async unmap(iova: bigint, size: bigint): Promise<Received> {
    return this.call((view, id) => encodeDmaUnmap(view, 0, id, { flags: 0, iova, size }))
  }

  /** Gives eventfds for vectors from `start` on. */
  async irqs(
    index: number,
    start: number,
    eventfds: readonly EventFd[],
    action = IRQ_ACTION.trigger as number,
    count = eventfds.length,
  ): Promise<Received> {
    const set = { data: IRQ_DATA.eventfd, action, index, start, count }
    return this.call(
      (view, id) => encodeSetIrqs(view, 0, id, set),
      eventfds.map(({ fd }) => fd),
    )
  }

  close(): void {
    for (const { fds } of this.received) for (const fd of fds.splice(0)) closeSync(fd)
    this.connection.close()
  }

  #take(i: number): void {
    const { connection } = this
    const at = connection.offset(i)
    const bytes = connection.bytes.slice(at, at + connection.length(i))
    const view = new DataView(bytes.buffer)
    const errno = header.isError(view, 0) ? header.errnoOf(view, 0) : null
    const message = { view, bytes, fds: connection.takeFds(i), errno }
    this.received.push(message)
    if (!header.isReply(view, 0)) {
      this.onCommand?.(message)
      return
    }
    const id = header.messageId(view, 0)
    const waiting = this.#waiting.get(id)
    this.#waiting.delete(id)
    waiting?.(message)
  }
}

export function bytesOf32(value: number): Uint8Array {
  const bytes = new Uint8Array(4)
  new DataView(bytes.buffer).setUint32(0, value, true)
  return bytes
}

export function writing(region: number, offset: number, bytes: Uint8Array, posted: boolean): Encode {
  return (view, id) => {
    new Uint8Array(view.buffer).set(bytes, io.ACCESS_DATA)
    return io.writeRegionWrite(view, 0, id, region, offset, bytes.length, posted)
  }
}

export const IDENTITY = { vendorId: 0x1234, deviceId: 0x11e8, classCode: 0x00ff00 }

/** A device with one BAR of registers that remember what was written. */
export function registers(size = 0x1000): {
  options: Partial<UserDeviceOptions>
  values: Map<number, number>
  log: string[]
} {
  const values = new Map<number, number>()
  const log: string[] = []
  return {
    values,
    log,
    options: {
      regions: { bar0: { size } },
      onRead(region, offset, width) {
        log.push(`read ${region} ${String(offset)} ${String(width)}`)
        return values.get(offset) ?? 0
      },
      onWrite(region, offset, width, value) {
        log.push(`write ${region} ${String(offset)} ${String(width)} ${String(value)}`)
        values.set(offset, value)
      },
    },
  }
}

export interface Served {
  readonly device: UserDevice
  readonly server: UserDeviceServer
  readonly path: string
  readonly errors: Error[]
  /** Another client. */
  connect(): Peer
}

/** A server of a device; what goes wrong is in `errors`. */
export function serve(
  t: ExecutionContext,
  options: Partial<UserDeviceOptions>,
  serverOptions?: UserDeviceServerOptions,
): Served {
  const errors: Error[] = []
  const device = new UserDevice({ name: 'test device', pci: IDENTITY, ...options })
  const path = join(temporaryFolder(t, 'user'), 'socket')
  const server = UserDeviceServer.listen(path, device, {
    onError: (error) => errors.push(error),
    ...serverOptions,
  })
  t.teardown(() => {
    server.close()
  })
  return { device, server, path, errors, connect: () => Peer.connect(t, path) }
}

/** The same with a client that has agreed on a version, and has bus mastering on. */
export async function connected(
  t: ExecutionContext,
  options: Partial<UserDeviceOptions>,
  serverOptions?: UserDeviceServerOptions,
): Promise<Served & { peer: Peer }> {
  const served = serve(t, options, serverOptions)
  const peer = served.connect()
  await peer.negotiate()
  await peer.master()
  return { ...served, peer }
}

/** Something of the test's, closed with it. */
export function own<T extends { close(): unknown }>(t: ExecutionContext, value: T): T {
  t.teardown(() => {
    value.close()
  })
  return value
}

/** Waits for what comes soon; a test looks itself whether it did. */
export async function until(done: () => boolean): Promise<void> {
  for (let tries = 0; !done() && tries < 2000; tries++) await sleep(2)
}
