// The ways between migration states, against the table that the kernel's documentation of vfio_mig_get_next_state() gives,
// and the laws that it states: shortest, and no saving state between.
import test from 'ava'

import {
  MIGRATION_STATES,
  type MigrationCapabilities,
  type MigrationState,
  SAVING,
  decodeCapabilities,
  hasState,
  shortestWay,
  transition,
  wayInWords,
} from '../../../../ts/device/migration/states.js'

const ALL: MigrationCapabilities = { stopCopy: true, p2p: true, preCopy: true }
const PLAIN: MigrationCapabilities = { stopCopy: true, p2p: false, preCopy: false }
const KINDS: MigrationCapabilities[] = [
  ALL,
  PLAIN,
  { stopCopy: true, p2p: true, preCopy: false },
  { stopCopy: true, p2p: false, preCopy: true },
]

/** The arcs that drivers implement, as <linux/vfio.h> lists them. */
const ARCS: [MigrationState, MigrationState][] = [
  ['runningP2p', 'stop'],
  ['stopCopy', 'stop'],
  ['resuming', 'stop'],
  ['preCopy', 'running'],
  ['runningP2p', 'running'],
  ['preCopyP2p', 'runningP2p'],
  ['running', 'runningP2p'],
  ['stop', 'runningP2p'],
  ['running', 'preCopy'],
  ['runningP2p', 'preCopyP2p'],
  ['stop', 'stopCopy'],
  ['preCopy', 'preCopyP2p'],
  ['preCopyP2p', 'preCopy'],
  ['preCopyP2p', 'stopCopy'],
  ['stop', 'resuming'],
]

/** The number of arcs of the shortest walk without a saving or resuming state between; -1 for none. */
function distance(from: MigrationState, to: MigrationState): number {
  let edge: MigrationState[] = [from]
  const seen = new Set(edge)
  for (let steps = 0; edge.length > 0; steps++) {
    if (edge.includes(to)) return steps
    const inner = edge.filter((state) => steps === 0 || !SAVING.includes(state))
    edge = ARCS.filter(([start, end]) => inner.includes(start) && !seen.has(end)).map(([, end]) => end)
    for (const state of edge) seen.add(state)
  }
  return -1
}

test('capabilities are the three flags of VFIO_DEVICE_FEATURE_MIGRATION', (t) => {
  t.deepEqual(decodeCapabilities(1n), PLAIN)
  t.deepEqual(decodeCapabilities(7n), ALL)
  t.deepEqual(decodeCapabilities(5n), { stopCopy: true, p2p: false, preCopy: true })
})

test('every way is made of arcs that drivers implement', (t) => {
  for (const from of MIGRATION_STATES) {
    for (const to of MIGRATION_STATES) {
      const path = transition(ALL, from, to)
      if (path === null || from === to) continue
      let at = from
      for (const next of path) {
        t.true(
          ARCS.some(([start, end]) => start === at && end === next),
          `${from} to ${to}: ${at} to ${next}`,
        )
        at = next
      }
      t.is(at, to)
      t.false(
        path.slice(0, -1).some((state) => SAVING.includes(state) && !SAVING.includes(from)),
        `${from} to ${to} goes through a session`,
      )
    }
  }
})

test('a way is as short as the arcs allow', (t) => {
  for (const from of MIGRATION_STATES) {
    for (const to of MIGRATION_STATES) {
      const path = transition(ALL, from, to)
      if (path === null || SAVING.includes(from)) continue
      t.is(path.length, distance(from, to), `${from} to ${to}`)
    }
  }
})

test('what the kernel refuses: out of error, into error, and from stopCopy back to pre-copy', (t) => {
  for (const capabilities of KINDS) {
    for (const from of MIGRATION_STATES) {
      for (const to of MIGRATION_STATES) {
        const there = hasState(capabilities, from) && hasState(capabilities, to)
        const refused =
          (from !== to && (from === 'error' || to === 'error')) ||
          (from === 'stopCopy' && (to === 'preCopy' || to === 'preCopyP2p'))
        t.is(transition(capabilities, from, to) === null, !there || refused, `${from} to ${to}`)
      }
    }
  }
})

test('states that a device has not are stepped over', (t) => {
  t.deepEqual(transition(ALL, 'running', 'stopCopy'), ['runningP2p', 'stop', 'stopCopy'])
  t.deepEqual(transition(PLAIN, 'running', 'stopCopy'), ['stop', 'stopCopy'])
  t.deepEqual(transition(PLAIN, 'resuming', 'running'), ['stop', 'running'])
  const preCopy: MigrationCapabilities = { stopCopy: true, p2p: false, preCopy: true }
  t.deepEqual(transition(preCopy, 'preCopy', 'stopCopy'), ['stopCopy'])
  t.deepEqual(transition(ALL, 'preCopy', 'stopCopy'), ['preCopyP2p', 'stopCopy'])
  t.deepEqual(transition(ALL, 'preCopy', 'resuming'), ['running', 'runningP2p', 'stop', 'resuming'])
})

test('the shortest legal way names what has to be asked for', (t) => {
  t.deepEqual(shortestWay(ALL, 'stopCopy', 'preCopy'), ['stop', 'preCopy'])
  t.is(
    wayInWords(ALL, 'stopCopy', ['stop', 'preCopy']),
    'stopCopy -> stop -> runningP2p -> running -> preCopy',
  )
  t.deepEqual(shortestWay(ALL, 'error', 'running'), ['reset'])
  t.is(wayInWords(ALL, 'error', ['reset']), 'error -> reset() -> running')
  t.is(
    wayInWords(PLAIN, 'error', shortestWay(PLAIN, 'error', 'stopCopy') ?? []),
    'error -> reset() -> running -> stop -> stopCopy',
  )
  t.is(shortestWay(ALL, 'running', 'error'), null)
  t.is(shortestWay(PLAIN, 'running', 'preCopy'), null)
  for (const capabilities of KINDS) {
    for (const from of MIGRATION_STATES) {
      for (const to of MIGRATION_STATES) {
        const way = shortestWay(capabilities, from, to)
        if (way === null || !hasState(capabilities, from)) continue
        let at = from
        for (const next of way) {
          if (next === 'reset') {
            at = 'running'
            continue
          }
          t.not(transition(capabilities, at, next), null, `${from} to ${to}: ${at} to ${next}`)
          at = next
        }
        t.is(at, to)
      }
    }
  }
})
