// A vfio-user server that misbehaves as it is told, in a Worker of its own: the client blocks the thread that it is called on.
// Its device has registers in bar0, some of which make it ask for the client's memory, memory in bar2, and four MSI-X vectors.
import { closeSync, ftruncateSync, openSync, unlinkSync, writeSync } from 'node:fs'
import { type MessagePort, parentPort, workerData } from 'node:worker_threads'

import { Connection } from '../../../ts/vfio-user/transport/connection.js'
import { Listener } from '../../../ts/vfio-user/transport/listener.js'
import { COMMAND, FRAMING } from '../../../ts/vfio-user/protocol/constants.js'
import { BAR0, BAR2, GO, type Misbehaviour, type Quirks, REGISTER } from './quirks.js'

const HEADER = 16

interface Request {
  readonly bytes: Uint8Array
  readonly view: DataView
  readonly fds: number[]
}

class QuirkyServer {
  readonly #quirks: Quirks
  readonly #connection: Connection
  #asking: Connection
  readonly #queue: Request[] = []
  readonly #bar0 = new Uint8Array(BAR0)
  readonly #bar2 = new Uint8Array(BAR2)
  readonly #config = new Uint8Array(256)
  readonly #eventfds = new Map<string, number>()
  readonly #counts = new Map<number, number>()
  readonly #file: number
  #own = 0x4000
  #state = 2
  #over = false
  #log = 0n
  #loaded = 0
  #data: Uint8Array = new Uint8Array()

