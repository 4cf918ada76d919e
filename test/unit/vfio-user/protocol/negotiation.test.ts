// What two sides agree on, with what QEMU and the Rust crate send as they send it.
import test from 'ava'

import {
  type Claims,
  OWN_CLAIMS,
  type VersionMessage,
  agreeTo,
  answerTo,
  decodeVersion,
  encodeVersion,
  encodeVersionReply,
  formatClaims,
  parseClaims,
} from '../../../../ts/vfio-user/protocol/negotiation.js'

const QEMU =
  '{"capabilities": {"pgsizes": 4096, "max_msg_fds": 16, "max_dma_maps": 65535, "max_data_xfer_size": 1048576, ' +
  '"migration": {"max_bitmap_size": 268435456, "pgsize": 4096}, "write_multiple": true}}'
const CRATE = '{"capabilities":{"max_msg_fds":1,"max_data_xfer_size":1048576,"migration":{"pgsize":4096}}}'
const MIGRATES: Claims = { ...OWN_CLAIMS, migration: { pgsize: 4096 } }

function proposal(minor: number, text: string | null, nul = true): { view: DataView; length: number } {
  const bytes = Buffer.from(text === null ? '' : text + (nul ? '\0' : ''))
  const view = new DataView(new ArrayBuffer(20 + bytes.length))
  view.setUint16(18, minor, true)
  new Uint8Array(view.buffer, 20).set(bytes)
  return { view, length: view.byteLength }
}

function answered(
  minor: number,
  text: string | null,
  own: Claims = OWN_CLAIMS,
): { text: string | null; size: number; minor: number } {
  const { view, length } = proposal(minor, text)
  const answer = answerTo(decodeVersion(view, 0, length)!, own)!
  const out = new DataView(new ArrayBuffer(1024))
  const size = encodeVersionReply(out, 0, 1, answer.agreement.minor, answer.claims, length)
  const reply = Buffer.from(out.buffer, 20, Math.max(size - 20, 0))
  return { text: size === 20 ? null : reply.subarray(0, -1).toString(), size, minor: out.getUint16(18, true) }
}

test('QEMU is answered with keys that it named, a minor version of 0, and no more bytes than it sent', (t) => {
  const { text, size, minor } = answered(0, QEMU)
  t.is(
    text,
    '{"capabilities":{"max_msg_fds":16,"max_data_xfer_size":1048576,"max_dma_maps":65535,"write_multiple":true}}',
  )
  t.is(minor, 0)
  t.true(size <= 20 + QEMU.length + 1)
  t.regex(answered(0, QEMU, MIGRATES).text ?? '', /"migration":\{"pgsize":4096\}/)
})

test('the Rust crate is answered with text, with migration only where the device migrates, and its pgsize then', (t) => {
  t.is(answered(1, CRATE).text, '{"capabilities":{"max_msg_fds":1,"max_data_xfer_size":1048576}}')
  t.is(answered(1, CRATE).minor, 1)
  t.is(answered(1, CRATE, MIGRATES).text, CRATE)
  const without = '{"capabilities":{"migration":{}}}'
  t.is(answered(1, without, MIGRATES).text, '{"capabilities":{}}')
})

test('a proposal without text is answered without', (t) => {
  t.deepEqual(answered(0, null), { text: null, size: 20, minor: 0 })
})

test('a reply is shortened until it has no more bytes than the proposal', (t) => {
  const text = '{"capabilities":{"max_msg_fds":1,"max_data_xfer_size":9e15}}'
  const reply = answered(2, text)
  t.true(reply.size <= 20 + text.length + 1)
  t.deepEqual(parseClaims(reply.text!), { maxMsgFds: 1 })
  const tiny = '{}'
  t.is(answered(2, tiny).text, null)
})

test('numbers are never above the proposed ones, nor above our own', (t) => {
  const theirs = { maxMsgFds: 8, maxDataXferSize: 4096, maxDmaMaps: 10, writeMultiple: false }
  t.deepEqual(answerTo({ major: 0, minor: 9, claims: theirs }, OWN_CLAIMS), {
    agreement: {
      minor: 2,
      maxMsgFds: 8,
      maxDataXferSize: 4096,
      maxDmaMaps: 10,
      writeMultiple: false,
      migrationPage: null,
      twinSocket: false,
    },
    claims: theirs,
  })
  const large = { maxMsgFds: 1024, maxDataXferSize: 1 << 30, maxDmaMaps: 1 << 30, writeMultiple: true }
  const { maxMsgFds, maxDataXferSize, maxDmaMaps } = answerTo(
    { major: 0, minor: 0, claims: large },
    OWN_CLAIMS,
  )!.agreement
  t.deepEqual([maxMsgFds, maxDataXferSize, maxDmaMaps], [16, 1 << 20, 65535])
})

