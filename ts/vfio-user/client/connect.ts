// From a path to a device behind a socket: connected, agreed with the server, and asked what it is.
import { setTimeout as sleep } from 'node:timers/promises'

import type { CheckedConnect, ConnectedDevice } from '../../device/connector.js'
import { ETIMEDOUT, VfioError, type VfioErrorContext, attemptAsync } from '../../errors.js'
import { releaseNative } from '../../handle.js'
import { pageSize } from '../../memory/page.js'
import { type NativeHandle, addon } from '../../native/index.js'
import type { DeviceInfo } from '../../uapi/vfio/device-info.js'
import { MOST_FDS, MOST_VERSION_TEXT } from '../protocol/constants.js'
import { encodeGetInfo } from '../protocol/device-info.js'
import {
  type Agreement,
  type Claims,
  DEFAULTS,
  OWN_CLAIMS,
  type VersionMessage,
  agreeTo,
  decodeVersion,
  encodeVersion,
} from '../protocol/negotiation.js'
import { CONNECT_REMEDIES } from '../transport/connecting.js'
import { UserBackend, readInfo } from './backend.js'
import { Channel, type Reply, senseless, understood } from './channel.js'
import { UserSpace } from './space.js'

const VERSION = 'VFIO_USER_VERSION'
/** Bytes of data without which not even a register fits into a message. */
const LEAST_DATA = 8
/** How often a server whose queue is full is asked again, in milliseconds. */
const RETRY_MS = 10

const REMEDIES: Readonly<Record<string, string>> = {
  ...CONNECT_REMEDIES,
  EPROTOTYPE: 'It must be a connected UNIX stream socket.',
  ENOTSOCK: 'It must be a connected UNIX stream socket.',
}

/** What this side says it can. A server that has a socket of its own for its requests is not asked for by the one of replies. */
function ownClaims(): Claims {
  return {
    ...OWN_CLAIMS,
    pgsizes: pageSize(),
    twinSocket: { supported: true },
    migration: { pgsize: pageSize() },
  }
}

/** @param target a path, or a connected socket’s descriptor, which is taken over unless it is something else */
export async function connect(target: string | number, options: CheckedConnect): Promise<ConnectedDevice> {
  const explain = (error: VfioError): VfioErrorContext => {
    const remedy = error.syscall.startsWith('VFIO_USER_') ? undefined : REMEDIES[error.code]
    return remedy === undefined ? { subject: options.name } : { subject: options.name, remedy }
  }
  const native = await attemptAsync(explain, () => open(target, options))
  try {
    const info = await attemptAsync(explain, async () => {
      await negotiate(native)
      return await askInfo(native)
    })
    const space = addon().userSpaceOpen(native)
    return {
      device: { native, backend: (own) => new UserBackend(own, info) },
      space: { native: space, backend: (own) => new UserSpace(own) },
    }
  } catch (error) {
    releaseNative(native)
    throw error
  }
}

async function open(target: string | number, options: CheckedConnect): Promise<NativeHandle> {
  const { timeoutMs, spinMicros, postedWrites } = options
  if (typeof target === 'number')
    return addon().userChannelFromFd(target, timeoutMs, spinMicros, postedWrites)
  const end = performance.now() + timeoutMs
  for (;;) {
    try {
      return addon().userChannelConnect(target, timeoutMs, spinMicros, postedWrites)
    } catch (error) {
      if (!(error instanceof VfioError) || error.code !== 'EAGAIN') throw error
      if (performance.now() < end) await sleep(RETRY_MS)
      else
        throw new VfioError(ETIMEDOUT, 'connect', {
          reason: 'timeout',
          remedy: 'The server accepts nobody: as many wait as it lets wait.',
        })
    }
  }
}

async function negotiate(native: NativeHandle): Promise<void> {
  const own = ownClaims()
  const channel = new Channel(() => native)
  const reply = await channel.askLater((view) => encodeVersion(view, 0, 0, own), {
    mostFiles: MOST_FDS,
    room: MOST_VERSION_TEXT,
  })
  let twin: NativeHandle | null = null
  try {
    const version = understood({ ...reply, files: [] }, decodeVersion)
    const agreed = agreeTo(version, own)
    if (agreed === null) throw otherVersion(version)
    if (agreed.maxDataXferSize < LEAST_DATA)
      throw senseless(VERSION, {
        remedy: 'The server takes less data in a message than a register has (max_data_xfer_size).',
      })
    twin = twinOf(agreed, version, reply)
    agree(native, agreed, version.claims?.pgsizes ?? DEFAULTS.pgsizes, twin)
  } finally {
    for (const file of reply.files) if (file !== twin) releaseNative(file)
  }
}

function agree(native: NativeHandle, agreed: Agreement, pgsizes: number, twin: NativeHandle | null): void {
  const { minor, maxMsgFds, maxDataXferSize, maxDmaMaps, writeMultiple } = agreed
  addon().userChannelAgree(
    native,
    minor,
    maxMsgFds,
    maxDataXferSize,
    maxDmaMaps,
    BigInt(pgsizes),
    writeMultiple,
    twin,
  )
}

/** The file of the socket on which the server asks for memory; null where it uses the one connection for everything. */
function twinOf(
  { twinSocket }: Agreement,
  { claims }: VersionMessage,
  { files }: Reply,
): NativeHandle | null {
  if (!twinSocket) return null
  const twin = files[claims?.twinSocket?.fdIndex ?? 0]
  if (twin !== undefined) return twin
  throw senseless(VERSION, {
    remedy: 'The server speaks of a second socket, and has sent none (twin_socket).',
  })
}

function otherVersion({ major, minor }: VersionMessage): VfioError {
  return senseless(VERSION, {
    remedy: `The server speaks version ${String(major)}.${String(minor)} of the protocol, and was offered 0.2.`,
  })
}

async function askInfo(native: NativeHandle): Promise<DeviceInfo> {
  return readInfo(await new Channel(() => native).askLater((view) => encodeGetInfo(view, 0, 0)))
}
