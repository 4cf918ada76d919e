// Migration: a device's way through the kernel's states, and its state from one device into another by the messages for it.
import test from 'ava'
import fc from 'fast-check'

import { FEATURE_FLAG, FEATURES } from '../../../../ts/device/features/ids.js'
import { MIGRATION_STATES, type MigrationState, transition } from '../../../../ts/device/migration/states.js'
import type { UserDeviceOptions, UserMigration } from '../../../../ts/vfio-user/index.js'
import { encodeReset } from '../../../../ts/vfio-user/protocol/device-info.js'
import { encodeFeature, encodeMigRead, encodeMigWrite } from '../../../../ts/vfio-user/protocol/feature.js'
import { MigrationMachine } from '../../../../ts/vfio-user/server/migration.js'
import { type Peer, type Received, connected } from './peer.js'

function feature(peer: Peer, flags: number, data: Uint8Array = new Uint8Array()): Promise<Received> {
  return peer.call((view, id) => encodeFeature(view, 0, id, flags, data))
}

async function go(peer: Peer, state: MigrationState): Promise<number | null> {
  const data = new Uint8Array(8)
  data[0] = MIGRATION_STATES.indexOf(state)
  return (await feature(peer, FEATURE_FLAG.set | FEATURES.migDeviceState.id, data)).errno
}

async function stateOf(peer: Peer): Promise<MigrationState | undefined> {
  const reply = await feature(peer, FEATURE_FLAG.get | FEATURES.migDeviceState.id)
  return MIGRATION_STATES[reply.view.getUint32(24, true)]
}

async function readOut(peer: Peer, chunk: number): Promise<Uint8Array> {
  const parts: Uint8Array[] = []
  for (;;) {
    const reply = await peer.call((view, id) => encodeMigRead(view, 0, id, chunk))
    if (reply.errno !== null) throw new Error(`errno ${String(reply.errno)}`)
    const size = reply.view.getUint32(20, true)
    parts.push(reply.bytes.subarray(24, 24 + size))
    if (size < chunk) return Buffer.concat(parts)
  }
}

async function writeIn(peer: Peer, stream: Uint8Array, chunk: number): Promise<number | null> {
  for (let at = 0; at < stream.length; at += chunk) {
    const part = stream.subarray(at, at + chunk)
    const reply = await peer.call((view, id) => {
      new Uint8Array(view.buffer).set(part, 24)
      return encodeMigWrite(view, 0, id, part.length)
    })
    if (reply.errno !== null) return reply.errno
  }
  return null
}

/** A device with one register, which is its state. */
function moving(preCopy = false): {
  options: Partial<UserDeviceOptions>
  value: { now: number }
  log: string[]
} {
  const value = { now: 0 }
  const log: string[] = []
  const migration: UserMigration = {
    stop: () => void log.push('stop'),
    run: () => void log.push('run'),
    save: () => {
      log.push('save')
      return Uint8Array.of(value.now)
    },
    load: (state, preCopied) => {
      log.push(`load ${String(state[0])} ${preCopied === null ? 'alone' : String(preCopied.length)}`)
      value.now = state[0] ?? 0
    },
    ...(preCopy && {
      preCopy: () => {
        log.push('preCopy')
        return new Uint8Array(5000)
      },
    }),
  }
  const options = {
    regions: { bar0: { size: 16 } },
    irqs: { msix: 2 },
    onRead: () => value.now,
    onWrite: (_region: unknown, _offset: number, _width: number, given: number) => void (value.now = given),
    migration,
  }
  return { options, value, log }
}

test('a device without migration has none of its features', async (t) => {
  const { peer, errors } = await connected(t, {})
  for (const id of [FEATURES.migration.id, FEATURES.migDeviceState.id, FEATURES.lowPowerEntry.id, 900]) {
    t.is((await feature(peer, FEATURE_FLAG.get | id)).errno, 25)
    t.is((await feature(peer, FEATURE_FLAG.probe | FEATURE_FLAG.get | id)).errno, 25)
  }
  t.is((await peer.call((view, id) => encodeMigRead(view, 0, id, 16))).errno, 22)
  t.deepEqual(
    errors.map(({ name }) => name),
    ['VfioError'],
  )
})

test('features are probed by direction', async (t) => {
  const { peer } = await connected(t, moving().options)
  const { probe, get, set } = FEATURE_FLAG
  const state = FEATURES.migDeviceState.id
  t.is((await feature(peer, probe | get | set | state)).errno, null)
  t.is((await feature(peer, probe | get | FEATURES.migration.id)).errno, null)
  t.is((await feature(peer, probe | set | FEATURES.migration.id)).errno, 22)
  t.is((await feature(peer, get | set | state)).errno, 22)
  t.is((await feature(peer, state)).errno, 22)
  t.is((await feature(peer, set | state, new Uint8Array(2))).errno, 22)
  const reply = await feature(peer, get | FEATURES.migration.id)
  t.is(reply.view.getBigUint64(24, true), 1n)
  const other = await connected(t, moving(true).options)
  t.is((await feature(other.peer, get | FEATURES.migration.id)).view.getBigUint64(24, true), 5n)
})