test('what is not named is the default', (t) => {
  t.like(answerTo({ major: 0, minor: 0, claims: {} }, OWN_CLAIMS)?.agreement, {
    maxMsgFds: 1,
    maxDataXferSize: 1 << 20,
    maxDmaMaps: 65535,
    writeMultiple: false,
  })
})

test('another major version is not answered', (t) => {
  t.is(answerTo({ major: 1, minor: 0, claims: {} }, OWN_CLAIMS), null)
})

test('a client takes a lower minor version and lower numbers, and no others', (t) => {
  const reply = (change: Partial<VersionMessage>): VersionMessage => ({
    major: 0,
    minor: 2,
    claims: {},
    ...change,
  })
  t.is(agreeTo(reply({ major: 1 }), OWN_CLAIMS), null)
  t.is(agreeTo(reply({ minor: 3 }), OWN_CLAIMS), null)
  t.is(agreeTo(reply({ minor: 0 }), OWN_CLAIMS)?.minor, 0)
  t.is(agreeTo(reply({ claims: { maxMsgFds: 8 } }), OWN_CLAIMS)?.maxMsgFds, 8)
  t.is(agreeTo(reply({ claims: { maxMsgFds: 1024 } }), OWN_CLAIMS)?.maxMsgFds, 16)
  t.is(agreeTo(reply({ claims: undefined }), OWN_CLAIMS)?.writeMultiple, false)
  t.is(agreeTo(reply({ claims: { migration: { pgsize: 65536 } } }), OWN_CLAIMS)?.migrationPage, 65536)
})

test('what one side writes, the other reads', (t) => {
  const view = new DataView(new ArrayBuffer(1024))
  const claims: Claims = {
    ...MIGRATES,
    migration: { pgsize: 4096, maxBitmapSize: 1 << 28 },
    twinSocket: { supported: true, fdIndex: 0 },
  }
  const size = encodeVersion(view, 8, 1, claims)
  t.deepEqual(decodeVersion(view, 8, size), { major: 0, minor: 2, claims })
  t.deepEqual(parseClaims(formatClaims({})), {})
})

test('a text without its NUL is taken to the end, and one is cut at its NUL', (t) => {
  const { view, length } = proposal(0, CRATE, false)
  t.is(decodeVersion(view, 0, length)?.claims?.maxMsgFds, 1)
  const more = proposal(0, `${CRATE}\0{`)
  t.is(decodeVersion(more.view, 0, more.length)?.claims?.maxMsgFds, 1)
  const empty = proposal(0, '')
  t.is(decodeVersion(empty.view, 0, empty.length)?.claims, undefined)
})

test('claims that cannot be are refused', (t) => {
  for (const text of [
    'x',
    '[]',
    'null',
    '7',
    '{"capabilities":[]}',
    '{"capabilities":null}',
    '{"capabilities":{"max_msg_fds":-1}}',
    '{"capabilities":{"max_msg_fds":"1"}}',
    '{"capabilities":{"max_data_xfer_size":0}}',
    '{"capabilities":{"max_data_xfer_size":1.5}}',
    '{"capabilities":{"max_dma_maps":1e300}}',
    '{"capabilities":{"pgsizes":0}}',
    '{"capabilities":{"write_multiple":1}}',
    '{"capabilities":{"migration":true}}',
    '{"capabilities":{"migration":{"pgsize":4095}}}',
    '{"capabilities":{"migration":{"max_bitmap_size":0}}}',
    '{"capabilities":{"twin_socket":{"supported":"yes"}}}',
    '{"capabilities":{"twin_socket":{"supported":true,"fd_index":16}}}',
    '['.repeat(10_000),
  ])
    t.is(parseClaims(text), null, text.slice(0, 80))
})

test('keys that nobody knows, and those of every object, are passed over', (t) => {
  t.deepEqual(
    parseClaims('{"capabilities":{"max_msg_fds":2,"colour":"red","__proto__":{"pgsizes":0}},"x":1}'),
    { maxMsgFds: 2 },
  )
  t.deepEqual(parseClaims('{"__proto__":{"capabilities":7}}'), {})
})

test('a text above 16 KiB is not read', (t) => {
  const long = proposal(0, `{"capabilities":{"x":"${'y'.repeat(16 << 10)}"}}`)
  t.is(decodeVersion(long.view, 0, long.length), null)
  const short = proposal(0, null)
  t.is(decodeVersion(short.view, 0, 19), null)
})
