// Whatever bytes a peer sends: every decoder gives a value that is within the message, or says that there is none.
import test from 'ava'
import fc from 'fast-check'

import { MOST_DATA, MOST_VECTORS } from '../../../../ts/vfio-user/protocol/constants.js'
import * as info from '../../../../ts/vfio-user/protocol/device-info.js'
import * as logging from '../../../../ts/vfio-user/protocol/dma-logging.js'
import * as dma from '../../../../ts/vfio-user/protocol/dma.js'
import * as feature from '../../../../ts/vfio-user/protocol/feature.js'
import * as header from '../../../../ts/vfio-user/protocol/header.js'
import * as ioFds from '../../../../ts/vfio-user/protocol/io-fds.js'
import * as irqs from '../../../../ts/vfio-user/protocol/irqs.js'
import {
  answerTo,
  decodeVersion,
  encodeVersionReply,
  agreeTo,
  OWN_CLAIMS,
} from '../../../../ts/vfio-user/protocol/negotiation.js'
import * as io from '../../../../ts/vfio-user/protocol/region-io.js'

/** Before and behind the message lies what is not its: bytes of other messages. */
const BEFORE = 24

// Small numbers and ones near the bounds of 32 and 64 bits, beside random ones: most bytes are refused for the first field.
const word = fc.oneof(
  fc.nat(64),
  fc.constantFrom(
    0,
    1,
    4,
    8,
    16,
    20,
    24,
    32,
    40,
    2047,
    2048,
    4096,
    MOST_DATA,
    MOST_DATA + 1,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
  ),
  fc.nat(0xffff_ffff),
)
const message = fc.tuple(fc.array(word, { maxLength: 40 }), fc.nat(3)).map(([words, odd]) => {
  const bytes = new Uint8Array(BEFORE + words.length * 4 + odd + 64).fill(0xee)
  const view = new DataView(bytes.buffer)
  words.forEach((value, i) => view.setUint32(BEFORE + i * 4, value >>> 0, true))
  return { view, length: words.length * 4 + odd }
})

const RUNS = { numRuns: 3000, seed: 15 }

/** A decoder that leaves the message reads this. */
function untouched(view: DataView): string {
  return Buffer.from(view.buffer).toString('hex')
}

test('a decoder gives what lies within the message or nothing, and changes nothing', (t) => {
  let decoded = 0
  const some = <T>(value: T | null, check: (value: T) => void): void => {
    if (value === null) return
    decoded++
    check(value)
  }
  fc.assert(
    fc.property(message, ({ view, length }) => {
      const before = untouched(view)
      const at = BEFORE
      header.headerProblem(view, at, length)
      if (io.isRegionRead(view, at, length)) t.true(io.accessCount(view, at) <= MOST_DATA)
      if (io.isRegionWrite(view, at, length)) t.true(io.accessCount(view, at) + 32 <= length)
      const writes = io.multiWrites(view, at, length)
      t.true(writes >= -1 && (writes < 1 || io.multiWriteAt(0, writes) <= length))
      some(dma.decodeDmaMap(view, at, length), (map) =>
        t.true(map.iova + map.size <= 1n << 64n && map.size > 0n),
      )
      some(dma.decodeDmaUnmap(view, at, length), (unmap) => {
        t.true(unmap.iova + unmap.size <= 1n << 64n)
        t.true((unmap.bitmap?.bytes ?? 0) <= MOST_DATA)
      })
      some(dma.decodeDmaUnmapReply(view, at, length), (reply) =>
        t.true(reply.bitmapAt + reply.bitmapBytes <= length),
      )
      if (dma.isDmaRead(view, at, length)) t.true(dma.dmaCount(view, at) <= MOST_DATA)
      if (dma.isDmaData(view, at, length)) t.true(dma.dmaCount(view, at) + 32 <= length)
      some(info.decodeGetInfo(view, at, length), (argsz) => t.true(argsz >= 16))
      some(info.decodeGetRegionInfo(view, at, length), ({ argsz }) => t.true(argsz >= 32))
      some(info.decodeGetIrqInfo(view, at, length), ({ argsz }) => t.true(argsz >= 16))
      some(info.decodeGetInfoReply(view, at, length), () => t.true(length >= 32))
      some(info.decodeIrqInfoReply(view, at, length), () => t.true(length >= 32))
      some(info.decodeRegionInfoReply(view, at, length), (reply) => {
        t.true(Number.isSafeInteger(reply.info.size))
        t.true(JSON.stringify(reply.info).length < 10_000)
      })
      some(ioFds.decodeGetIoFds(view, at, length), ({ argsz }) => t.true(argsz >= 16))
      some(ioFds.decodeIoFdsReply(view, at, length), ({ entries }) =>
        t.true(entries.length * 40 + 32 <= length),
      )
      some(irqs.decodeSetIrqs(view, at, length), (set) => {
        t.true(set.start + set.count <= MOST_VECTORS)
        t.true(set.data !== 2 || length >= 36 + set.count)
      })
      some(feature.decodeFeature(view, at, length), ({ bytes }) => t.is(bytes, length - 24))
      t.true(feature.migReadSize(view, at, length) <= MOST_DATA)
      t.true(feature.migDataSize(view, at, length) <= length)
      const data = new Uint8Array(view.buffer, at, length)
      some(logging.decodeLoggingStart(data), ({ ranges }) => t.true(16 + ranges.length * 16 <= length))
      some(logging.decodeLoggingReport(data), (report) => t.true(logging.bitmapBytes(report) >= 8n))
      t.is(untouched(view), before)
    }),
    RUNS,
  )
  t.true(decoded > 1000, `${String(decoded)} were anything at all`)
})

