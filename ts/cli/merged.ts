// `vfio merged`: what the host can share with guests while it uses it. What is read is mergedReport's.
import { writeFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { problemText } from '../host/attempts.js'
import { probeHost } from '../host/index.js'
import {
  type FrameworkAnswer,
  type JudgedIssue,
  type MergedReport,
  mergedReport,
  type ParameterInForce,
  type SharedDevice,
  type SharedFunction,
  type UserSpaceWay,
  withHooks,
} from '../merged/index.js'
import type { CliContext } from './context.js'
import { CliError, ids, json, plural, table } from './format.js'
import { WRONG_ARGUMENTS } from './given.js'
import type { MergedOutput } from './output.js'

function title({ name, pci }: SharedDevice): string {
  if (pci === null) return name
  const names = [pci.names.vendor, pci.names.device].filter((each) => each !== null).join(' ')
  return `${name}  ${ids(pci.vendor, pci.device)}${names === '' ? '' : `  ${names}`}`
}

/** What is alike, by what is said of it, in the order of the first of each kind. */
function alike<T>(all: readonly T[], said: (each: T) => string): Map<string, T[]> {
  const kinds = new Map<string, T[]>()
  for (const each of all) kinds.set(said(each), [...(kinds.get(said(each)) ?? []), each])
  return kinds
}

/** Virtual functions, those of which the same is to be said on one line: a GPU has dozens. */
function functionLines({ functions }: SharedDevice): [string, string][] {
  const said = ({
    driver,
    currentVgpuType,
    creatableVgpuTypes,
    gpuInstance,
    profile,
  }: SharedFunction): string => {
    const on = gpuInstance === null ? '' : ` on GPU instance ${gpuInstance}`
    const type = (currentVgpuType ?? 0) === 0 ? '' : `, vGPU type ${currentVgpuType ?? 0}${on}`
    const settings = Object.entries(profile ?? {}).map(([name, value]) => `, ${name} ${value}`)
    // A vGPU's list says what its siblings could become.
    const free = creatableVgpuTypes !== null && (currentVgpuType ?? 0) === 0
    const more = free ? `, can become one of ${plural(creatableVgpuTypes.length, 'type')}` : ''
    return `${driver ?? 'without driver'}${type}${more}${settings.join('')}`
  }
  return [...alike(functions, said)].map(([text, same]) => {
    const first = same[0]?.address ?? ''
    const last = same.at(-1)?.address ?? ''
    return same.length === 1
      ? ['VF', `${first} ${text}`]
      : [`${same.length} VFs`, `${first} to ${last}: ${text}`]
  })
}

/** Types of mediated devices; one that each virtual function offers is one line. */
function typeLines({ mdevTypes }: SharedDevice): [string, string][] {
  const kinds = alike(mdevTypes, ({ id, name }) => `${id}${name === null ? '' : ` (${name})`}`)
  return [...kinds].map(([text, same]) => {
    const left = same.reduce<number | null>(
      (sum, { available }) => (sum === null || available === null ? null : sum + available),
      0,
    )
    const count = same.reduce((sum, { devices }) => sum + devices.length, 0)
    const where = same.length === 1 ? '' : ` on ${same.length} functions`
    return ['mdev type', `${text}${where}: ${count} exist, ${left ?? 'unknown'} more possible`]
  })
}

function parameterText({
  name,
  value,
  inForce,
  asked,
  read,
  meaning,
  sideEffects,
}: ParameterInForce): string {
  const state = !inForce
    ? asked === null
      ? ' (not there)'
      : ` (not in force: ${read})`
    : value === null
      ? ` (${read})`
      : `=${value}`
  return `${name}${state}: ${meaning}${sideEffects === null ? '' : ` ${sideEffects}`}`
}

/** How guests can have a virtual GPU, in words. */
const WAYS: Readonly<Record<UserSpaceWay, string>> = {
  'mediated-2d': 'mediated 2D',
  virgl: 'VirGL',
  venus: 'Venus',
  'native-context': 'native context',
}

/** What is said of an issue that is not to be relied on. */
const doubt = ({ confidence }: JudgedIssue): string => (confidence === 'low' ? ', low confidence' : '')

function issueText(issue: JudgedIssue): string {
  const { id, impact, read, symptom, mitigation, suppliedBy } = issue
  const rest = [mitigation, suppliedBy === null ? null : `Supplied by: ${suppliedBy}`]
  return [
    `${impact}: ${symptom}`,
    ...rest.filter((each) => each !== null),
    `(${id}${doubt(issue)}; ${read})`,
  ].join(' ')
}

function issueLines({ knownIssues }: SharedDevice): [string, string][] {
  const those = (answer: JudgedIssue['answer']): JudgedIssue[] =>
    knownIssues.filter((issue) => issue.answer === answer)
  const fixed = those('fixed').map(({ id }) => id)
  return [
    ...those('applies').map((issue): [string, string] => ['issue', issueText(issue)]),
    // Those of which the same is not known are one line: `vfio issues` has the rest of them.
    ...[...alike(those('cannot-tell'), ({ read }) => read)].map(([read, same]): [string, string] => {
      const [only] = same
      const ids = same.map(({ id }) => id).join(', ')
      return ['may apply', same.length === 1 && only !== undefined ? issueText(only) : `${ids} (${read})`]
    }),
    ...(fixed.length === 0 ? [] : [['fixed here', fixed.join(', ')] satisfies [string, string]]),
  ]
}

function capacityText({ counted, documented }: FrameworkAnswer['capacity']): string {
  const now = counted === null ? [] : [`${counted.used} in use, ${counted.free} more possible`]
  const told = documented.map(
    ({ guests, per, limitedBy, confidence }) =>
      `documented: ${guests} per ${per} (${limitedBy}${confidence === 'low' ? ', low confidence' : ''})`,
  )
  return [...now, ...told].join('; ')
}

const STATES: Readonly<Record<FrameworkAnswer['state'], string>> = {
  used: 'in use',
  ready: 'ready',
  possible: 'possible',
}

/** The frameworks that it has or could have, each with what guests get and what is in the way. */
function frameworkLines({ frameworks }: SharedDevice): [string, string][] {
  return frameworks.flatMap(({ name, state, capacity, migration, inTheWay, unsure, note }) => {
    const text = capacityText(capacity)
    return [
      ['way', `${name}: ${STATES[state]}${note === null ? '' : `. ${note}`}`],
      ...(text === '' ? [] : [['  capacity', text]]),
      ['  migration', `${migration.answer}: ${migration.why}`],
      ...inTheWay.map((each) => ['  in the way', each]),
      ...unsure.map((each) => ['  cannot tell', each]),
    ] as [string, string][]
  })
}

/** Those in force that decide how it can be shared, and all that somebody asked for. */
const isTold = ({ sharing, inForce, asked }: ParameterInForce): boolean =>
  (sharing && inForce) || asked !== null

function facts(device: SharedDevice): [string, string][] {
  const { driver, driverVersion, hostNodes, vfs } = device
  const nodes = [...hostNodes.cards, ...hostNodes.renders, ...hostNodes.accels]
  return [
    ['driver', driver === null ? 'none' : `${driver}${driverVersion === null ? '' : ` ${driverVersion}`}`],
    ['host nodes', nodes.length === 0 ? 'none' : nodes.join(', ')],
    ...(device.platform === null ? [] : [['platform', device.platform] satisfies [string, string]]),
    ['framework', `${device.framework}: ${device.frameworkWhy}`],
    ['merged', `${device.merged.state}: ${device.merged.why}`],
    ...(vfs === null
      ? []
      : [['VFs', `${vfs.active} of ${vfs.total} active, ${vfs.free} free`] satisfies [string, string]]),
    ...functionLines(device),
    ...typeLines(device),
    ...frameworkLines(device),
    ...device.hooks.map(({ hook, answer, why }): [string, string] => [hook, `${answer}: ${why}`]),
    ...device.userSpace.map(({ way, answer, why }): [string, string] => [WAYS[way], `${answer}: ${why}`]),
    ...device.parameters.filter(isTold).map((each): [string, string] => ['parameter', parameterText(each)]),
    ...device.blockers.map((text): [string, string] => ['blocker', text]),
    ...device.notes.map((text): [string, string] => ['note', text]),
    ...issueLines(device),
  ]
}

function text({ devices, problems }: MergedReport): string {
  const told = devices.map((device) => `${title(device)}\n${table(facts(device), '  ')}`)
  const unread = problems.map((each) => `could not be read: ${problemText(each)}\n`)
  if (told.length === 0) told.push('nothing to share: no GPU, no virtual functions, no mediated devices\n')
  return [...told, ...(unread.length === 0 ? [] : [unread.join('')])].join('\n')
}

export interface MergedOptions {
  readonly json?: boolean
  readonly hooks?: boolean
  /** A file for a page, `-` for standard output. */
  readonly html?: string
}

export async function merged({ host, out, err }: CliContext, options: MergedOptions): Promise<void> {
  const { json: asJson = false, hooks = false, html } = options
  if (asJson && html !== undefined)
    throw new CliError('--json and --html are two forms of the same: choose one', WRONG_ARGUMENTS)
  const probed = probeHost(host)
  const read = mergedReport(host, probed)
  const report = hooks ? await withHooks(read, host) : read
  if (html === undefined) {
    out(asJson ? json({ schema: 'vfio-merged/1', ...report } satisfies MergedOutput) : text(report))
    return
  }
  const { mergedPage } = await import('./page/merged-page.js')
  const page = mergedPage({ report, groups: probed.groups, host: hostname(), time: new Date() })
  if (html === '-') out(page)
  else {
    writeFileSync(html, page)
    err(`the page is in ${html}\n`)
  }
}
