// No interrupt and no transfer is lost by the package: what one object of a space does leaves the devices, and the other
// memory, of that space alone. By count, in every IOMMU mode of the machine.
import { subscribe, unsubscribe } from 'node:diagnostics_channel'

import test, { type ExecutionContext } from 'ava'

import {
  AddressSpace,
  type AddressSpaceOptions,
  type DmaBuffer,
  type EventFd,
  VfioDevice,
} from '../../../ts/index.js'
import { EDU_MASK, Edu, devices, eduDma, nextCount, pattern, rig, settledCount } from '../devices.js'
import { identifyController } from '../nvme.js'
import { MODES, allowUnsafeInterrupts, inMode } from './modes.js'

const ROUNDS = 20
const CONFINED = rig.iommu !== 'none'
const ALL: Record<string, AddressSpaceOptions> = CONFINED ? MODES : { noiommu: { iommu: 'noiommu' } }

interface Interrupting {
  readonly edu: Edu
  readonly signal: EventFd
}

/** Turns a device's one message on. */
function interrupting(device: VfioDevice): Interrupting {
  device.config.command.busMaster = true
  const [signal] = device.irq('msi').enable(1) as [EventFd]
  return { edu: new Edu(device), signal }
}

/** One message, taken back once it has arrived: then the next is another. */
async function arrives(t: ExecutionContext, { edu, signal }: Interrupting, when: string): Promise<void> {
  t.is(await nextCount(signal, 2000), 1, when)
  edu.acknowledge()
}

/** Messages while `step` is under way each time, and none besides. */
async function arriveWhile(
  t: ExecutionContext,
  source: Interrupting,
  step: (round: number) => Promise<unknown>,
): Promise<void> {
  for (let round = 0; round < ROUNDS; round++) {
    const under = step(round)
    source.edu.raise()
    await arrives(t, source, `message ${String(round)}`)
    await under
  }
  t.is(await settledCount(source.signal), 0)
}

async function allocateSome(space: AddressSpace, count: number): Promise<DmaBuffer[]> {
  const made: DmaBuffer[] = []
  for (let i = 0; i < count; i++) made.push(await space.allocate(4096))
  return made
}

/** A second device in a space. */
async function withSecond(
  name: 'edu2' | 'e1000e' | 'nvme',
  space: AddressSpace,
  use: (device: VfioDevice) => Promise<void>,
): Promise<void> {
  const device = await VfioDevice.open(devices[name], { iommu: space })
  try {
    await use(device)
  } finally {
    await device.close()
  }
}

