// `vfio merged`: what the host can share with guests while it uses it. What is read is mergedReport's.
import { problemText } from '../host/attempts.js'
import {
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
import { ids, json, plural, table } from './format.js'
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
  const said = ({ driver, currentVgpuType, creatableVgpuTypes }: SharedFunction): string => {
    const type = currentVgpuType === null || currentVgpuType === 0 ? '' : `, vGPU type ${currentVgpuType}`
    // A vGPU's list says what its siblings could become.
    const free = creatableVgpuTypes !== null && (currentVgpuType ?? 0) === 0
    const more = free ? `, can become one of ${plural(creatableVgpuTypes.length, 'type')}` : ''
    return `${driver ?? 'without driver'}${type}${more}`
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

function issueText({ answer, read, symptom, mitigation, suppliedBy }: JudgedIssue): string {
  const open =
    answer === 'fixed' ? [] : [mitigation, suppliedBy === null ? null : `Supplied by: ${suppliedBy}`]
  return [`${answer} (${read}): ${symptom}`, ...open.filter((each) => each !== null)].join(' ')
}

function facts(device: SharedDevice): [string, string][] {
  const { driver, driverVersion, hostNodes, vfs } = device
  const nodes = [...hostNodes.cards, ...hostNodes.renders, ...hostNodes.accels]
  return [
    ['driver', driver === null ? 'none' : `${driver}${driverVersion === null ? '' : ` ${driverVersion}`}`],
    ['host nodes', nodes.length === 0 ? 'none' : nodes.join(', ')],
    ['framework', `${device.framework}: ${device.frameworkWhy}`],
    ['merged', `${device.merged.state}: ${device.merged.why}`],
    ...(vfs === null
      ? []
      : [['VFs', `${vfs.active} of ${vfs.total} active, ${vfs.free} free`] satisfies [string, string]]),
    ...functionLines(device),
    ...typeLines(device),
    ...device.hooks.map(({ hook, answer, why }): [string, string] => [hook, `${answer}: ${why}`]),
    ...device.userSpace.map(({ way, answer, why }): [string, string] => [WAYS[way], `${answer}: ${why}`]),
    ...device.parameters.map((each): [string, string] => ['parameter', parameterText(each)]),
    ...device.blockers.map((text): [string, string] => ['blocker', text]),
    ...device.notes.map((text): [string, string] => ['note', text]),
    ...device.knownIssues
      .filter(({ answer }) => answer !== 'other-driver')
      .map((each): [string, string] => ['issue', issueText(each)]),
  ]
}

function text({ devices, problems }: MergedReport): string {
  const told = devices.map((device) => `${title(device)}\n${table(facts(device), '  ')}`)
  const unread = problems.map((each) => `could not be read: ${problemText(each)}\n`)
  if (told.length === 0) told.push('nothing to share: no GPU, no virtual functions, no mediated devices\n')
  return [...told, ...(unread.length === 0 ? [] : [unread.join('')])].join('\n')
}

export async function merged(
  { host, out }: CliContext,
  options: { json?: boolean; hooks?: boolean },
): Promise<void> {
  const read = mergedReport(host)
  const report = options.hooks === true ? await withHooks(read, host) : read
  out(
    options.json === true
      ? json({ schema: 'vfio-merged/1', ...report } satisfies MergedOutput)
      : text(report),
  )
}