  constructor(quirks: Quirks, connection: Connection) {
    this.#quirks = quirks
    this.#connection = connection
    this.#asking = connection
    const path = `${quirks.path}.bar2`
    this.#file = openSync(path, 'w+')
    unlinkSync(path)
    ftruncateSync(this.#file, quirks.fileBytes ?? BAR2)
    const view = new DataView(this.#config.buffer)
    view.setUint32(0x00, 0x11e8_1234, true)
    view.setUint32(0x04, 0x0010_0002, true)
    view.setUint32(0x10, 0xfe00_0000, true)
    view.setUint32(0x18, 0xfd00_0008, true)
    view.setUint8(0x34, 0x40)
    view.setUint32(0x40, 0x0003_0011, true)
    view.setUint32(0x44, 0x0000_0800, true)
    view.setUint32(0x48, 0x0000_0c00, true)
  }

  run(): void {
    while (!this.#over && this.#connection.ended === undefined) {
      const request = this.#next(-1)
      if (request !== undefined) this.#answer(request)
    }
    for (const fd of this.#eventfds.values()) closeSync(fd)
    closeSync(this.#file)
    this.#connection.close()
  }

  #next(timeout: number, connection = this.#connection): Request | undefined {
    const queued = this.#queue.shift()
    if (queued !== undefined) return queued
    connection.wait(timeout < 0 ? undefined : timeout)
    for (let i = 0; i < connection.count; i++) {
      const start = connection.offset(i)
      const bytes = connection.bytes.slice(start, start + connection.length(i))
      this.#queue.push({ bytes, view: new DataView(bytes.buffer), fds: connection.takeFds(i) })
    }
    return this.#queue.shift()
  }

  #answer(request: Request): void {
    const { view } = request
    const command = view.getUint16(2, true)
    const wants = (view.getUint32(8, true) & 0x10) === 0
    const { body, fds = [], errno = 0, then } = this.#handle(command, request)
    for (const fd of request.fds) closeSync(fd)
    if (wants || this.#quirks.answersPosted === true) this.#reply(view, command, body, fds, errno)
    then?.()
  }

  #reply(view: DataView, command: number, body: Uint8Array, fds: number[], errno: number): void {
    const seen = this.#counts.get(command) ?? 0
    this.#counts.set(command, seen + 1)
    const { at, how, after = 0 } = this.#quirks
    const id = view.getUint16(0, true)
    if (how === undefined || at !== command || seen < after) this.#send(id, command, body, fds, errno)
    else this.#misbehave(how, id, command, body, fds)
  }

  #misbehave(how: Misbehaviour, id: number, command: number, body: Uint8Array, fds: number[]): void {
    const connection = this.#connection
    const put = (size = HEADER + body.length, flags = 1, error = 0, as = command): number =>
      this.#put(id, as, body, { size, flags, error })
    switch (how) {
      case 'silence':
        return
      case 'half':
        connection.send(put() - Math.max(1, body.length >> 1), fds)
        return
      case 'drip': {
        const size = put()
        const whole = connection.out.slice(0, size)
        for (const byte of whole) {
          connection.out[0] = byte
          if (!connection.send(1)) return
          Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 80)
        }
        return
      }
      case 'wrongId':
        this.#send(id + 1, command, body, fds, 0)
        return
      case 'wrongCommand':
        connection.send(put(undefined, 1, 0, command + 1), fds)
        return
      case 'notAReply':
        connection.send(put(undefined, 7), fds)
        return
      case 'extraFds': {
        const more = Array.from({ length: 5 }, () => openSync('/dev/zero', 'r'))
        connection.send(put(), [...fds, ...more])
        for (const fd of more) closeSync(fd)
        return
      }
      case 'short':
        connection.send(put(HEADER + Math.max(0, body.length - 1)), fds)
        return
      case 'bare':
        connection.send(put(HEADER), fds)
        return
      case 'error':
        this.#send(id, command, body, [], 22)
        return
      case 'errorWithoutReason':
        this.#send(id, command, body, [], 0, true)
        return
      case 'oddError':
        this.#send(id, command, body, [], 0x7fff_ffff)
        return
      case 'tooLong':
        connection.send(put(0x7fff_ffff) && HEADER + body.length)
        return
      case 'tooShort':
        connection.send(put(3) && HEADER + body.length)
        return
      case 'closeInstead':
        this.#over = true
        return
      case 'closeAfter':
        connection.send(put(), fds)
        this.#over = true
        return
      case 'closeInside':
        connection.send(Math.max(1, put() >> 1), fds)
        this.#over = true
        return
      case 'twice':
        connection.send(put(), fds)
        connection.send(put(), fds)
        return
      case 'garbage':
        connection.out.fill(0xa5, 0, 4096)
        connection.send(4096)
        return
      case 'flood':
        // Commands of its own without end, and never the reply.
        while (connection.ended === undefined) {
          connection.outData.setUint16(0, this.#own++ & 0xffff, true)
          connection.outData.setUint16(2, 77, true)
          connection.outData.setUint32(4, HEADER, true)
          connection.outData.setUint32(8, 0, true)
          if (!connection.send(HEADER)) return
          // As fast as the client refuses them.
          connection.wait(20)
        }
    }
  }

  #put(
    id: number,
    command: number,
    body: Uint8Array,
    { size, flags, error }: { size: number; flags: number; error: number },
  ): number {
    const { out, outData } = this.#connection
    outData.setUint16(0, id, true)
    outData.setUint16(2, command, true)
    outData.setUint32(4, size, true)
    outData.setUint32(8, flags, true)
    outData.setUint32(12, error, true)
    out.set(body, HEADER)
    return size
  }

