// What access-width.test.ts runs inside the rig: a known sequence of accesses, far beyond the JIT's warm-up, and nothing
// else that reaches the device's registers.
import { readFileSync } from 'node:fs'

import { type Region, VfioDevice } from '../../ts/index.js'

const LIVENESS = 0x04

function discardedReads(bar0: Region, count: number): void {
  for (let i = 0; i < count; i++) bar0.read32(0)
}

function writes(bar0: Region, count: number): void {
  for (let i = 0; i < count; i++) bar0.write32(LIVENESS, i)
}

const [bdf = '', count = ''] = process.argv.slice(2)
const device = await VfioDevice.open(bdf)
const bar0 = device.region('bar0')
if (!bar0.isMapped(0, 8)) throw new Error('bar0 is not mapped')
discardedReads(bar0, Number(count))
writes(bar0, Number(count))
await device.close()
const address = readFileSync(`/sys/bus/pci/devices/${bdf}/resource`, 'utf8').split(' ')[0] ?? ''
console.log(JSON.stringify({ address }))
