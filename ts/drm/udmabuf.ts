// Memory as a dma-buf that devices of the host can be given, by /dev/udmabuf. Owns that device while it is open.
import { closeSync, openSync } from 'node:fs'

import { attempt, ofNode } from '../errors.js'
import { DmaBufFile } from '../memory/dma-buf-file.js'
import { GuestMemory } from '../memory/guest-memory.js'
import { addon } from '../native/index.js'
import { array, instance, integer, object, options as optionsOf, string } from '../validate.js'

/** A part of memory, in whole pages. */
export interface MemoryPart {
  readonly memory: GuestMemory
  /** Bytes from its start, a multiple of the page size. */
  readonly offset: number
  /** Bytes, a multiple of the page size. */
  readonly size: number
}

const MOST_PARTS = 65_536

/**
 * Parts of memory as one dma-buf, one after another, without a copy (UDMABUF_CREATE_LIST).
 * @param parts 1 to 65536 of them; the kernel takes 1024 unless its module's parameter list_limit says otherwise
 * @throws VfioError ENOENT of `open` where the kernel has no udmabuf, EINVAL for memory that is not sealed at its size, or parts
 *   that are no whole pages
 */
export function dmaBufOf(parts: readonly MemoryPart[], options?: { readonly devRoot?: string }): DmaBufFile {
  const { devRoot = '/dev' } = optionsOf(options, 'options')
  const path = `${string(devRoot, 'options.devRoot')}/udmabuf`
  integer(array(parts, 'parts').length, 'parts.length', 1, MOST_PARTS)
  const flat = parts.flatMap((part) => {
    const { memory, offset, size } = object(part, 'a part')
    instance(memory, GuestMemory, 'memory')
    integer(offset, 'offset', 0, memory.size - 1)
    integer(size, 'size', 1, memory.size - offset)
    return [memory.native, offset, size]
  })
  return withUdmabuf(path, (fd) => addon().udmabufCreate(fd, flat))
}

/** What a call with the device of that path makes: a descriptor, which becomes the dma-buf's. @internal */
export function withUdmabuf(path: string, create: (fd: number) => number): DmaBufFile {
  let fd: number
  try {
    fd = openSync(path, 'r+')
  } catch (error) {
    throw ofNode(error, {
      subject: path,
      remedy: `The kernel needs CONFIG_UDMABUF, and this user the right to open ${path}.`,
    })
  }
  try {
    return DmaBufFile.fromFd(attempt({ subject: path }, () => create(fd)))
  } finally {
    closeSync(fd)
  }
}
