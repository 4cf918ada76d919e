// DeviceMigration over a driver that fails as real ones do not on demand: what is refused before it is asked, what its
// failures say, and when a device is reset as it closes.
import test from 'ava'

import type { DeviceBackend } from '../../../../ts/device/backend.js'
import type { DeviceCore } from '../../../../ts/device/core.js'
import { DeviceMigration, readCapabilities } from '../../../../ts/device/migration/migration.js'
import { MIGRATION_STATES, type MigrationState } from '../../../../ts/device/migration/states.js'
import { VfioError } from '../../../../ts/errors.js'
import { coreOf } from '../../../fakes/device-core.js'

const GET = 1 << 16
const PROBE = 1 << 18
const EIO = 5
const EINVAL = 22
const ENOTTY = 25
const EOPNOTSUPP = 95
const ALL = { stopCopy: true, p2p: true, preCopy: true }

/** A driver: its state, and how a change ends. */
class Driver {
  state: MigrationState | number = 'running'
  changes = 0
  resets = 0
  closed = false
  /** What the next change does. */
  next: () => void = () => undefined

  readonly backend: Partial<DeviceBackend> = {
    feature: (flags, data) => {
      if (flags !== (GET | 2)) throw new VfioError(ENOTTY, 'VFIO_DEVICE_FEATURE')
      const answer = new Uint8Array(data)
      answer[0] = typeof this.state === 'number' ? this.state : MIGRATION_STATES.indexOf(this.state)
      return answer
    },
    // None of these changes begins a session.
    migrationSession: () => {
      this.changes++
      // What next() throws is the promise's, as it is the kernel's.
      return new Promise((resolve) => {
        this.next()
        resolve(null)
      })
    },
  }
  readonly owner: DeviceCore = coreOf(this.backend, {
    label: 'driver',
    reset: () => {
      this.resets++
      this.state = 'running'
      return Promise.resolve()
    },
  })
  readonly migration = new DeviceMigration(this.owner, ALL)

  async refusal(state: MigrationState): Promise<VfioError> {
    try {
      await this.migration.setState(state)
    } catch (error) {
      if (error instanceof VfioError) return error
      throw error
    }
    throw new Error('it was not refused')
  }
}

test('in error, every change is refused before the driver is asked, and the way leads through a reset', async (t) => {
  const driver = new Driver()
  driver.state = 'error'
  for (const state of MIGRATION_STATES) {
    if (state === 'error') continue
    const error = await driver.refusal(state)
    t.is(error.reason, 'illegal-transition')
    t.regex(error.remedy ?? '', /error -> reset\(\) -> running/, state)
  }
  t.is(driver.changes, 0)
  await t.throwsAsync(driver.migration.restore([]), { instanceOf: VfioError, message: /reset\(\)/ })
  await t.throwsAsync(driver.migration.save().next(), { instanceOf: VfioError, message: /reset\(\)/ })
  t.is(driver.changes, 0)
  t.is(driver.resets, 0)
})

test('a change to the state that it is in asks nobody', async (t) => {
  const driver = new Driver()
  t.is(await driver.migration.setState('running'), null)
  t.is(driver.changes, 0)
})

test('a state that this version does not know is an error, not a guess', (t) => {
  const driver = new Driver()
  driver.state = 8
  const error = t.throws(() => driver.migration.state, { instanceOf: VfioError })
  t.regex(error.message, /8/)
})

test('one call at a time', async (t) => {
  const driver = new Driver()
  const first = driver.migration.setState('stop')
  t.is((await driver.refusal('running')).code, 'EBUSY')
  await first
  t.is(await driver.migration.setState('runningP2p'), null)
  t.is(driver.changes, 2)
})

test('closing resets a device that was moved and is not running', async (t) => {
  const driver = new Driver()
  const { migration } = driver
  let resets = 0
  const reset = (): void => {
    resets++
  }
  driver.state = 'stop'
  migration.closeWithDevice(reset)
  t.is(resets, 0, 'somebody else moved it')
  driver.state = 'running'
  driver.next = () => (driver.state = 'stop')
  await migration.setState('stop')
  migration.closeWithDevice(null)
  t.is(resets, 0, 'another holder still has it')
  migration.closeWithDevice(reset)
  t.is(resets, 1)
  driver.state = 'running'
  migration.closeWithDevice(reset)
  t.is(resets, 1, 'it runs')
  driver.state = 'stop'
  migration.afterReset()
  migration.closeWithDevice(reset)
  t.is(resets, 1, 'it was reset since')
})

test('a device that does not tell whether it runs is not reset twice', async (t) => {
  const driver = new Driver()
  driver.next = () => (driver.state = 'stop')
  await driver.migration.setState('stop')
  driver.state = 99
  t.throws(
    () => {
      driver.migration.closeWithDevice(() => undefined)
    },
    { instanceOf: VfioError },
  )
})

test('capabilities: none where the feature is absent, in each way that drivers say so', (t) => {
  const device = (errno: number, flags?: number): DeviceCore =>
    coreOf({
      feature: (asked, data) => {
        if (errno !== 0) throw new VfioError(errno, 'VFIO_DEVICE_FEATURE')
        if ((asked & PROBE) !== 0) return data
        return Uint8Array.of(flags ?? 0, 0, 0, 0, 0, 0, 0, 0)
      },
    })
  for (const errno of [ENOTTY, EINVAL, EOPNOTSUPP]) t.is(readCapabilities(device(errno)), undefined)
  t.throws(() => readCapabilities(device(EIO)), { instanceOf: VfioError, code: 'EIO' })
  t.deepEqual(readCapabilities(device(0, 3)), { stopCopy: true, p2p: true, preCopy: false })
})
