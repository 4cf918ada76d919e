// `vfio merged --html`: the report as one page that needs nothing else, to read and to send: devices, the groups they are in, ways
// to share them, and known issues with their sources.
import type { ProbedGroup } from '../../host/index.js'
import type { FrameworkAnswer, JudgedIssue, MergedReport, SharedDevice } from '../../merged/index.js'
import { ids } from '../format.js'
import { html, link, type Markup } from './markup.js'
import { STYLE } from './style.js'

/** What the page is about. */
export interface PageSubject {
  readonly report: MergedReport
  readonly groups: readonly ProbedGroup[]
  /** The host's name. */
  readonly host: string
  readonly time: Date
}

const rows = (facts: readonly (readonly [string, Markup | string | null])[]): Markup =>
  html`<dl>
    ${facts
      .filter(([, value]) => value !== null && value !== '')
      .map(
        ([name, value]) =>
          html`<dt>${name}</dt>
            <dd>${value}</dd>`,
      )}
  </dl>`

const list = (texts: readonly (string | Markup)[]): Markup | null =>
  texts.length === 0
    ? null
    : html`<ul>
        ${texts.map((each) => html`<li>${each}</li>`)}
      </ul>`

const STATES: Readonly<Record<FrameworkAnswer['state'], string>> = {
  used: 'in use',
  ready: 'ready',
  possible: 'possible',
}

function capacity({ counted, documented }: FrameworkAnswer['capacity']): Markup | null {
  const now = counted === null ? [] : [`${counted.used} in use, ${counted.free} more possible now`]
  const told = documented.map(
    ({ guests, per, limitedBy, confidence, sources }) =>
      html`${guests} per ${per}: ${limitedBy}
        <small>(documented, confidence ${confidence}: ${sources.map(link)})</small>`,
  )
  return list([...now, ...told])
}

function way({
  name,
  state,
  capacity: guests,
  migration,
  inTheWay,
  unsure,
  note,
  hooks,
}: FrameworkAnswer): Markup {
  return html`<section class="way ${state}">
    <h4>${name} <span class="badge">${STATES[state]}</span></h4>
    ${rows([
      ['guests', capacity(guests)],
      ['migration', `${migration.answer.replace('-', ' ')}: ${migration.why}`],
      ...hooks.map(({ hook, answer, why }) => [hook, `${answer.replace('-', ' ')}: ${why}`] as const),
      ['in the way', list(inTheWay)],
      ['cannot tell', list(unsure)],
      ['note', note],
    ])}
  </section>`
}

const ANSWERS: readonly (readonly [JudgedIssue['answer'], string])[] = [
  ['applies', 'Issues'],
  ['cannot-tell', 'Issues that may concern it'],
]

function issue({
  id,
  impact,
  symptom,
  affected,
  fixedIn,
  mitigation,
  suppliedBy,
  note,
  read,
  provenance,
  confidence,
  date,
  sources,
}: JudgedIssue): Markup {
  return html`<details class="${impact}">
    <summary><span class="badge">${impact}</span> ${symptom}</summary>
    ${rows([
      ['what to do', mitigation],
      ['supplied by', suppliedBy],
      ['affected', affected === '*' ? 'every version' : affected],
      ['fixed in', fixedIn],
      ['note', note],
      ['read', read],
      ['known', `${provenance}, ${date}, confidence ${confidence} (${id})`],
      ['sources', list(sources.map(link))],
    ])}
  </details>`
}

function issues({ knownIssues }: SharedDevice): Markup[] {
  const fixed = knownIssues.filter(({ answer }) => answer === 'fixed').map(({ id }) => id)
  const parts = ANSWERS.map(([answer, title]) => {
    const those = knownIssues.filter((each) => each.answer === answer)
    return those.length === 0
      ? html``
      : html`<h4>${title}</h4>
          ${those.map(issue)}`
  })
  return [...parts, fixed.length === 0 ? html`` : html`<p><small>Fixed here: ${fixed.join(', ')}</small></p>`]
}

/** The groups of a device and of its functions, each a box with all that user space would get with it. */
function groupBoxes({ name, functions }: SharedDevice, groups: readonly ProbedGroup[]): Markup | null {
  const own = new Set([name, ...functions.map(({ address }) => address)])
  const those = groups.filter(({ members }) => members.some((member) => own.has(member.name)))
  if (those.length === 0) return null
  return html`<div class="groups">
    ${those.map(
      ({ id, members }) =>
        html`<div class="group">
          <b>IOMMU group ${id}</b>${members.map(
            (member) =>
              html`<div class="${own.has(member.name) ? 'member own' : 'member'}">
                ${member.name}<small>${member.driver ?? 'no driver'}</small>
              </div>`,
          )}
        </div>`,
    )}
  </div>`
}

function device(shared: SharedDevice, groups: readonly ProbedGroup[]): Markup {
  const { name, pci, driver, driverVersion, platform, hostNodes, merged, framework, vfs } = shared
  const names = pci === null ? [] : [pci.names.vendor, pci.names.device].filter((each) => each !== null)
  const nodes = [...hostNodes.cards, ...hostNodes.renders, ...hostNodes.accels]
  return html`<article>
    <h2>${name} <small>${pci === null ? '' : ids(pci.vendor, pci.device)} ${names.join(' ')}</small></h2>
    <p class="merged ${merged.state}"><span class="badge">${merged.state}</span> ${merged.why}</p>
    ${rows([
      ['driver', driver === null ? 'none' : `${driver} ${driverVersion ?? ''}`],
      ['platform', platform],
      ['host nodes', nodes.join(', ')],
      ['framework', `${framework}: ${shared.frameworkWhy}`],
      ['functions', vfs === null ? null : `${vfs.active} of ${vfs.total} active, ${vfs.free} free`],
      ['blockers', list(shared.blockers)],
      ['notes', list(shared.notes)],
    ])}
    ${groupBoxes(shared, groups)} ${shared.frameworks.length === 0 ? null : html`<h3>Ways to share it</h3>`}
    ${shared.frameworks.map(way)} ${issues(shared)}
  </article>`
}

/** The whole page. */
export function mergedPage({ report, groups, host, time }: PageSubject): string {
  const { devices, problems, kernelRelease } = report
  const { text } = html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <title>What ${host} can share</title>
        <style>
          ${STYLE}
        </style>
      </head>
      <body>
        <h1>What ${host} can share with guests</h1>
        <p>
          Linux ${kernelRelease ?? 'of unknown release'}, ${time.toISOString().slice(0, 16).replace('T', ' ')}
          UTC, by vfio merged.
        </p>
        ${devices.length === 0 ? html`<p>Nothing to share: no GPU, no virtual functions, no mediated devices.</p>` : devices.map((each) => device(each, groups))}
        ${problems.length === 0 ? null : html`<h2>Could not be read</h2>`}
        ${list(problems.map(({ subject, message }) => `${subject}: ${message}`))}
      </body>
    </html> `
  return text
}
