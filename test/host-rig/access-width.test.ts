// One read32 is one 4-byte access at the device, also when its value is not used, and one write32 is one 4-byte write:
// counted in QEMU's trace of everything that reaches edu's registers. Runs on the host and boots a rig of its own.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import { temporaryFolder } from '../temporary.js'

/** The part of rig/index.mjs that is used here. */
interface Rig {
  readonly DEVICES: { readonly edu: { readonly address: string } }
  runInRig(options: {
    command: readonly string[]
    timeout: number
    trace: { region: string; file: string }
    stdout: Writable
  }): Promise<{ status: number }>
}

const CALLS = 100_000
const LIVENESS = 0x04n
const LINE = /^memory_region_ops_(read|write) .* addr (0x[0-9a-f]+) value (0x[0-9a-f]+) size (\d+) /

interface Access {
  kind: string
  address: bigint
  value: bigint
  size: number
}

test('one call is one access of 4 bytes, 100,000 times', async (t) => {
  t.timeout(15 * 60_000)
  const folder = temporaryFolder(t, 'trace')
  // The rig's files are not compiled: they lie beside the sources, two folders above the compiled tests.
  const { runInRig, DEVICES } = (await import(new URL('../../../rig/index.mjs', import.meta.url).href)) as Rig
  const file = join(folder, 'accesses')
  const guest = fileURLToPath(new URL('./access-width-guest.js', import.meta.url))
  let output = ''
  const { status } = await runInRig({
    command: [process.execPath, guest, DEVICES.edu.address, String(CALLS)],
    timeout: 800,
    trace: { region: 'edu-mmio', file },
    stdout: new Writable({
      write(chunk: Buffer, _encoding, done) {
        output += chunk.toString()
        done()
      },
    }),
  })
  t.is(status, 0)
  const base = BigInt((JSON.parse(output) as { address: string }).address)

  const accesses = readFileSync(file, 'utf8')
    .trimEnd()
    .split('\n')
    .map((line): Access => {
      // A line of another form becomes an access of 0 bytes, which is wrong below.
      const [, kind = '', address = '0', value = '0', size = '0'] = LINE.exec(line) ?? []
      return { kind, address: BigInt(address), value: BigInt(value), size: Number(size) }
    })
  t.is(accesses.length, 2 * CALLS)
  const wrong = accesses.filter(({ kind, address, value, size }, i) =>
    i < CALLS
      ? kind !== 'read' || address !== base || value !== 0x0100_00edn || size !== 4
      : kind !== 'write' || address !== base + LIVENESS || value !== BigInt(i - CALLS) || size !== 4,
  )
  t.deepEqual(wrong.slice(0, 5), [])
})
