// Opens the rig's devices, and takes their parts.
import * as vfio from '../../../ts/index.js'
import { ADDRESSES, DEVICES } from '../options.js'
import type { Population } from '../population.js'
import { DeviceBroker } from '../../../ts/vfio-user/index.js'
import { isAllowed } from '../judge.js'

/** What a device has one of, and what goes with it. */
const PARTS = [
  ...['Region', 'InterruptIndex', 'PciConfig', 'PciCommand', 'DeviceFeatures', 'LowPower', 'DmaLogging'],
  ...['HotReset', 'AddressSpace', 'DirtyTracking'],
]
const INDICES = ['intx', 'msi', 'msix', 'err', 'req'] as const

async function admitParts(population: Population, device: vfio.VfioDevice, name: string): Promise<void> {
  const parts = [...device.regions(), device.config, device.config.command, device.features]
  for (const part of parts) await population.admit(part, name)
  for (const index of INDICES) {
    try {
      await population.admit(device.irq(index), name)
    } catch (error) {
      // ERR of a device that is not PCI Express.
      if (!isAllowed(error)) throw error
    }
  }
  await population.admit(device.features.lowPower, name)
  await population.admit(device.features.dmaLogging, name)
  await population.admit(device.hotReset, name)
  if (population.count('DeviceBroker') === 0) await population.admit(new DeviceBroker(device), name)
  if (device.addressSpace.closed) return
  await population.admit(device.addressSpace, name)
  await population.admit(device.addressSpace.dirtyTracking, name)
}

async function open(population: Population, name: string): Promise<void> {
  const address = ADDRESSES[name] ?? ''
  let device: vfio.VfioDevice
  try {
    device = await vfio.VfioDevice.open(address)
  } catch (error) {
    // A machine that was told of its group, or a handler that has it, holds it still.
    if (!(error instanceof vfio.VfioError) || error.code !== 'EBUSY') throw error
    return
  }
  // Its own answer to a request is to close the device, which trigger() on `req` asks for all the time.
  device.onRequest = () => undefined
  device.onError = () => undefined
  await population.admit(device, name)
  await admitParts(population, device, name)
  await population.admit(await device.addressSpace.allocate(8192, { below: 1n << 28n }), name)
}

export async function makeDevices(population: Population): Promise<void> {
  for (const name of DEVICES)
    if (!population.of('VfioDevice').some((each) => each.device === name)) await open(population, name)
  // Those of closed devices went with them.
  if (PARTS.every((kind) => population.count(kind) >= 2)) return
  for (const { value, device } of Array.from(population.of('VfioDevice'))) {
    const held = value as vfio.VfioDevice
    try {
      if (!held.closed) await admitParts(population, held, device ?? '')
    } catch (error) {
      // Asleep, or closed by a handler meanwhile.
      if (!isAllowed(error)) throw error
    }
  }
}

export function deviceOf(population: Population, name: string | undefined): vfio.VfioDevice {
  const found = population.of('VfioDevice').find((each) => each.device === name)
  if (found === undefined) throw new RangeError(`${String(name)} is closed`)
  return found.value as vfio.VfioDevice
}
