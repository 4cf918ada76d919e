// device.condition and device.present: the same in a word, without an attempt at anything.
import test from 'ava'

import { open, withDevice } from './devices.js'
import { pullOut, putBack } from './monitor.js'

test.serial('the condition of a device: ready, deaf, asleep, and ready again', async (t) => {
  await withDevice('e1000e', async (device) => {
    t.is(device.condition, 'ready')
    device.config.command.memorySpace = false
    t.is(device.condition, 'memory-decoding-off')
    device.config.command.memorySpace = true
    const at = (device.config.capability('pm')?.offset ?? 0) + 4
    device.config.space.write16(at, device.config.space.read16(at) | 3)
    t.is(device.config.powerState, 'D3hot')
    t.is(device.condition, 'powered-down')
    t.true(device.present)
    await device.reset()
    t.is(device.condition, 'ready')
    device.features.lowPower.enter()
    t.true(device.features.lowPower.allowed)
    t.is(device.condition, 'powered-down')
    device.features.lowPower.exit()
    t.false(device.features.lowPower.allowed)
    t.is(device.condition, 'ready')
  })
})

test.serial('the condition of a device that was pulled out', async (t) => {
  const device = await open('pluggable')
  try {
    t.is(device.condition, 'ready')
    pullOut()
    t.is(device.condition, 'device-lost')
    t.false(device.present)
  } finally {
    await device.close()
    await putBack()
  }
})