test('a state moves from one device to another, with configuration space and the table', async (t) => {
  const source = moving()
  const from = await connected(t, source.options)
  await from.peer.write32(0, 0, 42)
  await from.peer.write32(7, 0x10, 0xfe00_0000)
  await from.peer.write32(1, 12, 0)
  from.device.raise('msix', 1)
  t.is(await go(from.peer, 'stopCopy'), null)
  t.deepEqual(source.log, ['stop', 'save'])
  const size = await feature(from.peer, FEATURE_FLAG.get | FEATURES.migDataSize.id)
  const stream = await readOut(from.peer, 100)
  t.is(Number(size.view.getBigUint64(24, true)), stream.length)
  t.is(await go(from.peer, 'stop'), null)

  const target = moving()
  const to = await connected(t, target.options)
  t.is(await go(to.peer, 'resuming'), null)
  t.is(await writeIn(to.peer, stream, 77), null)
  t.is(await go(to.peer, 'running'), null)
  t.deepEqual(target.log, ['stop', 'load 42 alone', 'run'])
  t.is(await stateOf(to.peer), 'running')
  t.is(await to.peer.read32(0, 0), 42)
  t.is(await to.peer.read32(7, 0x10), 0xfe00_0000)
  t.is(await to.peer.read32(1, 12), 0)
  t.is(await to.peer.read32(1, 2048), 2)
})

test('a device that pre-copies gives that first, and stops for the rest', async (t) => {
  const source = moving(true)
  const from = await connected(t, source.options)
  t.is(await go(from.peer, 'preCopy'), null)
  const first = await readOut(from.peer, 4096)
  t.true(first.length > 5000)
  await from.peer.write32(0, 0, 7)
  t.is(await go(from.peer, 'stopCopy'), null)
  t.deepEqual(source.log, ['preCopy', 'stop', 'save'])
  const rest = await readOut(from.peer, 4096)
  const target = moving(true)
  const to = await connected(t, target.options)
  await go(to.peer, 'resuming')
  await writeIn(to.peer, Buffer.concat([first, rest]), 1000)
  t.is(await go(to.peer, 'stop'), null)
  t.deepEqual(target.log, ['stop', 'load 7 5000'])
})

test('pre-copy that is given up leaves the device running', async (t) => {
  const { options, log } = moving(true)
  const { peer } = await connected(t, options)
  await go(peer, 'preCopy')
  t.is(await go(peer, 'running'), null)
  t.deepEqual(log, ['preCopy'])
  t.is((await peer.call((view, id) => encodeMigRead(view, 0, id, 16))).errno, 22)
})

test('ways that the kernel does not know are refused, and change nothing', async (t) => {
  const { peer } = await connected(t, moving().options)
  for (const state of ['error', 'runningP2p', 'preCopy', 'preCopyP2p'] as const)
    t.is(await go(peer, state), 22, state)
  const data = new Uint8Array(8)
  data[0] = 200
  t.is((await feature(peer, FEATURE_FLAG.set | FEATURES.migDeviceState.id, data)).errno, 22)
  t.is(await stateOf(peer), 'running')
})

test('data that is no state puts the device in its error state, which a reset ends', async (t) => {
  const { options, log } = moving()
  const { peer } = await connected(t, options)
  for (const data of [
    Uint8Array.of(1, 2, 3),
    Uint8Array.of(2, 0, 0, 0, 255, 255, 255, 255),
    new Uint8Array(0),
  ]) {
    await go(peer, 'resuming')
    await writeIn(peer, data, 100)
    t.is(await go(peer, 'stop'), 22)
    t.is(await stateOf(peer), 'error')
    t.is(await go(peer, 'running'), 22)
    await peer.call((view, id) => encodeReset(view, 0, id))
    t.is(await stateOf(peer), 'running')
  }
  t.false(log.some((each) => each.startsWith('load')))
})

test("an exception of the author's puts the device in its error state", async (t) => {
  const { peer } = await connected(t, {
    migration: {
      save: () => {
        throw new Error('cannot')
      },
      load: () => undefined,
    },
  })
  t.is(await go(peer, 'stopCopy'), 5)
  t.is(await stateOf(peer), 'error')
})

test('a save that takes too long is answered without it, and a second is refused meanwhile', async (t) => {
  let resolve: (bytes: Uint8Array) => void = () => undefined
  const { peer, server } = await connected(
    t,
    { migration: { save: () => new Promise<Uint8Array>((each) => (resolve = each)), load: () => undefined } },
    { deadlineMillis: 30 },
  )
  t.is(await go(peer, 'stopCopy'), 110)
  t.is(server.statistics.late, 1)
  t.is(await go(peer, 'running'), 16)
  resolve(Uint8Array.of(1))
  t.is(await stateOf(peer), 'stopCopy')
})

test('data is refused in a state that has none', async (t) => {
  const { peer } = await connected(t, moving().options)
  t.is(await writeIn(peer, new Uint8Array(4), 4), 22)
  await go(peer, 'stop')
  t.is(await writeIn(peer, new Uint8Array(4), 4), 22)
  t.is((await peer.call((view, id) => encodeMigRead(view, 0, id, 16))).errno, 22)
})

test('whatever the order of states asked for, the machine is where the kernel would be', async (t) => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.nat(8), { maxLength: 12 }), fc.boolean(), async (numbers, preCopy) => {
      const machine = new MigrationMachine(
        {
          save: () => Uint8Array.of(1),
          load: () => undefined,
          ...(preCopy && { preCopy: () => new Uint8Array(3) }),
        },
        { save: () => [new Uint8Array(1), new Uint8Array(1)], load: () => undefined },
      )
      let expected: MigrationState = 'running'
      for (const number of numbers) {
        const to = MIGRATION_STATES[number]
        const way = to === undefined ? null : transition(machine.capabilities, expected, to)
        const went = await machine.go(number).then(
          () => true,
          () => false,
        )
        // Nothing was written into it, so that leaving `resuming` fails.
        const fails = way !== null && expected === 'resuming' && to !== 'resuming'
        t.is(went, way !== null && !fails)
        if (fails) {
          t.is(machine.state, 'error')
          machine.reset()
          expected = 'running'
        } else if (way !== null && to !== undefined) expected = to
        t.is(machine.state, expected)
      }
    }),
    { numRuns: 300, seed: 15 },
  )
})
