// `vfio serve`: a device of the host's for vfio-user clients, until the user ends it or no client can be served any more. What is
// done with clients, DeviceBroker knows; here are the socket's file, the policy's, and the words.
import { chmodSync, chownSync } from 'node:fs'

import { VfioDevice } from '../device/device.js'
import {
  type BrokerBar,
  type BrokerEvent,
  DeviceBroker,
  type DeviceBrokerOptions,
  UserDeviceServer,
} from '../vfio-user/index.js'
import type { CliContext } from './context.js'
import { CliError } from './format.js'
import { checkDevice } from './given.js'
import { groupNumber } from './groups.js'
import { type Detail, detailOf, textOf } from './serve-words.js'
import type { ServeEvent } from './output.js'
import { policyFrom } from './policy-file.js'

export interface ServeOptions {
  readonly socket: string
  readonly mode: number
  readonly group?: string
  readonly policy?: string
  readonly trace?: boolean
  readonly memory?: number
  readonly map?: readonly BrokerBar[]
  readonly json?: boolean
}

/** Close to what QEMU waits: mapping a large guest takes its time. */
const DEADLINE_MILLISECONDS = 4000
/** A guest can cause errors at will. */
const MOST_ERRORS = 100
/** Told of without --trace. */
const ALWAYS: ReadonlySet<BrokerEvent['what']> = new Set([
  'connected',
  'gone',
  'reset',
  'refusing',
  'requested',
  'bus-error',
])

type Say = (event: ServeEvent['event'], detail: Detail) => void

function sayer(context: CliContext, json: boolean): Say {
  const started = performance.now()
  return (event, detail) => {
    const seconds = (performance.now() - started) / 1000
    if (json) {
      const said: ServeEvent = { schema: 'vfio-serve/1', seconds, event, ...detail }
      context.out(`${JSON.stringify(said)}\n`)
    } else context.out(`${seconds.toFixed(6)} s  ${textOf(event, detail)}\n`)
  }
}

/** The socket's file as it is to be: nobody else may connect before it is. */
function open(options: ServeOptions, gid: number | null): void {
  const { socket, mode } = options
  try {
    if (gid !== null) chownSync(socket, -1, gid)
    chmodSync(socket, mode)
  } catch (error) {
    const { code = 'EPERM', message } = error as NodeJS.ErrnoException
    const remedy = code === 'EPERM' ? ' Only root, or a member of the group, can give a file to it.' : ''
    throw new CliError(`${message}.${remedy}`)
  }
}

/** What happened, told, and whether it is the end. */
function watcher(say: Say, trace: boolean, end: (why: Error) => void): (event: BrokerEvent) => void {
  return (event) => {
    if (trace || ALWAYS.has(event.what)) say(event.what, detailOf(event))
    if (event.what === 'refusing') end(event.error)
  }
}

function errorTeller(say: Say): (error: Error) => void {
  let errors = 0
  return (error) => {
    errors++
    if (errors > MOST_ERRORS) return
    const more = errors === MOST_ERRORS ? ' (no more of these are shown)' : ''
    say('error', { message: `${error.message}${more}` })
  }
}

function optionsOf(
  { map, memory, trace = false }: ServeOptions,
  policy: DeviceBrokerOptions['policy'],
  say: Say,
  onEvent: (event: BrokerEvent) => void,
): DeviceBrokerOptions {
  return {
    onEvent,
    ...(trace && { onAccess: (access) => say(access.what, detailOf(access)) }),
    ...(policy !== undefined && { policy }),
    ...(map !== undefined && { map }),
    ...(memory !== undefined && { memoryLimit: memory }),
  }
}

export async function serve(context: CliContext, id: string, options: ServeOptions): Promise<void> {
  checkDevice(id, context)
  const { socket, group, trace = false, json = false } = options
  const gid = group === undefined ? null : groupNumber(group)
  const policy = options.policy === undefined ? undefined : await policyFrom(options.policy)
  const device = await VfioDevice.open(id, { ...context.host, guard: false })
  const say = sayer(context, json)
  let over: (why: Error | null) => void = () => undefined
  const ended = new Promise<Error | null>((resolve) => (over = resolve))
  let broker: DeviceBroker | undefined
  let server: UserDeviceServer | undefined
  try {
    broker = new DeviceBroker(device, optionsOf(options, policy, say, watcher(say, trace, over)))
    server = UserDeviceServer.listen(socket, broker, {
      onError: errorTeller(say),
      deadlineMillis: DEADLINE_MILLISECONDS,
    })
    open(options, gid)
    say('listening', { device: device.name, socket })
    const forget = context.onInterrupt(() => over(null))
    const why = await ended
    forget()
    if (why !== null) throw why
  } finally {
    server?.close()
    await broker?.close()
    await device.close()
  }
}
