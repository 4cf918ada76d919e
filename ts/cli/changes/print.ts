// A plan, a change and a journal in words: each write with what is there before and after, and why.
import { ANY, type HostStep } from '../../host/index.js'
import type { JournalEntry, Plan } from '../../merged/index.js'
import { table } from '../format.js'

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

export function stepLines(step: HostStep, mark: string): string {
  return `${mark} ${command(step)}\n      ${effect(step)}  (${step.why})\n`
}

export function planText(plan: Plan): string {
  const { summary, steps, refusals, warnings, notes, neighbours } = plan
  const lines = [`${summary}\n`]
  if (steps.length === 0 && refusals.length === 0) lines.push('nothing to do: it is so already\n')
  steps.forEach((step, index) => lines.push(stepLines(step, `${String(index + 1).padStart(3)}.`)))
  if (neighbours.length > 0) {
    lines.push('in the same IOMMU group:\n')
    lines.push(
      table(
        neighbours.map(({ name, driver, blocks }) => [
          name,
          driver ?? 'no driver',
          blocks ? 'keeps the group from user space' : '',
        ]),
        '     ',
      ),
    )
  }
  for (const note of notes) lines.push(`note     ${note}\n`)
  for (const warning of warnings) lines.push(`warning  ${warning}\n`)
  for (const { what, remedy } of refusals) lines.push(`refused  ${what}\n         -> ${remedy}\n`)
  return lines.join('')
}

export function changesText(entries: readonly JournalEntry[]): string {
  if (entries.length === 0) return 'no changes to take back\n'
  return table([
    ['ID', 'WHEN', 'STATE', 'WHAT'],
    ...entries.map(({ id, time, state, plan }) => [
      String(id),
      time.replace('T', ' ').replace(/\..*/, ''),
      state,
      plan.summary,
    ]),
  ])
}
