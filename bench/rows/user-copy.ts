// user.copyIn.4k: bytes of a client's memory through a window, beside a Node-API function that reads the same arguments, an address
// and a target, and does nothing but memcpy.
import { benchAddon } from '../addon.js'
import { type Row, compare, perTurn } from '../harness.js'
import { GuestMemory } from '../../ts/index.js'
import { Windows } from '../../ts/vfio-user/windows.js'

const BYTES = 4096
const TURNS = 20_000
const RUNS = 51
const IOVA = 0x10_0000n
const WINDOW = 1 << 20

export async function copyIn(): Promise<Row[]> {
  const memory = GuestMemory.create(WINDOW)
  const windows = new Windows()
  windows.add(IOVA, BigInt(WINDOW), memory.fd, 0n, { read: true, write: true })
  const target = new Uint8Array(BYTES)
  const row = await compare({
    name: 'user.copyIn.4k',
    unit: 'ns',
    runs: RUNS,
    ours: perTurn(TURNS, (turns) => {
      for (let i = 0; i < turns; i++) windows.copyIn(IOVA, target)
    }),
    limit: perTurn(TURNS, (turns) => {
      for (let i = 0; i < turns; i++) benchAddon.copy(IOVA, target)
    }),
    peer: { none: 'peer: no npm package does this work' },
  })
  windows.close()
  memory.close()
  return [row]
}
