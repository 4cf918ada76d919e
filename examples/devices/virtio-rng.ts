// virtio-rng: random numbers of this process for a guest. The whole device, as a first one to read.
import { randomBytes } from 'node:crypto'

import { VirtioDevice } from './virtio/device.js'

const TYPE = 4
const CLASS = 0x00ff00
/** The most bytes per request: what a driver asks for is its own claim. */
const MOST = 65_536

export class VirtioRng extends VirtioDevice {
  constructor(onError?: (error: Error) => void) {
    super({
      name: 'virtio-rng',
      type: TYPE,
      classCode: CLASS,
      queues: [64],
      ...(onError && { onError }),
    })
  }

  protected override notified(queue: number): void {
    for (let chain = this.take(queue); chain !== undefined; chain = this.take(queue))
      this.give(queue, chain, chain.write(randomBytes(Math.min(chain.writableBytes, MOST))))
  }

  protected override onReset(): void {
    // It keeps nothing.
  }
}
