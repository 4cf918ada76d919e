// What a device's registers say of its condition, and what a reset makes of that. The devices are made of bytes.
import test from 'ava'

import { conditionOf } from '../../../ts/device/condition.js'
import type { DeviceCore } from '../../../ts/device/core.js'
import { finishReset, refused } from '../../../ts/device/reset.js'
import { PciConfig, VfioError } from '../../../ts/index.js'
import { coreOf } from '../../fakes/device-core.js'
import { BufferConfig } from '../pci/dump.js'

const ENODEV = 19
const EBADF = 9

/** A device with power management, in D0, with memory decoding on. */
function asleep(state: number, command = 2): PciConfig {
  const space = new BufferConfig(new Uint8Array(256))
  space.write32(0, 0x1234_8086)
  space.write16(4, command)
  space.write16(6, 0x10)
  space.write32(8, 0x0200_0000)
  space.write8(0x34, 0x40)
  space.write16(0x40, 0x0001)
  space.write16(0x44, state)
  return new PciConfig(space)
}

test('conditions, from the registers that are the device', (t) => {
  t.is(
    conditionOf(() => asleep(0)),
    'ready',
  )
  t.is(
    conditionOf(() => asleep(0, 0)),
    'memory-decoding-off',
  )
  for (const state of [1, 2, 3])
    t.is(
      conditionOf(() => asleep(state)),
      'powered-down',
    )
  t.is(
    conditionOf(() => asleep(3, 0)),
    'powered-down',
  )
  t.is(
    conditionOf(() => new PciConfig(new BufferConfig(new Uint8Array(256).fill(0xff)))),
    'device-lost',
  )
})

test('a host bridge that refuses to read what is not there says that it is gone', (t) => {
  const config = asleep(0)
  let errno = ENODEV
  config.space.read32 = () => {
    throw new VfioError(errno, 'pread')
  }
  t.is(
    conditionOf(() => config),
    'device-lost',
  )
  errno = EBADF
  t.throws(() => conditionOf(() => config), { instanceOf: VfioError, code: 'EBADF' })
})

function resettable(shown: DeviceCore['shown']): { core: DeviceCore; resets: () => number } {
  let resets = 0
  const core = coreOf({}, { label: '0000:01:00.0', shown, afterReset: () => (resets += 1) })
  return { core, resets: () => resets }
}

test('a reset that the kernel takes for done, of a device that did not come back', (t) => {
  for (const condition of ['device-lost', 'powered-down'] as const) {
    const [first, second] = [resettable('ready'), resettable(condition)]
    const error = t.throws(
      () => {
        finishReset('VFIO_DEVICE_PCI_HOT_RESET', first.core, second.core)
      },
      { instanceOf: VfioError },
    )
    t.like(error, {
      code: 'EIO',
      syscall: 'VFIO_DEVICE_PCI_HOT_RESET',
      reason: condition,
      subject: second.core.label,
    })
    t.truthy(error.remedy)
    t.deepEqual([first.resets(), second.resets()], [1, 1])
  }
  t.notThrows(() => {
    finishReset('VFIO_DEVICE_RESET', resettable('ready').core, resettable('memory-decoding-off').core)
  })
})

test('a refusal to reset names the loss, and nothing where there is none', (t) => {
  t.is(refused(resettable('device-lost').core).reason, 'device-lost')
  t.deepEqual(refused(resettable('ready').core), { subject: '0000:01:00.0' })
})
