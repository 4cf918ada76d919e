// A broker of a real device, in a Worker: its client blocks the thread that it is on.
import { type MessagePort, parentPort, workerData } from 'node:worker_threads'

import { VfioDevice } from '../../ts/index.js'
import {
  type AccessEvent,
  type BrokerEvent,
  DeviceBroker,
  UserDeviceServer,
} from '../../ts/vfio-user/index.js'
import type { BrokerOrder, BrokerReport } from './brokers.js'

const port = parentPort as MessagePort
const { id, path, map, iommu } = workerData as BrokerOrder

const device = await VfioDevice.open(id, { guard: false, ...(iommu !== undefined && { iommu }) })
const errors: string[] = []
const events: (BrokerEvent | AccessEvent)['what'][] = []
const broker = new DeviceBroker(device, {
  onEvent: ({ what }) => events.push(what),
  ...(map !== undefined && { map }),
})
const server = UserDeviceServer.listen(path, broker, {
  onError: ({ message }) => errors.push(message),
  deadlineMillis: 4000,
})

port.on('message', (order: 'report' | 'close') => {
  if (order === 'report') {
    const report: BrokerReport = {
      messages: server.statistics.messages,
      mappedBytes: broker.mappedBytes,
      connected: broker.connected,
      refusal: broker.refusal?.message ?? null,
      busMaster: device.config.command.busMaster,
      errors,
      events,
    }
    port.postMessage(report)
    return
  }
  server.close()
  void broker
    .close()
    .then(() => device.close())
    .then(() => {
      port.postMessage('closed')
      port.close()
    })
})
port.postMessage('ready')
