// The rows that need a device: a program, to be run where VFIO is real and NODE_VFIO_RIG says which devices there are.
// Prints the rows as JSON.
import type { Row } from './harness.js'
import { describeMachine } from './machine.js'
import { bar } from './rows/bar.js'
import { dmaMap } from './rows/dma.js'
import { irqLatency } from './rows/irq.js'
import { deviceOpen } from './rows/open.js'
import { VfioDevice } from '../ts/index.js'

const { devices, built } = JSON.parse(process.env.NODE_VFIO_RIG ?? '{}') as {
  devices?: { edu: string }
  built?: boolean
}
if (devices === undefined) throw new Error('NODE_VFIO_RIG is not set: run this in the rig')

console.error(`bench: in the rig: ${describeMachine()}`)
// What only iommufd has another way for is measured on the kernel that has it, the rest where users are.
const rows: Row[] = built === true ? [] : await deviceOpen(devices.edu)
const device = await VfioDevice.open(devices.edu)
for (const measure of built === true ? [dmaMap] : [bar, dmaMap, irqLatency]) {
  console.error(`bench: measuring ${measure.name}`)
  rows.push(...(await measure(device)))
}
await device.close()
console.log(JSON.stringify(rows))
