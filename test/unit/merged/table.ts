// The table of docs/merged.md, made of the fixtures' reports: what is found of each vendor's host.
import { mergedReport, type SharedDevice } from '../../../ts/merged/index.js'
import { SysfsTree } from '../host/fixture.js'
import { type Host, HOSTS, rootsOf } from './hosts.js'

const VENDORS: Readonly<Record<number, string>> = { 0x1002: 'AMD', 0x8086: 'Intel', 0x10de: 'NVIDIA' }
const HEAD = [
  'fixture',
  'vendor',
  'driver',
  'framework',
  'merged',
  'guests can have',
  'hooks',
  'ways',
  'findings',
]

/** What a fixture's host has, and nothing of where its tree is. */
export function reportOf(host: Host): ReturnType<typeof mergedReport> {
  const tree = new SysfsTree()
  try {
    host(tree)
    const text = JSON.stringify(mergedReport(rootsOf(tree))).replaceAll(tree.root, '')
    return JSON.parse(text) as ReturnType<typeof mergedReport>
  } finally {
    tree.remove()
  }
}

function capacity({ vfs, functions, mdevTypes }: SharedDevice): string {
  const kinds = [
    vfs === null ? '' : `${vfs.free} of ${vfs.total} VFs`,
    ...mdevTypes.map(({ id, available }) => `${available ?? 'unknown'} ${id}`),
    ...functions.flatMap(({ creatableVgpuTypes }, index) =>
      creatableVgpuTypes === null ? [] : [`${creatableVgpuTypes.length} types in VF ${index}`],
    ),
  ].filter((each) => each !== '')
  return kinds.length === 0 ? 'nothing' : kinds.join(', ')
}

/** Hooks that have the same answer are one word. */
function hooks(device: SharedDevice): string {
  const answers = [...new Set(device.hooks.map(({ answer }) => answer))]
  const [only] = answers
  if (answers.length === 1 && only !== undefined) return only.replace('-', ' ')
  return device.hooks.map(({ hook, answer }) => `${hook} ${answer.replace('-', ' ')}`).join(', ')
}

/** The frameworks that it has or could have, and what is between. */
function ways({ frameworks }: SharedDevice): string {
  return frameworks
    .map(({ name, state, inTheWay, migration }) => {
      const needs = inTheWay.length === 0 ? '' : `, ${inTheWay.length} in the way`
      return `${name}: ${state}${needs}, migration ${migration.answer.replace('-', ' ')}`
    })
    .join('; ')
}

function findings({ blockers, notes, knownIssues }: SharedDevice): string {
  const issues = knownIssues.filter(({ answer }) => answer === 'applies').map(({ id }) => `\`${id}\``)
  return [...blockers, ...notes, ...issues].join('; ')
}

function row(name: string, device: SharedDevice): string[] {
  const vendor = device.pci === null ? 'none' : (VENDORS[device.pci.vendor] ?? 'any')
  const driver = device.driver ?? 'none'
  const version = device.driverVersion === null ? '' : ` ${device.driverVersion}`
  return [
    `\`${name}\``,
    vendor,
    `${driver}${version}`,
    device.framework,
    device.merged.state,
    capacity(device),
    hooks(device),
    ways(device),
    findings(device),
  ]
}

/** Every fixture, one row for each of its devices. */
export function vendorTable(): string {
  const rows = Object.entries<Host>(HOSTS).flatMap(([name, host]) =>
    reportOf(host).devices.map((device) => row(name, device)),
  )
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`
  return [line(HEAD), line(HEAD.map(() => '---')), ...rows.map(line)].join('\n')
}
