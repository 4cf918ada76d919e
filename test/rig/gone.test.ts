// A device that is gone, asleep or deaf is known to be: pulled out of its slot while it is open, put to sleep, its memory
// decoding turned off. VFIO goes on showing the ids of each.
import test, { type ExecutionContext } from 'ava'

import { type VfioDevice, VfioError } from '../../ts/index.js'
import { open, rig, until, withDevice } from './devices.js'
import { askToUnplug, pullOut, putBack, unplugged } from './monitor.js'

/** e1000e: Receive Address Low 0. */
const RAL0 = 0x5400
const INTEL = 0x8086
/** PCI_PM_CTRL's state. */
const D0 = 0
const D3HOT = 3

function setPowerState({ config }: VfioDevice, state: number): void {
  const at = (config.capability('pm')?.offset ?? 0) + 4
  config.space.write16(at, (config.space.read16(at) & ~3) | state)
}

async function refusedFor(
  t: ExecutionContext,
  reason: string,
  call: () => unknown,
  what: string,
): Promise<void> {
  const error = await t.throwsAsync(async () => call(), { instanceOf: VfioError }, what)
  t.is<string | undefined, string>(error.reason, reason, `${what}: ${error.message}`)
}

test.serial('a device that is pulled out of its slot is gone, whoever asks', async (t) => {
  t.timeout(400_000)
  const device = await open('pluggable')
  try {
    const bar0 = device.region('bar0')
    bar0.read32(RAL0)
    t.true(device.config.present)
    pullOut()
    t.is(device.config.vendorId, INTEL, 'the kernel shows what it found once')
    t.false(device.config.present)
    t.deepEqual(
      device.config.problems().map(({ kind }) => kind),
      ['absent'],
    )
    await refusedFor(
      t,
      'device-lost',
      () => {
        bar0.remap()
      },
      'remap()',
    )
    await refusedFor(t, 'device-lost', () => device.reset(), 'reset()')
    await refusedFor(
      t,
      'device-lost',
      () => {
        device.resetSync()
      },
      'resetSync()',
    )
    await refusedFor(t, 'device-lost', () => device.hotReset.run(), 'hotReset.run()')
    await refusedFor(
      t,
      'device-lost',
      () => {
        device.hotReset.runSync()
      },
      'hotReset.runSync()',
    )
  } finally {
    await device.close()
    await putBack()
  }
  await withDevice('pluggable', (again) => {
    t.true(again.config.present)
    t.not(again.region('bar0').read32(RAL0), 0xffff_ffff)
  })
})

// The kernel waits a minute for the device to come back from its reset: shown on one kernel only.
const waitsLong = rig.built ? test.serial : null

waitsLong?.('a device that is pulled out while it is reset', async (t) => {
  t.timeout(400_000)
  const device = await open('pluggable')
  try {
    const resetting = device.reset()
    pullOut()
    await refusedFor(t, 'device-lost', () => resetting, 'reset()')
  } finally {
    await device.close()
    await putBack()
  }
})

if (!rig.built) {
  // ACPI's hot-plug, which only Debian's kernel has here.
  test.serial('who unplugs a device asks for it, and it goes once it is closed', async (t) => {
    const device = await open('pluggable')
    let asked = 0
    device.onRequest = () => {
      asked++
    }
    askToUnplug()
    await until(() => asked > 0, 'the request')
    t.true(device.config.present, 'it is ours until it is closed')
    t.false(unplugged())
    await device.close()
    await until(unplugged, 'the device to go')
    await putBack(true)
    await withDevice('pluggable', (again) => {
      t.true(again.config.present)
    })
  })
}

test.serial(
  'D3hot: mapped registers are away until the device is awake again, and remap() says why',
  async (t) => {
    await withDevice('e1000e', async (device) => {
      const bar0 = device.region('bar0')
      const address = bar0.read32(RAL0)
      setPowerState(device, D3HOT)
      t.is(device.config.capability('pm')?.state, 'D3hot')
      t.is(bar0.read32(RAL0), 0xffff_ffff)
      t.true(bar0.faulted)
      await refusedFor(
        t,
        'powered-down',
        () => {
          bar0.remap()
        },
        'remap() in D3hot',
      )
      t.true(bar0.faulted)
      t.true(device.config.present, 'it answers to its configuration space')
      setPowerState(device, D0)
      bar0.remap()
      t.is(bar0.read32(RAL0), address)
    })
  },
)

test.serial('D3hot: a reset wakes the device, and then it is there', async (t) => {
  await withDevice('e1000e', async (device) => {
    const bar0 = device.region('bar0')
    bar0.read32(RAL0)
    setPowerState(device, D3HOT)
    await device.reset()
    t.is(device.config.capability('pm')?.state, 'D0')
    if (bar0.faulted) bar0.remap()
    t.not(bar0.read32(RAL0), 0xffff_ffff)
  })
})

test.serial('remap() while low power is allowed says that the device sleeps', async (t) => {
  await withDevice('e1000e', async (device) => {
    const bar0 = device.region('bar0')
    const address = bar0.read32(RAL0)
    device.features.lowPower.enter()
    t.is(bar0.read32(RAL0), 0xffff_ffff)
    await refusedFor(
      t,
      'powered-down',
      () => {
        bar0.remap()
      },
      'remap() in low power',
    )
    device.features.lowPower.exit()
    bar0.remap()
    t.is(bar0.read32(RAL0), address)
  })
})

test.serial('memory decoding that is off is neither sleep nor loss', async (t) => {
  await withDevice('e1000e', async (device) => {
    const bar0 = device.region('bar0')
    const address = bar0.read32(RAL0)
    device.config.command.memorySpace = false
    await refusedFor(
      t,
      'memory-decoding-off',
      () => {
        bar0.remap()
      },
      'remap()',
    )
    t.true(device.config.present)
    // A reset leaves decoding as it was, which is no loss.
    await device.reset()
    device.config.command.memorySpace = true
    if (bar0.faulted) bar0.remap()
    t.is(bar0.read32(RAL0), address)
  })
})
