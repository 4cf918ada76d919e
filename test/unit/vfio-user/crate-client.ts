// A client that behaves as the Rust crate's does, and so cloud-hypervisor: it reads as many bytes as it expects, looks neither at
// errors nor at ids, and takes whatever comes for its reply. Where the crate's would hang or panic, a call here throws.
import type { ExecutionContext } from 'ava'

import { COMMAND, FRAMING } from '../../../ts/vfio-user/protocol/constants.js'
import { Connection } from '../../../ts/vfio-user/transport/connection.js'

/** What it waits, where the crate waits for ever. The server answers everything within a second. */
const PATIENCE_MS = 4000
const HEADER = 16
const PROPOSAL =
  '{"capabilities":{"max_msg_fds":1,"max_data_xfer_size":1048576,"migration":{"pgsize":4096}}}\0'

/** A region, as the crate keeps it. */
export interface CrateRegion {
  readonly flags: number
  readonly index: number
  readonly size: bigint
  readonly offset: bigint
  readonly fd: number | undefined
  readonly areas: readonly { readonly offset: bigint; readonly size: bigint }[]
}

/** Where the crate would hang for ever, fail an assertion, or be out of step. */
export class Harmed extends Error {}

type Fields = (view: DataView) => void

export class CrateClient {
  readonly connection: Connection
  regions: readonly CrateRegion[] = []
  irqs = 0
  /** As the crate has it: true where the server did not say so. */
  resettable = false
  #id = 0
  // What came and was not read, by the calls that sent it.
  #came: { bytes: Uint8Array; fds: number[] }[] = []
  #ended = false
  #wake: (() => void) | undefined

  constructor(connection: Connection) {
    this.connection = connection
    connection.onMessages(
      () => {
        for (let i = 0; i < connection.count; i++) {
          const at = connection.offset(i)
          const bytes = connection.bytes.slice(at, at + connection.length(i))
          this.#came.push({ bytes, fds: connection.takeFds(i) })
        }
        this.#wake?.()
      },
      () => {
        this.#ended = true
        this.#wake?.()
      },
    )
  }

  /** Connects, agrees on a version, and asks for all regions. */
  static async connect(t: ExecutionContext, path: string): Promise<CrateClient> {
    const client = new CrateClient(Connection.connect(path, { framing: FRAMING }))
    t.teardown(() => {
      client.close()
    })
    await client.#negotiate()
    await client.#askRegions()
    return client
  }

  async dmaMap(offset: bigint, address: bigint, size: bigint, fd: number): Promise<void> {
    const fields: Fields = (view) => {
      view.setUint32(16, 32, true)
      view.setUint32(20, 3, true)
      view.setBigUint64(24, offset, true)
      view.setBigUint64(32, address, true)
      view.setBigUint64(40, size, true)
    }
    this.#send(COMMAND.dmaMap, 48, fields, [fd])
    await this.#exactly(HEADER)
  }

