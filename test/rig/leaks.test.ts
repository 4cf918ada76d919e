// What 1,000 openings leave behind: nothing.
import { setTimeout as sleep } from 'node:timers/promises'
import test from 'ava'

import { VfioDevice } from '../../ts/index.js'
import { devices, EDU_ID, type Holdings, holdings, mappingCount } from './devices.js'

const CYCLES = 1000
const WARM_UP = 50

async function use(device: VfioDevice, round: number): Promise<void> {
  if (device.region('bar0').read32(0) !== EDU_ID) throw new Error(`round ${String(round)}: not edu`)
  // Each cycle leaves something else open for close() to find.
  if (round % 4 === 0) device.irq('msi').enable(1)
  if (round % 4 === 1) new Uint8Array((await device.addressSpace.allocate(8192)).buffer).fill(1)
  if (round % 4 === 2) device.irq('intx').listen(() => undefined)
}

async function cycle(round: number): Promise<void> {
  const device = round % 2 === 0 ? await VfioDevice.open(devices.edu) : VfioDevice.openSync(devices.edu)
  await use(device, round)
  if (round % 3 === 0) device[Symbol.dispose]()
  else await device.close()
}

test.serial('1,000 openings leave no descriptor, no mapping of ours and no thread', async (t) => {
  t.timeout(20 * 60_000)
  for (let round = 0; round < WARM_UP; round++) await cycle(round)
  const before: Holdings = holdings()
  const lines = mappingCount()
  for (let round = 0; round < CYCLES; round++) {
    await cycle(round)
    if (round % 100 === 99) t.log(`${String(round + 1)} cycles`)
  }
  await sleep(100)
  t.deepEqual(holdings(), before)
  // V8's heap comes and goes by mappings, some hundred of them; a leak in one kind of cycle would be one in four cycles.
  const grown = mappingCount() - lines
  t.true(grown < CYCLES / 5, `${String(grown)} mappings more`)
})
