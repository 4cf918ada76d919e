// Makes what needs no device: eventfds and what waits for them, memory, values of the package.
import * as vfio from '../../../ts/index.js'
import type { Population } from '../population.js'

export async function newEventFd(population: Population): Promise<vfio.EventFd> {
  const eventfd = new vfio.EventFd()
  await population.admit(eventfd, null)
  return eventfd
}

export async function makeSignals(population: Population, missing: (kind: string) => boolean): Promise<void> {
  if (missing('EventFd')) await newEventFd(population)
  if (missing('SignalPoller')) await population.admit(new vfio.SignalPoller().unref(), null)
  if (missing('SignalWaiter')) {
    const eventfd = await newEventFd(population)
    await population.admit(new vfio.SignalWaiter([eventfd]), null)
  }
  if (missing('GuestMemory')) await population.admit(vfio.GuestMemory.create(16_384), null)
  if (missing('VfioError')) await population.admit(new vfio.VfioError(22, 'fuzz'), null)
  if (missing('DirtyBitmap'))
    await population.admit(new vfio.DirtyBitmap(Uint8Array.of(5), 0n, 8, 4096), null)
  if (missing('EventIterator')) {
    const eventfd = await newEventFd(population)
    await population.admit(eventfd[Symbol.asyncIterator](), null)
  }
}
