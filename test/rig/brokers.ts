// How a test gets a real device from a broker: one in a Worker, whose figures it can ask for.
import { once } from 'node:events'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import type { ExecutionContext } from 'ava'

import { type ConnectOptions, type OpenOptions, VfioDevice } from '../../ts/index.js'
import type { AccessEvent, BrokerBar, BrokerEvent } from '../../ts/vfio-user/index.js'
import { temporaryFolder } from '../temporary.js'
import { type DeviceName, devices } from './devices.js'

/** What the Worker is to serve. */
export interface BrokerOrder {
  readonly id: string
  readonly path: string
  readonly map?: readonly BrokerBar[]
  readonly iommu?: Exclude<OpenOptions['iommu'], object>
}

/** How the broker stands. */
export interface BrokerReport {
  readonly messages: number
  readonly mappedBytes: bigint
  readonly connected: boolean
  readonly refusal: string | null
  readonly busMaster: boolean
  readonly errors: readonly string[]
  readonly events: readonly (BrokerEvent | AccessEvent)['what'][]
}

export class Broker {
  readonly path: string
  readonly #worker: Worker
  #closed = false

  private constructor(path: string, worker: Worker) {
    this.path = path
    this.#worker = worker
  }

  static async of(
    t: ExecutionContext,
    name: DeviceName,
    options: Omit<BrokerOrder, 'id' | 'path'> = {},
  ): Promise<Broker> {
    const path = join(temporaryFolder(t, 'broker'), 's')
    const workerData: BrokerOrder = { id: devices[name], path, ...options }
    const worker = new Worker(new URL('./broker-worker.js', import.meta.url), { workerData, execArgv: [] })
    const broker = new Broker(path, worker)
    await once(worker, 'message')
    t.teardown(() => broker.close())
    return broker
  }

  connect(options: ConnectOptions = {}): Promise<VfioDevice> {
    return VfioDevice.connect(this.path, { timeoutMs: 10_000, watch: false, ...options })
  }

  /** Opens a client for the time of a function. */
  async withClient<T>(use: (device: VfioDevice) => T | Promise<T>): Promise<T> {
    const device = await this.connect()
    try {
      return await use(device)
    } finally {
      await device.close()
    }
  }

  async report(): Promise<BrokerReport> {
    this.#worker.postMessage('report')
    const [report] = (await once(this.#worker, 'message')) as [BrokerReport]
    return report
  }

  /** Until the last client's traces are gone. */
  async settled(): Promise<BrokerReport> {
    for (;;) {
      const report = await this.report()
      const { events } = report
      const gone = events.lastIndexOf('gone')
      if (gone >= 0 && gone < Math.max(events.lastIndexOf('reset'), events.lastIndexOf('refusing')))
        return report
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    this.#worker.postMessage('close')
    await once(this.#worker, 'exit')
  }
}