  #send(
    id: number,
    command: number,
    body: Uint8Array,
    fds: number[],
    errno: number,
    fails = errno !== 0,
  ): void {
    const whole = fails ? new Uint8Array() : body
    const size = this.#put(id, command, whole, {
      size: HEADER + whole.length,
      flags: fails ? 0x21 : 1,
      error: errno,
    })
    this.#connection.send(size, fds)
  }

  #handle(command: number, { bytes, view, fds }: Request): Answer {
    switch (command) {
      case COMMAND.version:
        return this.#version(bytes)
      case COMMAND.dmaMap:
        return { body: new Uint8Array() }
      case COMMAND.dmaUnmap:
        return { body: bytes.slice(HEADER) }
      case COMMAND.deviceGetInfo: {
        const { reset = true, numRegions = 9, numIrqs = 5 } = this.#quirks
        return { body: words(16, (reset ? 1 : 0) | 2, numRegions, numIrqs) }
      }
      case COMMAND.deviceGetRegionInfo:
        return this.#regionInfo(view.getUint32(16, true), view.getUint32(24, true))
      case COMMAND.deviceGetIrqInfo: {
        const index = view.getUint32(24, true)
        return { body: words(16, index === 0 ? 7 : 9, index, [1, 0, 4, 0, 0][index] ?? 0) }
      }
      case COMMAND.deviceSetIrqs:
        return this.#setIrqs(view, bytes, fds)
      case COMMAND.regionRead:
      case COMMAND.regionWrite:
        return this.#access(command === COMMAND.regionWrite, view, bytes)
      case COMMAND.regionWriteMulti:
        return this.#several(view, bytes)
      case COMMAND.deviceReset:
        this.#bar0.fill(0)
        return { body: new Uint8Array() }
      case COMMAND.deviceFeature:
        return this.#feature(view, bytes)
      case COMMAND.migDataRead: {
        const size = Math.min(view.getUint32(20, true), this.#data.length)
        const body = new Uint8Array(8 + view.getUint32(20, true))
        body.set(new Uint8Array(words(8 + size, size).buffer))
        body.set(this.#data.subarray(0, size), 8)
        this.#data = this.#data.subarray(size)
        return { body }
      }
      case COMMAND.migDataWrite: {
        const size = view.getUint32(20, true)
        this.#bar0.set(bytes.subarray(24, 24 + size), this.#loaded)
        this.#loaded += size
        return { body: new Uint8Array() }
      }
      default:
        return { body: new Uint8Array(), errno: 38 }
    }
  }

  #version(bytes: Uint8Array): Answer {
    const { version, major = 0, minor = 2, twin = false, several = false } = this.#quirks
    const asked = new TextDecoder().decode(bytes.subarray(20))
    const fds: number[] = []
    let then: Answer['then']
    const capabilities: Record<string, unknown> = {
      max_msg_fds: 2,
      max_data_xfer_size: 1 << 20,
      pgsizes: 4096,
      write_multiple: several,
    }
    if (twin && asked.includes('twin_socket')) {
      const [here, there] = Connection.pair({ framing: FRAMING })
      this.#asking = here
      fds.push(there.fd)
      then = () => {
        there.close()
      }
      capabilities.twin_socket = { supported: true, fd_index: 0 }
    }
    const text = version === undefined ? JSON.stringify({ capabilities }) : version
    const numbers = new Uint8Array(new Uint16Array([major, minor]).buffer)
    const body = text === null ? numbers : new Uint8Array([...numbers, ...new TextEncoder().encode(text), 0])
    return then === undefined ? { body, fds } : { body, fds, then }
  }

  #regionInfo(argsz: number, index: number): Answer {
    const { areas, barBytes = BigInt(BAR2), descriptor = 'file', infoArgsz, ...odd } = this.#quirks
    const view = new DataView(new ArrayBuffer(32))
    const size = index === 0 ? BigInt(BAR0) : index === 2 ? barBytes : index === 7 ? 256n : 0n
    const caps = index === 2 && areas !== undefined
    const needed = infoArgsz ?? 32 + (caps ? 16 + areas.length * 16 : 0)
    const complete = argsz >= needed
    view.setUint32(0, needed, true)
    const access = index === 7 && odd.closedConfig === true ? 0 : 3
    view.setUint32(4, access | (index === 2 ? 4 : 0) | (caps && complete ? 8 : 0), true)
    view.setUint32(8, index, true)
    view.setUint32(12, caps && complete ? 32 : 0, true)
    view.setBigUint64(16, size, true)
    if (index > 8) return { body: new Uint8Array(), errno: 22 }
    if (index !== 2 || !complete) return { body: new Uint8Array(view.buffer) }
    const other = descriptor === 'null' ? openSync('/dev/null', 'r+') : undefined
    const files = descriptor === 'none' ? 0 : odd.filePerArea === true ? (areas?.length ?? 1) : 1
    const fds = Array.from({ length: files }, () => other ?? this.#file)
    const then = (): void => {
      if (other !== undefined) closeSync(other)
    }
    if (!caps) return { body: new Uint8Array(view.buffer), fds, then }
    const sparse = new DataView(new ArrayBuffer(16 + areas.length * 16))
    sparse.setUint16(0, 1, true)
    sparse.setUint16(2, 1, true)
    sparse.setUint32(8, areas.length, true)
    areas.forEach(([offset, bytes], i) => {
      sparse.setBigUint64(16 + i * 16, BigInt(offset), true)
      sparse.setBigUint64(24 + i * 16, BigInt(bytes), true)
    })
    return {
      body: new Uint8Array([...new Uint8Array(view.buffer), ...new Uint8Array(sparse.buffer)]),
      fds,
      then,
    }
  }

  #setIrqs(view: DataView, bytes: Uint8Array, fds: number[]): Answer {
    const flags = view.getUint32(20, true)
    const index = view.getUint32(24, true)
    const start = view.getUint32(28, true)
    const count = view.getUint32(32, true)
    if ((flags & 4) !== 0) {
      if (fds.length > 2) return { body: new Uint8Array(), errno: 7 }
      if (fds.length !== 0 && fds.length !== count) return { body: new Uint8Array(), errno: 22 }
      for (let i = 0; i < count; i++) {
        const name = `${String(index)}:${String(start + i)}`
        const before = this.#eventfds.get(name)
        if (before !== undefined) closeSync(before)
        this.#eventfds.delete(name)
        const fd = fds[i]
        if (fd !== undefined) this.#eventfds.set(name, fd)
      }
      fds.length = 0
    } else if (flags === 0x21 && count === 0) {
      for (const [name, fd] of this.#eventfds) {
        if (!name.startsWith(`${String(index)}:`)) continue
        closeSync(fd)
        this.#eventfds.delete(name)
      }
    } else if ((flags & 0x20) !== 0) {
      for (let i = 0; i < count; i++)
        if ((flags & 2) === 0 || bytes[36 + i] !== 0) this.#fire(index, start + i)
    }
    return { body: new Uint8Array() }
  }

  #fire(index: number, vector: number): void {
    const fd = this.#eventfds.get(`${String(index)}:${String(vector)}`)
    if (fd !== undefined) writeSync(fd, new Uint8Array(new BigUint64Array([1n]).buffer))
  }

  #access(write: boolean, view: DataView, bytes: Uint8Array): Answer {
    const offset = Number(view.getBigUint64(16, true))
    const region = view.getUint32(24, true)
    const count = view.getUint32(28, true)
    const store =
      region === 0 ? this.#bar0 : region === 2 ? this.#bar2 : region === 7 ? this.#config : undefined
    if (store === undefined || offset + count > store.length) return { body: new Uint8Array(), errno: 22 }
    if (!write)
      return { body: new Uint8Array([...bytes.subarray(16, 32), ...store.subarray(offset, offset + count)]) }
    store.set(bytes.subarray(32, 32 + count), offset)
    const body = bytes.slice(16, 32)
    if (region !== 0) return { body }
    const value = bytes[32] ?? 0
    if (offset === REGISTER.shrink) ftruncateSync(this.#file, 0)
    if (offset === REGISTER.fire) this.#fire(2, value)
    if (offset !== REGISTER.go) return { body }
    if (value === GO.before) this.#dma()
    if (value === GO.after)
      return {
        body,
        then: () => {
          this.#dma()
        },
      }
    if (value === GO.later) {
      const then = (): void => {
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 50)
        this.#dma()
      }
      return { body, then }
    }
    return { body }
  }

  #several(view: DataView, bytes: Uint8Array): Answer {
    if (this.#quirks.several !== true) return { body: new Uint8Array(), errno: 22 }
    const writes = Number(view.getBigUint64(16, true))
    for (let at = 24; at < 24 + writes * 24; at += 24) {
      const [offset, region, count] = [
        Number(view.getBigUint64(at, true)),
        view.getUint32(at + 8, true),
        view.getUint32(at + 12, true),
      ]
      if (region !== 0 || count > 8 || offset % count !== 0 || offset + count > BAR0)
        return { body: new Uint8Array(), errno: 22 }
      this.#bar0.set(bytes.subarray(at + 16, at + 16 + count), offset)
    }
    return { body: bytes.slice(16, 24) }
  }

  /** One request of its own, as its registers say, and what came of it: 0 or an errno. */
  #dma(): void {
    const registers = new DataView(this.#bar0.buffer)
    const iova = registers.getBigUint64(REGISTER.iova, true)
    const count = registers.getUint32(REGISTER.count, true)
    const write = registers.getUint32(REGISTER.write, true)
    const connection = this.#asking
    const { out, outData } = connection
    const id = this.#own++
    const carried = write === 1 ? Math.min(count, 1024) : 0
    outData.setUint16(0, id, true)
    outData.setUint16(2, write === 0 ? COMMAND.dmaRead : write === 1 ? COMMAND.dmaWrite : write, true)
    const size = write > 100 ? HEADER : 32 + carried
    outData.setUint32(4, size, true)
    outData.setUint32(8, 0, true)
    outData.setUint32(12, 0, true)
    outData.setBigUint64(16, iova, true)
    outData.setBigUint64(24, BigInt(count), true)
    out.set(this.#bar0.subarray(REGISTER.window, REGISTER.window + carried), 32)
    registers.setUint32(REGISTER.result, 0xffff_ffff, true)
    connection.send(size)
    const kept: Request[] = []
    for (;;) {
      const reply = this.#next(2000, connection)
      if (reply === undefined) break
      const type = reply.view.getUint32(8, true) & 0xf
      if (type !== 1 || reply.view.getUint16(0, true) !== id) {
        kept.push(reply)
        continue
      }
      const failed = (reply.view.getUint32(8, true) & 0x20) !== 0
      registers.setUint32(REGISTER.result, failed ? reply.view.getUint32(12, true) : 0, true)
      if (!failed && write === 0)
        this.#bar0.set(reply.bytes.subarray(32, 32 + Math.min(count, 1024)), REGISTER.window)
      break
    }
    this.#queue.unshift(...kept)
  }

  #feature(view: DataView, bytes: Uint8Array): Answer {
    const flags = view.getUint32(20, true)
    const id = flags & 0xffff
    const data = new DataView(bytes.slice(16).buffer)
    if (![1, 2, 6, 7, 8].includes(id)) return { body: new Uint8Array(), errno: 25 }
    if ((flags & 0x4_0000) !== 0) return { body: bytes.slice(16) }
    if (id === 1) data.setBigUint64(8, 5n, true)
    if (id === 2 && (flags & 0x1_0000) !== 0) data.setUint32(8, this.#state, true)
    if (id === 2 && (flags & 0x2_0000) !== 0) {
      this.#state = data.getUint32(8, true)
      this.#loaded = 0
      if (this.#state === 3 || this.#state === 6) this.#data = this.#bar0.slice()
    }
    if (id === 6) this.#log = data.getBigUint64(8, true)
    if (id === 7) this.#log = 0n
    if (id === 8) {
      if (this.#log === 0n) return { body: new Uint8Array(), errno: 22 }
      const body = new Uint8Array(view.getUint32(16, true))
      body.set(bytes.subarray(16, 48))
      // It wrote to the first page.
      body[32] = 1
      return { body }
    }
    return { body: new Uint8Array(data.buffer) }
  }
}

interface Answer {
  readonly body: Uint8Array
  readonly fds?: number[]
  readonly errno?: number
  readonly then?: () => void
}

function words(...values: number[]): Uint8Array {
  return new Uint8Array(new Uint32Array(values).buffer)
}

const quirks = workerData as Quirks
const port = parentPort as MessagePort
const listener = Listener.listen(quirks.path, { framing: FRAMING })
port.postMessage('ready')
const connection = listener.acceptSync(20_000)
listener.close()
if (connection !== undefined) new QuirkyServer(quirks, connection).run()