for (const [mode, options] of Object.entries(ALL)) {
  test.serial(`${mode}: no message is lost while buffers close, of either device of the space`, async (t) => {
    await inMode(options, async (device, space) => {
      const first = interrupting(device)
      await withSecond('edu2', space, async (other) => {
        const second = interrupting(other)
        const closing = await allocateSome(space, 2 * ROUNDS)
        await arriveWhile(t, first, (round) => closing[round]!.close())
        await arriveWhile(t, second, (round) => closing[ROUNDS + round]!.close())
        t.is(space.mappingCount, 0)
        t.true(device.config.command.busMaster)
        t.true(other.config.command.busMaster)
      })
    })
  })

  test.serial(`${mode}: bus mastering is the program's own while buffers close`, async (t) => {
    await inMode(options, async (device, space) => {
      const { command } = device.config
      const [first, second, third] = (await allocateSome(space, 3)) as [DmaBuffer, DmaBuffer, DmaBuffer]
      command.busMaster = true
      const closing = first.close()
      command.busMaster = false
      await closing
      t.false(command.busMaster, 'turned off meanwhile')

      const off = second.close()
      command.busMaster = true
      await off
      t.true(command.busMaster, 'turned on meanwhile')

      // Another bit, which is read and written back together with it.
      const last = third.close()
      command.memorySpace = false
      command.memorySpace = true
      await last
      t.true(command.busMaster)
    })
  })

  test.serial(`${mode}: several buffers that close at once, also on the spot`, async (t) => {
    await inMode(options, async (device, space) => {
      const source = interrupting(device)
      const buffers = await allocateSome(space, 8)
      const closing = buffers.slice(0, 4).map((each) => each.close())
      for (const each of buffers.slice(4)) each[Symbol.dispose]()
      t.true(device.config.command.busMaster)
      source.edu.raise()
      await arrives(t, source, 'meanwhile')
      await Promise.all(closing)
      t.true(device.config.command.busMaster)
    })
  })

  test.serial(`${mode}: a claim's space that closes leaves the device to its other holder`, async (t) => {
    await inMode(options, async (device) => {
      const source = interrupting(device)
      const claimed = VfioDevice.claim(device.share())
      await arriveWhile(t, source, (round) =>
        round === 0 ? claimed.addressSpace.close() : Promise.resolve(),
      )
      t.true(device.config.command.busMaster)
      await claimed.close()
      source.edu.raise()
      await arrives(t, source, 'after the claim')
    })
  })

  test.serial(`${mode}: another function of the space that is reset, opened and closed`, async (t) => {
    await inMode(options, async (device, space) => {
      const source = interrupting(device)
      await withSecond('e1000e', space, async (other) => {
        await arriveWhile(t, source, (round) => (round < 5 ? other.reset() : Promise.resolve()))
      })
      await arriveWhile(t, source, async (round) => {
        if (round < 3) await withSecond('edu2', space, () => Promise.resolve())
      })
    })
  })

  test.serial(`${mode}: what a controller writes while buffers beside it close`, async (t) => {
    await inMode(
      options,
      async (device, space) => {
        const others = await allocateSome(space, 5)
        const [expected] = [await identifyController(device)]
        for (const other of others) {
          const closing = other.close()
          t.deepEqual(await identifyController(device), expected)
          await closing
        }
      },
      devices.nvme,
    )
  })

  if (!CONFINED) continue

  test.serial(`${mode}: no byte of another buffer is lost while buffers close`, async (t) => {
    await inMode(options, async (device, space) => {
      const edu = new Edu(device)
      device.config.command.busMaster = true
      await using kept = await space.allocate(4096, { below: EDU_MASK })
      const bytes = new Uint8Array(kept.buffer)
      const closing = await allocateSome(space, ROUNDS)
      for (const [round, buffer] of closing.entries()) {
        const sent = pattern(1024, round)
        bytes.set(sent)
        const under = buffer.close()
        eduDma(edu.bar0, kept.iova, 1024, 'toDevice')
        bytes.fill(0)
        eduDma(edu.bar0, kept.iova, 1024, 'fromDevice')
        t.deepEqual(bytes.slice(0, 1024), sent)
        await under
      }
    })
  })

  test.serial(
    `${mode}: a space that closes under its device takes its memory, not its messages`,
    async (t) => {
      if (rig.iommu === 'virtio') allowUnsafeInterrupts(true)
      const space = AddressSpace.open(options)
      const device = await VfioDevice.open(devices.edu, { iommu: space })
      try {
        const source = interrupting(device)
        const buffer = await space.allocate(4096)
        await space.close()
        t.true(buffer.closed)
        source.edu.raise()
        await arrives(t, source, 'after the space')
      } finally {
        await device.close()
        if (rig.iommu === 'virtio') allowUnsafeInterrupts(false)
      }
    },
  )

  if (mode !== 'iommufd') continue

  test.serial(`${mode}: another device that is moved to another table and taken off it`, async (t) => {
    await inMode(options, async (device, space) => {
      const source = interrupting(device)
      await withSecond('edu2', space, async (other) => {
        await using elsewhere = AddressSpace.open({ iommu: 'iommufd' })
        await arriveWhile(t, source, async (round) => {
          if (round % 2 === 0) await other.attach(elsewhere)
          else await other.detach()
        })
      })
    })
  })

  test.serial(`${mode}: a device that is moved to another table keeps its messages`, async (t) => {
    await inMode(options, async (device, space) => {
      const source = interrupting(device)
      await using elsewhere = AddressSpace.open({ iommu: 'iommufd' })
      await arriveWhile(t, source, (round) => device.attach(round % 2 === 0 ? elsewhere : space))
    })
  })
}

if (!CONFINED) {
  test.serial(
    'noiommu: no device masters the bus while memory is given back, and then as before',
    async (t) => {
      await inMode({ iommu: 'noiommu' }, async (device, space) => {
        const { command } = device.config
        const buffer = await space.allocate(4096)
        const seen: boolean[] = []
        const look = (message: unknown): void => {
          if ((message as { name?: string }).name === 'handlePark') seen.push(command.busMaster)
        }
        for (const on of [true, false]) {
          command.busMaster = on
          const each = on ? buffer : await space.allocate(4096)
          seen.length = 0
          subscribe('node-vfio:call', look)
          const closing = each.close()
          unsubscribe('node-vfio:call', look)
          // The memory's, and then the mapping's.
          t.deepEqual(seen, [false, on])
          await closing
          t.is(command.busMaster, on)
        }
      })
    },
  )
}
