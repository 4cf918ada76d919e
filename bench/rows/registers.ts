// register.read32 and register.write32: one call of the public Region beside a Node-API call that does nothing, and beside
// the way there is without an addon, koffi calling a C function.
import { benchAddon } from '../addon.js'
import { type Beside, type Row, compare, perTurn } from '../harness.js'
import { REGISTERS_LIBRARY } from '../limits.js'
import { peer } from '../peers.js'
import { memfdRegion } from '../../ts/measure/memfd-region.js'
import { emptyLoops, registerLoops } from '../../ts/measure/work.js'

// Short runs and many: a pair then sees the same machine.
const TURNS = 50_000
const RUNS = 101
const OFFSET = 8

interface Calls {
  read32: Beside
  write32: Beside
}

function koffiCalls(fd: number, size: number): Calls {
  const koffi = peer('koffi')
  if ('none' in koffi) return { read32: koffi, write32: koffi }
  const library = koffi.load(REGISTERS_LIBRARY)
  const address = library.func('uintptr_t mapRegisters(int fd, int size)')(fd, size) + OFFSET
  const read32 = library.func('uint32_t read32(uintptr_t address)')
  const write32 = library.func('void write32(uintptr_t address, uint32_t value)')
  return {
    read32: perTurn(TURNS, (turns) => {
      for (let i = 0; i < turns; i++) read32(address)
    }),
    write32: perTurn(TURNS, (turns) => {
      for (let i = 0; i < turns; i++) write32(address, i)
    }),
  }
}

export async function registers(): Promise<Row[]> {
  const { region, memory } = memfdRegion()
  const koffi = koffiCalls(memory.fd, region.size)
  const [ours, empty] = [registerLoops(region), emptyLoops(benchAddon)]
  const rows: Row[] = []
  for (const call of ['read32', 'write32'] as const) {
    rows.push(
      await compare({
        name: `register.${call}`,
        unit: 'ns',
        runs: RUNS,
        ours: perTurn(TURNS, ours[call]),
        limit: perTurn(TURNS, empty[call]),
        peer: koffi[call],
        peerName: 'koffi',
      }),
    )
  }
  region.closeWithDevice()
  memory.close()
  return rows
}
