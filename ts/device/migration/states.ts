// The states of a device's migration and the ways between them, as the kernel walks them. Pure.

/**
 * enum vfio_device_mig_state, in the kernel's order: VFIO_DEVICE_STATE_ERROR, VFIO_DEVICE_STATE_STOP,
 * VFIO_DEVICE_STATE_RUNNING, VFIO_DEVICE_STATE_STOP_COPY, VFIO_DEVICE_STATE_RESUMING, VFIO_DEVICE_STATE_RUNNING_P2P,
 * VFIO_DEVICE_STATE_PRE_COPY, VFIO_DEVICE_STATE_PRE_COPY_P2P.
 */
export const MIGRATION_STATES = [
  'error',
  'stop',
  'running',
  'stopCopy',
  'resuming',
  'runningP2p',
  'preCopy',
  'preCopyP2p',
] as const

/**
 * What a device does (VFIO_DEVICE_STATE_*). `running`: all of it. `runningP2p`: all but DMA to other devices. `stop`:
 * nothing. `stopCopy`: nothing, and its state is read out. `resuming`: nothing, and a state is written into it. `preCopy`,
 * `preCopyP2p`: as running, while what of its state is ready is read out. `error`: it must be reset.
 */
export type MigrationState = (typeof MIGRATION_STATES)[number]

/** VFIO_DEVICE_FEATURE_MIGRATION: which states there are beside `running` and `error`. */
export interface MigrationCapabilities {
  /** VFIO_MIGRATION_STOP_COPY: `stop`, `stopCopy` and `resuming`. */
  readonly stopCopy: boolean
  /** VFIO_MIGRATION_P2P: `runningP2p`, and with pre-copy `preCopyP2p`. */
  readonly p2p: boolean
  /** VFIO_MIGRATION_PRE_COPY: `preCopy`. */
  readonly preCopy: boolean
}

export function decodeCapabilities(flags: bigint): MigrationCapabilities {
  // VFIO_MIGRATION_STOP_COPY, VFIO_MIGRATION_P2P, VFIO_MIGRATION_PRE_COPY
  return { stopCopy: (flags & 1n) !== 0n, p2p: (flags & 2n) !== 0n, preCopy: (flags & 4n) !== 0n }
}

const P2P_STATES: readonly MigrationState[] = ['runningP2p', 'preCopyP2p']
const PRE_COPY_STATES: readonly MigrationState[] = ['preCopy', 'preCopyP2p']

/** Whether a device can be in a state. */
export function hasState({ p2p, preCopy }: MigrationCapabilities, state: MigrationState): boolean {
  return (p2p || !P2P_STATES.includes(state)) && (preCopy || !PRE_COPY_STATES.includes(state))
}

/** The states in which the data of one session flows; a session goes on while the device moves among those for saving. */
export const SAVING: readonly MigrationState[] = ['preCopy', 'preCopyP2p', 'stopCopy']

type Steps = Partial<Record<MigrationState, MigrationState>>

// The first step from one state to another, where that is not the target itself: vfio_mig_get_next_state(). States that a
// device has not are stepped over. Null: the kernel refuses.
const FIRST_STEPS: Record<MigrationState, Steps | null> = {
  error: null,
  stop: { running: 'runningP2p', preCopy: 'runningP2p', preCopyP2p: 'runningP2p' },
  running: { stop: 'runningP2p', stopCopy: 'runningP2p', resuming: 'runningP2p', preCopyP2p: 'runningP2p' },
  stopCopy: { running: 'stop', resuming: 'stop', runningP2p: 'stop' },
  resuming: { running: 'stop', preCopy: 'stop', preCopyP2p: 'stop', stopCopy: 'stop', runningP2p: 'stop' },
  runningP2p: { preCopy: 'running', stopCopy: 'stop', resuming: 'stop' },
  preCopy: { stop: 'running', stopCopy: 'preCopyP2p', resuming: 'running', runningP2p: 'running' },
  preCopyP2p: { stop: 'runningP2p', running: 'runningP2p', resuming: 'runningP2p' },
}

/** A session for saving cannot go back to pre-copy: it has to end first. */
function isRefused(from: MigrationState, to: MigrationState): boolean {
  if (from === to) return false
  return from === 'error' || to === 'error' || (from === 'stopCopy' && PRE_COPY_STATES.includes(to))
}

/**
 * The states that a change goes through, from the first step to the target, as one call of the kernel walks them; null
 * where the kernel refuses it.
 */
export function transition(
  capabilities: MigrationCapabilities,
  from: MigrationState,
  to: MigrationState,
): MigrationState[] | null {
  if (isRefused(from, to) || !hasState(capabilities, from) || !hasState(capabilities, to)) return null
  const path: MigrationState[] = []
  let at = from
  while (at !== to) {
    at = FIRST_STEPS[at]?.[to] ?? to
    if (hasState(capabilities, at)) path.push(at)
  }
  return path
}

/**
 * The shortest way from one state to another in changes that the kernel does allow: the states to ask for, in order, with
 * `reset` for what only VFIO_DEVICE_RESET does. Null where there is no such state.
 */
export function shortestWay(
  capabilities: MigrationCapabilities,
  from: MigrationState,
  to: MigrationState,
): (MigrationState | 'reset')[] | null {
  if (to === 'error' || !hasState(capabilities, to)) return null
  if (from === 'error') return to === 'running' ? ['reset'] : ['reset', to]
  if (transition(capabilities, from, to) !== null) return [to]
  // Only stopCopy to pre-copy is left, whose session ends in stop.
  return ['stop', to]
}

/** What shortestWay found, step by step, for people. */
export function wayInWords(
  capabilities: MigrationCapabilities,
  from: MigrationState,
  way: readonly (MigrationState | 'reset')[],
): string {
  const words: string[] = [from]
  let at = from
  for (const next of way) {
    if (next === 'reset') {
      words.push('reset()', 'running')
      at = 'running'
    } else {
      words.push(...(transition(capabilities, at, next) ?? [next]))
      at = next
    }
  }
  return words.join(' -> ')
}
