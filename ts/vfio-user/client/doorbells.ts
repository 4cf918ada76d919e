// DEVICE_GET_REGION_IO_FDS: the eventfds that a server takes in place of certain writes. Owns none of them once they are given out.
import { closeSync } from 'node:fs'

import type { RegionDoorbell } from '../../device/backend.js'
import { VfioError } from '../../errors.js'
import { EventFd } from '../../event/eventfd.js'
import { releaseNative } from '../../handle.js'
import { type NativeHandle, addon } from '../../native/index.js'
import { IO_FD_FLAG, IO_FD_TYPE, MOST_FDS } from '../protocol/constants.js'
import { type IoFd, decodeIoFdsReply, encodeGetIoFds } from '../protocol/io-fds.js'
import { type Channel, type Reply, senseless, understood } from './channel.js'
import { hasFeatures } from './features.js'

const CALL = 'VFIO_USER_DEVICE_GET_REGION_IO_FDS'
/** Bytes of an answer without entries, which is what is asked for first. */
const FIXED = 16
const MOST_BYTES = 64 << 10
/** How servers say that they have none: not every one knows the message. */
const NONE = ['EINVAL', 'ENOSYS', 'ENOTTY', 'EOPNOTSUPP', 'ENOENT']

/** Those of a region; none where the server is older than the message. */
export function readDoorbells(channel: Channel, index: number): RegionDoorbell[] {
  if (!hasFeatures(channel)) return []
  let reply: Reply
  try {
    const first = ask(channel, index, FIXED)
    const { argsz, count } = understood(first, decodeIoFdsReply)
    release(first.files)
    if (count === 0) return []
    if (argsz > MOST_BYTES) throw senseless(CALL)
    reply = ask(channel, index, argsz)
  } catch (error) {
    if (error instanceof VfioError && NONE.includes(error.code)) return []
    throw error
  }
  const { entries } = understood(reply, decodeIoFdsReply)
  return open(entries, reply.files)
}

function ask(channel: Channel, index: number, argsz: number): Reply {
  return channel.ask((view) => encodeGetIoFds(view, 0, 0, { argsz, index }), { mostFiles: MOST_FDS })
}

/** Entries may share an eventfd. What is no eventfd that KVM knows is left to messages. */
function open(entries: readonly IoFd[], files: readonly NativeHandle[]): RegionDoorbell[] {
  const wanted = entries.filter(({ type, flags }) => type === IO_FD_TYPE.ioeventfd && (flags & IO_FD_FLAG.pio) === 0)
  const eventfds = new Map<number, EventFd>()
  try {
    return wanted.map(({ offset, size, fdIndex, flags, datamatch }) => {
      const file = files[fdIndex]
      if (file === undefined) throw senseless(CALL)
      const eventfd = eventfds.get(fdIndex) ?? adopt(file)
      eventfds.set(fdIndex, eventfd)
      return { offset, width: size, match: (flags & IO_FD_FLAG.datamatch) === 0 ? null : datamatch, eventfd }
    })
  } catch (error) {
    for (const eventfd of eventfds.values()) eventfd.close()
    throw error
  } finally {
    release(files)
  }
}

function adopt(file: NativeHandle): EventFd {
  const fd = addon().fileTakeFd(file)
  try {
    return EventFd.fromFd(fd)
  } catch (error) {
    closeSync(fd)
    throw error
  }
}

function release(files: readonly NativeHandle[]): void {
  for (const file of files) releaseNative(file)
}
