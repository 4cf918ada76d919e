// Wrong arguments of everything that node-vfio/host and node-vfio/merged export: told with what is wanted, before anything
// is read, and never in the engine's words.
import { inspect } from 'node:util'
import test from 'ava'
import * as host from '../../../ts/host/index.js'
import * as merged from '../../../ts/merged/index.js'

type Call = (...args: unknown[]) => unknown

interface Case {
  /** What is right; the last of them are options, where the function has some. */
  readonly good: readonly unknown[]
  /** What is wrong in each place, options left out. */
  readonly wrong: readonly (readonly unknown[])[]
  readonly options?: 'host' | 'change' | 'undo'
}

const NOT_TEXT = [undefined, null, 5, true, {}, ['x'], Symbol('x'), 'a\0b']
const NOT_OBJECT = [undefined, null, 5, 'x', true, Symbol('x'), 10n]
const NOT_NUMBER = [null, '5', 5n, {}, -1, 1.5, NaN, 2 ** 53]
const ADDRESS = { domain: 0, bus: 1, device: 2, function: 0 }
const WRONG_ADDRESS = [...NOT_OBJECT, {}, [], { ...ADDRESS, device: 0x20 }, { ...ADDRESS, bus: '1' }]
// Nothing is there: a call that reads before it checks does not fail by that.
const NOWHERE = { sysfsRoot: '/nowhere', devRoot: '/nowhere', procRoot: '/nowhere' }

const HOST: Record<string, Case> = {
  isBdf: { good: ['00:02.0'], wrong: [NOT_TEXT] },
  parseBdf: { good: ['00:02.0'], wrong: [[...NOT_TEXT, '', 'x', '00:20.0', '00:02.8']] },
  formatBdf: { good: [ADDRESS], wrong: [WRONG_ADDRESS] },
  compareBdf: { good: [ADDRESS, ADDRESS], wrong: [WRONG_ADDRESS, WRONG_ADDRESS] },
  isVfioMember: { good: [{ bus: 'pci', driver: null, vfioDev: null }], wrong: [NOT_OBJECT] },
  groupViability: {
    good: [{ members: [] }],
    wrong: [[...NOT_OBJECT, {}, { members: [5] }, { members: 'x' }]],
  },
  readIommuGroup: { good: [1], wrong: [[undefined, ...NOT_NUMBER]], options: 'host' },
  listIommuGroups: { good: [], wrong: [], options: 'host' },
  hostUses: { good: ['/nowhere'], wrong: [NOT_TEXT], options: 'host' },
  listMdevs: { good: [], wrong: [], options: 'host' },
  listMdevTypes: { good: [], wrong: [], options: 'host' },
  readModule: { good: ['vfio_pci'], wrong: [[...NOT_TEXT, '', '../x']], options: 'host' },
  listPciDevices: { good: [], wrong: [], options: 'host' },
  readPciDevice: { good: ['00:02.0'], wrong: [[...NOT_TEXT, 'x', '00:20.0']], options: 'host' },
  probeHost: { good: [], wrong: [], options: 'host' },
  resolveDevice: { good: ['00:02.0'], wrong: [[...NOT_TEXT, 'eth0', '00:20.0']], options: 'host' },
  readSriov: {
    good: [{ sriov: null, sysfsPath: '/nowhere', virtfns: [] }],
    wrong: [
      [
        ...NOT_OBJECT,
        {},
        [],
        { sriov: 5, sysfsPath: '/nowhere', virtfns: [] },
        { sriov: {}, sysfsPath: 5, virtfns: [] },
        { sriov: {}, sysfsPath: '/nowhere' },
        { sriov: {}, sysfsPath: '/nowhere', virtfns: ['x'] },
      ],
    ],
    options: 'host',
  },
  deviceUsers: { good: [[]], wrong: [[...NOT_OBJECT, {}, [5], ['/nowhere', undefined]]], options: 'host' },
  deviceUsage: { good: [[]], wrong: [[...NOT_OBJECT, {}, [5], ['/nowhere', undefined]]], options: 'host' },
  chooseVfioDriver: { good: ['/nowhere'], wrong: [NOT_TEXT], options: 'host' },
  readVgpu: { good: ['/nowhere'], wrong: [NOT_TEXT] },
}