const value = fc.oneof(
  fc.nat(0x7fff_ffff),
  fc.boolean(),
  fc.jsonValue(),
  fc.constantFrom({ pgsize: 4096 }, { supported: true }),
)
const claims = fc.record(
  {
    max_msg_fds: fc.nat(64),
    max_data_xfer_size: fc.integer({ min: 1, max: 0x7fff_ffff }),
    max_dma_maps: value,
    pgsizes: fc.constant(4096),
    write_multiple: fc.boolean(),
    migration: value,
    twin_socket: value,
    x: value,
  },
  { requiredKeys: [] },
)
const json = fc.oneof(
  fc.string(),
  fc.json(),
  claims.map((capabilities) => JSON.stringify({ capabilities })),
)

test('whatever a proposal says, the answer is no longer than it and reads as an answer to it', (t) => {
  let answers = 0
  fc.assert(
    fc.property(json, fc.constantFrom(0, 0, 0, 1), fc.nat(4), (text, major, minor) => {
      const bytes = Buffer.from(`${text}\0`)
      const view = new DataView(new ArrayBuffer(20 + bytes.length))
      new Uint8Array(view.buffer, 20).set(bytes)
      view.setUint16(16, major, true)
      view.setUint16(18, minor, true)
      const proposal = decodeVersion(view, 0, view.byteLength)
      if (proposal === null) return
      const answer = answerTo(proposal, { ...OWN_CLAIMS, migration: { pgsize: 4096 } })
      t.is(answer === null, major !== 0)
      if (answer === null) return
      const out = new DataView(new ArrayBuffer(32 << 10))
      const size = encodeVersionReply(out, 0, 1, answer.agreement.minor, answer.claims, view.byteLength)
      t.true(size <= view.byteLength)
      const reply = decodeVersion(out, 0, size)
      t.not(reply, null)
      t.not(agreeTo(reply!, OWN_CLAIMS), null)
      t.true(reply!.minor <= minor)
      const named = Object.keys(proposal.claims ?? {})
      t.true(Object.keys(reply!.claims ?? {}).every((key) => named.includes(key)))
      answers++
    }),
    { numRuns: 1500, seed: 15 },
  )
  t.true(answers > 200, `${String(answers)} were answered`)
})
