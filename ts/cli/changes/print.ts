// A plan, a change and a journal in words: each write with what is there before and after, and why.
import { ANY, type HostStep, type Mdev, type MdevType, type SriovState } from '../../host/index.js'
import type { JournalEntry, Journals, Plan } from '../../merged/index.js'
import { table } from '../format.js'
import type { Style } from '../style.js'

function shown(value: string | null, how: HostStep['look']['how']): string {
  if (value === ANY) return 'whoever wants it'
  if (value !== null) return how === 'file' ? JSON.stringify(value.trim().replaceAll(/\s+/g, ' ')) : value
  return how === 'link' ? 'no driver' : 'nothing'
}

/** `driver: nvme -> vfio-pci`: where the effect shows. */
function effect({ look, old, new: after }: HostStep): string {
  const name = look.path.split('/').at(-1) ?? ''
  return `${look.how === 'file' || look.how === 'folder' ? '' : `${name}: `}${shown(old, look.how)} -> ${shown(after, look.how)}`
}

/** `echo`, as one would do it by hand. */
function command({ write: { file, text }, look }: HostStep): string {
  if (look.how === 'folder') return `mkdir ${file}`
  if (text === null) return `rm ${file}`
  return look.how === 'file' ? file : `${text === '' ? '(empty line)' : text} > ${file}`
}

/** The write, and below it what it changes and why. */
export function stepLines(step: HostStep, mark: string, { strong, dim }: Style): string {
  return `${mark} ${command(step)}\n      ${strong(effect(step))}  ${dim(`(${step.why})`)}\n`
}

export function planText(plan: Plan, style: Style): string {
  const { summary, steps, refusals, warnings, notes, neighbours, unseen = [] } = plan
  const lines = [`${summary}\n`]
  if (steps.length === 0 && refusals.length === 0) lines.push('nothing to do: already done\n')
  steps.forEach((step, index) => lines.push(stepLines(step, `${String(index + 1).padStart(3)}.`, style)))
  if (neighbours.length > 0) {
    const rows = neighbours.map(({ name, driver, blocks }) => [
      name,
      driver ?? 'no driver',
      blocks ? 'keeps the group from user space' : '',
    ])
    lines.push('in the same IOMMU group:\n', table(rows, '     '))
  }
  for (const note of notes) lines.push(`note     ${note}\n`)
  for (const warning of warnings) lines.push(`${style.warn('warning')}  ${warning}\n`)
  for (const { what, why } of unseen) lines.push(`${style.warn('unseen')}   ${what}: ${why}\n`)
  if (unseen.length > 0) lines.push('         -> a use could be hidden there: --force continues anyway\n')
  for (const { what, remedy } of refusals)
    lines.push(`${style.bad('refused')}  ${what}\n         -> ${remedy}\n`)
  return lines.join('')
}

export function changesText({ own, elsewhere, damaged }: Journals): string {
  const row = (entry: JournalEntry, state: string): string[] => [
    String(entry.id),
    entry.time.replace('T', ' ').replace(/\..*/, ''),
    state,
    entry.plan.summary,
  ]
  const rows = [
    ...own.map((entry) => row(entry, entry.state)),
    ...elsewhere.map((entry) => row(entry, `on another host, ${entry.host?.name ?? ''}`)),
    ...damaged.map(({ id, path, why }) => [String(id), '-', 'damaged', `${path}: ${why}`]),
  ]
  if (rows.length === 0) return 'no changes to undo\n'
  return table([['ID', 'WHEN', 'STATE', 'WHAT'], ...rows])
}

export function sriovText(functions: readonly SriovState[]): string {
  if (functions.length === 0) return 'no device here can have virtual functions\n'
  const rows = functions.flatMap(({ physicalFunction, totalVfs, numVfs, autoprobe, virtualFunctions }) => [
    [
      physicalFunction.address,
      physicalFunction.driver ?? 'no driver',
      `${numVfs} of ${totalVfs}`,
      autoprobe === null ? '' : `host drivers ${autoprobe ? 'take' : 'leave'} new ones`,
    ],
    ...virtualFunctions.map(({ address, driver, iommuGroup }) => [
      `  ${address}`,
      driver ?? 'no driver',
      iommuGroup === null ? '' : `group ${iommuGroup}`,
      '',
    ]),
  ])
  return table([['FUNCTION', 'DRIVER', 'VIRTUAL', ''], ...rows])
}

export function mdevTypesText(types: readonly MdevType[]): string {
  if (types.length === 0) return 'no device here offers mediated devices\n'
  const rows = types.map(({ parent, id, name, available, deviceApi, devices, description }) => [
    parent,
    id,
    name ?? '-',
    available === null ? 'unknown' : String(available),
    String(devices.length),
    deviceApi ?? '-',
    description?.replaceAll(/\s*\n\s*/g, ', ') ?? '',
  ])
  return table([['PARENT', 'TYPE', 'NAME', 'LEFT', 'EXIST', 'API', 'DESCRIPTION'], ...rows])
}

export function mdevsText(mdevs: readonly Mdev[]): string {
  if (mdevs.length === 0) return 'no mediated devices\n'
  const rows = mdevs.map(({ uuid, parent, type, driver, iommuGroup }) => [
    uuid,
    parent,
    type ?? '-',
    driver ?? 'no driver',
    iommuGroup === null ? '-' : String(iommuGroup),
  ])
  return table([['UUID', 'PARENT', 'TYPE', 'DRIVER', 'GROUP'], ...rows])
}