const PLAN = { schema: 'vfio-plan/1', change: { kind: 'unbind', device: '00:02.0' }, steps: [] }
const CHANGES = [
  ...NOT_OBJECT,
  {},
  { kind: 'x' },
  { kind: 'bind' },
  { kind: 'bind', device: 'x' },
  { kind: 'bind', device: '00:02.0', driver: 5 },
  { kind: 'bind', device: '00:02.0', group: 'yes' },
  { kind: 'unbind', device: '00:02.0', to: 'guest' },
  { kind: 'unbind', device: 5 },
  { kind: 'sriov', device: '00:02.0', numVfs: -1 },
  { kind: 'sriov', device: '00:02.0' },
  { kind: 'mdev-create', parent: 5, type: 'x' },
  { kind: 'mdev-create', parent: 'mtty' },
  { kind: 'mdev-create', parent: 'mtty', type: 'mtty-1', uuid: 'x' },
  { kind: 'mdev-remove', uuid: 'x' },
  { kind: 'vgpu', device: '00:02.0', type: 'x' },
  { kind: 'profile', device: '00:02.0' },
  { kind: 'profile', device: '00:02.0', settings: {} },
  { kind: 'profile', device: '00:02.0', settings: { colour: 'red' } },
  { kind: 'profile', device: '00:02.0', settings: { exec_quantum_ms: 5 } },
  { kind: 'profile', device: '00:02.0', settings: { exec_quantum_ms: '-5' } },
  { kind: 'profile', device: '00:02.0', settings: { sched_priority: 'highest' } },
]

const MERGED: Record<string, Case> = {
  // `plan` and `apply` of what is right look for the device: they are among the changes' own tests.
  plan: { good: [PLAN.change], wrong: [CHANGES], options: 'change' },
  apply: {
    good: [PLAN],
    wrong: [[...NOT_OBJECT, {}, { ...PLAN, schema: 'x' }, { ...PLAN, steps: 5 }, { ...PLAN, change: null }]],
    options: 'change',
  },
  undo: { good: [1], wrong: [[...NOT_NUMBER, 0]], options: 'undo' },
  listChanges: { good: [], wrong: [], options: 'change' },
  listJournals: { good: [], wrong: [], options: 'change' },
  withHooks: { good: [{ devices: [] }], wrong: [[...NOT_OBJECT, {}, [], { devices: [5] }]], options: 'host' },
  knowledge: { good: [], wrong: [] },
  searchIssues: {
    good: [{}],
    wrong: [
      [null, 5, 'x', { vendor: 'via' }, { vendor: 5 }, { driver: 5 }, { version: null }, { kernel: {} }],
    ],
  },
  // The options come first.
  mergedReport: {
    good: [NOWHERE, undefined],
    wrong: [
      [null, 5, 'x', { sysfsRoot: 5 }],
      [null, 5, 'x', {}, { devices: [] }],
    ],
  },
}

const HOST_OPTIONS = [
  null,
  5,
  'x',
  ...['sysfsRoot', 'devRoot', 'procRoot', 'pciIds', 'modulesRoot'].map((name) => ({ ...NOWHERE, [name]: 5 })),
]
const CHANGE_OPTIONS = [
  ...HOST_OPTIONS,
  ...[
    { stateRoot: 5 },
    { etcRoot: 5 },
    { timeout: 0 },
    { timeout: '5' },
    { io: 5 },
    { onEvent: 5 },
    { signal: {} },
  ].map((each) => ({ ...NOWHERE, ...each })),
]
const OPTIONS = {
  host: HOST_OPTIONS,
  change: CHANGE_OPTIONS,
  undo: [...CHANGE_OPTIONS, { ...NOWHERE, force: 'yes' }],
}

/** What V8 and Node say of their own accord. */
const ENGINE =
  /^Cannot |is not (a function|iterable|an? object)|of undefined|of null|^The "|Invalid |convert|reading '/

function describe(value: unknown): string {
  return inspect(value, { breakLength: Infinity })
}

for (const [space, functions, cases] of [
  ['host', host, HOST],
  ['merged', merged, MERGED],
] as const) {
  const exported = Object.entries<unknown>(functions).filter(
    ([name, value]) => typeof value === 'function' && !/^[A-Z]/.test(name),
  )

  test(`node-vfio/${space}: every function is in the table`, (t) => {
    t.deepEqual(exported.map(([name]) => name).sort(), Object.keys(cases).sort())
  })

  for (const [name, { good, wrong, options }] of Object.entries(cases)) {
    test(`node-vfio/${space}: ${name} tells wrong arguments in words of its own`, async (t) => {
      const call = Object.fromEntries(exported)[name] as Call
      const calls = [
        ...wrong.flatMap((values, at) => values.map((value) => good.with(at, value))),
        ...(options === undefined ? [] : OPTIONS[options].map((value) => [...good, value])),
      ]
      // A function that takes nothing can be given nothing wrong.
      if (calls.length === 0) t.is(call.length, 0)
      for (const args of calls) {
        const what = args.map(describe).join(', ')
        let error: unknown = null
        try {
          await call(...args)
        } catch (thrown) {
          error = thrown
        }
        t.true(
          error instanceof TypeError || error instanceof RangeError,
          `${name}(${what}): ${String(error)}`,
        )
        t.notRegex((error as Error).message, ENGINE, `${name}(${what})`)
      }
    })
  }
}