  async dmaUnmap(address: bigint, size: bigint): Promise<void> {
    this.#send(COMMAND.dmaUnmap, 40, (view) => {
      view.setUint32(16, 24, true)
      view.setBigUint64(24, address, true)
      view.setBigUint64(32, size, true)
    })
    await this.#exactly(40)
  }

  async reset(): Promise<void> {
    this.#send(COMMAND.deviceReset, HEADER)
    await this.#exactly(HEADER)
  }

  async read(region: number, offset: bigint, count: number): Promise<Uint8Array> {
    this.#send(COMMAND.regionRead, 32, access(region, offset, count))
    await this.#exactly(32)
    return this.#exactly(count)
  }

  async write(region: number, offset: bigint, bytes: Uint8Array): Promise<void> {
    this.#send(COMMAND.regionWrite, 32 + bytes.length, (view) => {
      access(region, offset, bytes.length)(view)
      new Uint8Array(view.buffer).set(bytes, 32)
    })
    await this.#exactly(32)
  }

  async irqInfo(index: number): Promise<{ index: number; flags: number; count: number }> {
    this.#send(COMMAND.deviceGetIrqInfo, 32, (view) => {
      view.setUint32(16, 16, true)
      view.setUint32(24, index, true)
    })
    const view = viewOf(await this.#exactly(32))
    return {
      index: view.getUint32(24, true),
      flags: view.getUint32(20, true),
      count: view.getUint32(28, true),
    }
  }

  async setIrqs(
    index: number,
    flags: number,
    start: number,
    count: number,
    fds: readonly number[],
  ): Promise<void> {
    const fields: Fields = (view) => {
      view.setUint32(16, 20, true)
      view.setUint32(20, flags, true)
      view.setUint32(24, index, true)
      view.setUint32(28, start, true)
      view.setUint32(32, count, true)
    }
    this.#send(COMMAND.deviceSetIrqs, 36, fields, fds)
    await this.#exactly(HEADER)
  }

  close(): void {
    this.connection.close()
  }

  async #negotiate(): Promise<void> {
    this.#send(COMMAND.version, 20 + PROPOSAL.length, (view) => {
      view.setUint16(16, 0, true)
      view.setUint16(18, 1, true)
      new Uint8Array(view.buffer).set(Buffer.from(PROPOSAL), 20)
    })
    const head = viewOf(await this.#exactly(20))
    const text = Buffer.from(await this.#exactly(head.getUint32(4, true) - 20)).toString()
    const { capabilities } = JSON.parse(text.slice(0, -1)) as {
      capabilities?: { migration?: { pgsize?: number } }
    }
    if (capabilities === undefined) throw new Harmed('a version without capabilities')
    if (capabilities.migration !== undefined && capabilities.migration.pgsize === undefined)
      throw new Harmed('migration without pgsize')
  }

  async #askRegions(): Promise<void> {
    this.#send(COMMAND.deviceGetInfo, 32, (view) => {
      view.setUint32(16, 32, true)
    })
    const info = viewOf(await this.#exactly(32))
    const flags = info.getUint32(20, true)
    if ((flags & 2) === 0) throw new Harmed('no PCI device')
    this.resettable = (flags & 1) === 0
    this.irqs = info.getUint32(28, true)
    const regions: CrateRegion[] = []
    for (let index = 0; index < info.getUint32(24, true); index++) regions.push(await this.#askRegion(index))
    this.regions = regions
  }

  async #askRegion(index: number): Promise<CrateRegion> {
    const ask = (argsz: number): void => {
      this.#send(COMMAND.deviceGetRegionInfo, 48, (view) => {
        view.setUint32(16, argsz, true)
        view.setUint32(24, index, true)
      })
    }
    ask(32)
    const first = await this.#inOnePiece(48)
    const argsz = first.view.getUint32(16, true)
    if (argsz <= 32) return regionOf(first.view, first.fd, [])
    ask(argsz)
    const second = await this.#inOnePiece(48)
    const capabilities = second.view.getUint32(16, true) - 32
    if (capabilities !== second.view.getUint32(4, true) - 48)
      throw new Harmed('argsz is not as long as the message')
    return regionOf(second.view, second.fd, areasIn(second.view, await this.#exactly(capabilities)))
  }

  #send(command: number, size: number, fields: Fields = () => undefined, fds?: readonly number[]): void {
    if (this.#came.length > 0) throw new Harmed('more came than a reply: the stream is out of step')
    const { out, outData } = this.connection
    out.fill(0, 0, size)
    outData.setUint16(0, this.#id++ & 0xffff, true)
    outData.setUint16(2, command, true)
    outData.setUint32(4, size, true)
    fields(outData)
    this.connection.send(size, fds)
  }

  /** So many bytes, wherever they begin and end. Descriptors that come with them are lost, as the kernel has it. */
  async #exactly(count: number): Promise<Uint8Array> {
    const found = new Uint8Array(count)
    for (let at = 0; at < count;) {
      const [first] = this.#came
      if (first === undefined) {
        await this.#more(count - at)
        continue
      }
      if (first.fds.length > 0) throw new Harmed('descriptors that nobody asked for')
      const part = first.bytes.subarray(0, count - at)
      found.set(part, at)
      at += part.length
      this.#consume(part.length)
    }
    return found
  }

  /** What one call of recvmsg must bring, with the first of its descriptors. */
  async #inOnePiece(count: number): Promise<{ view: DataView; fd: number | undefined }> {
    while (this.#came.length === 0) await this.#more(count)
    const [first] = this.#came
    if (first === undefined || first.bytes.length < count) throw new Harmed('a reply in two pieces')
    if (first.fds.length > 1) throw new Harmed('more than one descriptor')
    const [fd] = first.fds.splice(0)
    const view = viewOf(first.bytes.slice(0, count))
    this.#consume(count)
    return { view, fd }
  }

  #consume(count: number): void {
    const [first] = this.#came
    if (first === undefined) return
    first.bytes = first.bytes.subarray(count)
    if (first.bytes.length === 0) this.#came.shift()
  }

  async #more(missing: number): Promise<void> {
    if (this.#ended) throw new Error('the connection is over')
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => {
        reject(new Harmed(`hangs: ${String(missing)} bytes of a reply have not come`))
      }, PATIENCE_MS)
      this.#wake = () => {
        clearTimeout(timer)
        this.#wake = undefined
        resolve()
      }
    })
  }
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

function access(region: number, offset: bigint, count: number): Fields {
  return (view) => {
    view.setBigUint64(16, offset, true)
    view.setUint32(24, region, true)
    view.setUint32(28, count, true)
  }
}

function regionOf(view: DataView, fd: number | undefined, areas: CrateRegion['areas']): CrateRegion {
  return {
    flags: view.getUint32(20, true),
    index: view.getUint32(24, true),
    size: view.getBigUint64(32, true),
    offset: view.getBigUint64(40, true),
    fd,
    areas,
  }
}

/** The sparse areas in a list of capabilities, which are told by their distance from the region info. */
function areasIn(info: DataView, bytes: Uint8Array): { offset: bigint; size: bigint }[] {
  const view = viewOf(bytes)
  const areas = []
  for (let at = info.getUint32(28, true); at !== 0; at = view.getUint32(at - 32 + 4, true)) {
    const start = at - 32
    if (view.getUint16(start, true) !== 1) continue
    for (let i = 0; i < view.getUint32(start + 8, true); i++) {
      const area = start + 16 + 16 * i
      areas.push({ offset: view.getBigUint64(area, true), size: view.getBigUint64(area + 8, true) })
    }
  }
  return areas
}
