// A client that says anything: messages that are right now and then, and wrong in every way that their form allows.
import { setTimeout as sleep } from 'node:timers/promises'
import fc from 'fast-check'

import type { Peer } from './peer.js'

const MESSAGES = 60

const word = fc.oneof(
  { weight: 4, arbitrary: fc.nat(40) },
  { weight: 2, arbitrary: fc.constantFrom(0x1000, 0x2000, 4096, 65536, 1 << 20, 0x7fff_ffff, 0xffff_ffff) },
  { weight: 1, arbitrary: fc.nat(0xffff_ffff) },
)
// What ends a connection is rare enough for what does not to have its turn.
const flags = fc.oneof(
  { weight: 100, arbitrary: fc.constantFrom(0, 0, 0, 0x10, 0x20) },
  { weight: 1, arbitrary: fc.constantFrom(1, 2) },
)
const message = fc.record({
  command: fc.oneof(
    { weight: 20, arbitrary: fc.integer({ min: 2, max: 18 }) },
    { weight: 1, arbitrary: fc.nat(0xffff) },
  ),
  flags,
  words: fc.array(word, { maxLength: 14 }),
  fds: fc.array(fc.nat(2), { maxLength: 3 }),
  odd: fc.constantFrom(0, 0, 0, 0, 1, 3),
})

/**
 * @param round what is said follows from it
 * @param given three descriptors that messages carry
 * @returns whether it was hung up on
 */
export async function speakAtRandom(peer: Peer, round: number, given: readonly number[]): Promise<boolean> {
  const sent = fc.sample(message, { numRuns: MESSAGES, seed: round })
  const state = { over: false }
  void peer.ended.then(() => (state.over = true))
  for (const [i, { command, flags: type, words, fds, odd }] of sent.entries()) {
    const { outData, out } = peer.connection
    const size = 16 + words.length * 4 + odd
    out.fill(0, 0, size)
    outData.setUint16(0, i, true)
    outData.setUint16(2, command, true)
    outData.setUint32(4, size, true)
    outData.setUint32(8, type, true)
    words.forEach((value, at) => outData.setUint32(16 + 4 * at, value >>> 0, true))
    // argsz and a length that are right more often than chance has it.
    if (words.length > 0 && i % 2 === 0) outData.setUint32(16, size - 16, true)
    peer.connection.send(
      size,
      fds.map((each) => given[each]!),
    )
    if (i % 7 === 0) await sleep(0)
    if (state.over) break
  }
  await sleep(2)
  return state.over
}
