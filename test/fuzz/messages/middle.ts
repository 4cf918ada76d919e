// The man in the middle of the message fuzzer, in a Worker: takes a client, connects to the server for it, and passes messages on, of
// which he makes others. Descriptors are attached at random, messages cut at random, files behind descriptors made shorter.
import { closeSync, ftruncateSync, openSync, unlinkSync } from 'node:fs'
import { type MessagePort, parentPort, workerData } from 'node:worker_threads'

import { EventFd, GuestMemory, VfioError } from '../../../ts/index.js'
import { FRAMING } from '../../../ts/vfio-user/protocol/constants.js'
import { Connection } from '../../../ts/vfio-user/transport/connection.js'
import { Listener } from '../../../ts/vfio-user/transport/listener.js'
import { Random } from '../random.js'
import { FLAGS, mutate, pieces } from './mutate.js'
import { AIMS, type Aim, type MiddleData, type MiddleFigures, type MiddleMessage } from './shared.js'

const OPTIONS = { framing: FRAMING, queueBytes: 16 << 20 }
/** Ids of messages that are made up: the client counts its own from 0, and no round has so many. */
const OWN_IDS = 0xc000
const MOST_KEPT = 200
const MOST_DESCRIPTORS = 20
const SHRINKING = 0x8000
const VERSION = 1

const port = parentPort as MessagePort
const { seed, listen, server } = workerData as MiddleData
const random = new Random(seed)
const figures: MiddleFigures = {
  ...{ rounds: 0, toServer: 0, toClient: 0, answered: 0, refused: 0, descriptors: 0 },
  ...{ serverHungUp: 0, clientHungUp: 0 },
}
/** Messages to the server that were seen: what others are made of. */
const seen: Uint8Array[] = []

// Memory that can be made shorter by whoever has it, as that of a VMM can.
const shrinkingPath = `/dev/shm/node-vfio-fuzz-${process.pid}`
const shrinking = openSync(shrinkingPath, 'w+')
unlinkSync(shrinkingPath)
ftruncateSync(shrinking, SHRINKING)
const memory = GuestMemory.create(0x10000)
const eventfd = new EventFd()
const zero = openSync('/dev/zero', 'r+')

function say(message: MiddleMessage): void {
  port.postMessage(message)
}

function randomDescriptors(listener: Listener): number[] {
  const choices = [shrinking, shrinking, memory.fd, memory.fd, eventfd.fd, eventfd.fd, zero, listener.fd]
  const many = random.chance(0.05) ? random.below(MOST_DESCRIPTORS) : random.below(3)
  return Array.from({ length: many }, () => random.of(choices))
}

class Round {
  readonly #listener: Listener
  readonly #aim: Aim
  readonly #client: Connection
  readonly #server: Connection
  #made = 0
  #over = false

  constructor(listener: Listener, client: Connection) {
    this.#listener = listener
    this.#client = client
    this.#aim = random.of(AIMS)
    figures.rounds++
    this.#server = Connection.connect(server, OPTIONS)
    this.#client.onMessages(
      () => {
        this.#each(this.#client, (message, fds) => {
          this.#fromClient(message, fds)
        })
      },
      () => {
        figures.clientHungUp += this.#over ? 0 : 1
        this.#end()
      },
    )
    this.#server.onMessages(
      () => {
        this.#each(this.#server, (message, fds) => {
          this.#fromServer(message, fds)
        })
      },
      () => {
        figures.serverHungUp += this.#over ? 0 : 1
        this.#end()
      },
    )
  }

  #each(connection: Connection, pass: (message: Uint8Array, fds: number[]) => void): void {
    for (let i = 0; i < connection.count; i++) {
      const at = connection.offset(i)
      const fds = connection.takeFds(i)
      pass(connection.bytes.slice(at, at + connection.length(i)), fds)
      fds.forEach((fd) => {
        closeSync(fd)
      })
    }
  }

  #fromClient(message: Uint8Array, fds: number[]): void {
    const isVersion = new DataView(message.buffer).getUint16(2, true) === VERSION
    if (this.#aim !== 'client') {
      if (!isVersion && seen.length < MOST_KEPT) seen.push(message)
      else if (!isVersion) seen[random.below(MOST_KEPT)] = message
      // Before a version, everything ends the connection.
      if (isVersion && random.chance(0.1)) this.#makeUp()
    }
    this.#send(this.#server, message, fds)
    if (this.#aim === 'client' || isVersion) return
    for (let more = random.below(5); more > 0; more--) this.#makeUp()
    if (random.chance(0.05)) ftruncateSync(shrinking, random.of([0, 0x1000, SHRINKING, SHRINKING]))
  }

  /** A message to the server that the client knows nothing of. */
  #makeUp(): void {
    const [template] = seen.length === 0 ? [] : [random.of(seen)]
    if (template === undefined) return
    const message = mutate(template, random)
    const id = OWN_IDS + (this.#made++ % 0x4000)
    new DataView(message.buffer).setUint16(0, id, true)
    figures.toServer++
    this.#send(this.#server, message, this.#some())
  }

  #fromServer(message: Uint8Array, fds: number[]): void {
    const view = new DataView(message.buffer)
    const isReply = (view.getUint32(FLAGS, true) & 0xf) === 1
    if (isReply && view.getUint16(0, true) >= OWN_IDS) {
      figures.answered++
      if ((view.getUint32(FLAGS, true) & 0x20) !== 0) figures.refused++
      return
    }
    if (this.#aim === 'server' || !random.chance(0.15)) {
      this.#send(this.#client, message, fds)
      return
    }
    figures.toClient++
    switch (random.below(8)) {
      case 0:
        // Nothing: it waits in vain.
        return
      case 1:
        this.#send(this.#client, message, fds)
        this.#send(this.#client, message, fds)
        return
      case 2: {
        // Another request of the server's own comes first: a DMA_READ or DMA_WRITE out of a reply.
        const request = mutate(message, random)
        new DataView(request.buffer).setUint16(2, 11 + random.below(2), true)
        new DataView(request.buffer).setUint32(FLAGS, 0, true)
        this.#send(this.#client, request, this.#some())
        this.#send(this.#client, message, fds)
        return
      }
      case 3:
        this.#send(this.#client, message, [...fds, ...this.#some()])
        return
      case 4:
        this.#send(this.#client, message, this.#some())
        return
      default:
        this.#send(this.#client, mutate(message, random), fds)
    }
  }

  #some(): number[] {
    if (!random.chance(0.3)) return []
    const fds = randomDescriptors(this.#listener)
    figures.descriptors += fds.length
    return fds
  }

  #send(connection: Connection, message: Uint8Array, fds: readonly number[]): void {
    let first = true
    for (const piece of pieces(message, random)) {
      if (this.#over) return
      connection.out.set(piece)
      try {
        connection.send(piece.length, first ? fds : [])
      } catch (error) {
        if (!(error instanceof VfioError)) throw error
      }
      first = false
    }
  }

  #end(): void {
    if (this.#over) return
    this.#over = true
    // The buffers are in use, where one of their handlers is what is running.
    setImmediate(() => {
      this.#client.close()
      this.#server.close()
    })
  }
}

const listener = Listener.listen(listen, OPTIONS)
const stop = listener.accept((client) => {
  try {
    new Round(listener, client)
  } catch (error) {
    // The server's queue is full.
    if (!(error instanceof VfioError)) throw error
    client.close()
  }
})

port.on('message', () => {
  stop()
  listener.close()
  eventfd.close()
  memory.close()
  closeSync(shrinking)
  closeSync(zero)
  say({ kind: 'figures', figures })
  port.close()
})
say({ kind: 'ready' })
