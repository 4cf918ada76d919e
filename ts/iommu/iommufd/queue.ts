// What fault queues and event queues have in common: records that are read from a descriptor, when there are some.
import { SignalPoller } from '../../event/poller.js'
import { Handle } from '../../handle.js'
import { addon, type NativeHandle } from '../../native/index.js'
import { callable, instance } from '../../validate.js'

export abstract class RecordQueue<Item> extends Handle {
  /** Its number in the iommufd. */
  readonly id: number

  /** @internal */
  protected constructor(native: NativeHandle, label: string) {
    super(native, label)
    this.id = addon().iommufdObjectId(native)
  }

  /** @internal */
  protected abstract decode(bytes: Uint8Array): Item[]

  /** What is in the queue, taken out of it; empty when nothing is. */
  read(): Item[] {
    const items: Item[] = []
    for (;;) {
      const bytes = addon().queueRead(this.native)
      if (bytes.length === 0) return items
      items.push(...this.decode(bytes))
    }
  }

  /**
   * Calls the handler for each record that comes, from the poller's event loop. Returns how to stop.
   */
  listen(poller: SignalPoller, handler: (item: Item) => unknown): () => void {
    instance(poller, SignalPoller, 'poller')
    callable(handler, 'handler')
    poller.add(this, () => {
      for (const item of this.read()) handler(item)
    })
    return () => {
      poller.remove(this)
    }
  }

  /** Nothing is taken before a handler runs, so nothing is given back. @internal */
  giveBack(): void {
    // The records are still in the queue.
  }

  /** The descriptor's number. The object keeps ownership. */
  get fd(): number {
    return addon().handleFd(this.native)
  }

  /** Destroys the queue. Idempotent. */
  close(): void {
    this.closeNow()
  }

  [Symbol.dispose](): void {
    this.close()
  }
}
