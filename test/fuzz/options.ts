// What the command line asks for, of the session and of its Workers alike.
import { parseArgs } from 'node:util'

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: String((Date.now() % 1_000_000) + 1) },
    calls: { type: 'string', default: '100000' },
    host: { type: 'boolean', default: false },
    log: { type: 'string' },
    list: { type: 'boolean', default: false },
    crew: { type: 'string' },
    'no-workers': { type: 'boolean', default: false },
    'no-effects': { type: 'boolean', default: false },
  },
})

export const SEED = Number(values.seed)
export const CALLS = Number(values.calls)
/** Without devices, outside the rig. */
export const ON_HOST = values.host
export const LOG = values.log
export const LIST = values.list
export const WITH_WORKERS = !values['no-workers']
export const WITH_EFFECTS = !values['no-effects']

/** The devices of one process of several, by their names in the rig: each has its own. Wires join the first; a guest gets the last. */
const CREWS = [
  ['edu', 'nvme', 'testdev'],
  ['edu2', 'e1000e', 'ivshmem'],
]
export const DEVICES: readonly string[] =
  values.crew === undefined ? ['edu', 'nvme', 'e1000e', 'ivshmem'] : (CREWS[Number(values.crew)] ?? [])

const rig = JSON.parse(process.env.NODE_VFIO_RIG ?? '{"devices":{}}') as { devices: Record<string, string> }

/** The addresses of those devices, by name. */
export const ADDRESSES: Readonly<Record<string, string>> = ON_HOST
  ? {}
  : Object.fromEntries(DEVICES.map((name) => [name, rig.devices[name] ?? '']))
