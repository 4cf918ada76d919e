// `vfio merged`: what the host can share with guests while it uses it. What is read is mergedReport's.
import { type MergedReport, mergedReport, type SharedDevice, withHooks } from '../merged/index.js'
import type { CliContext } from './context.js'
import { ids, json, table } from './format.js'
import type { MergedOutput } from './output.js'

function title({ name, pci }: SharedDevice): string {
  if (pci === null) return name
  const names = [pci.names.vendor, pci.names.device].filter((each) => each !== null).join(' ')
  return `${name}  ${ids(pci.vendor, pci.device)}${names === '' ? '' : `  ${names}`}`
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
    ...device.functions.map(
      ({ address, driver: own, currentVgpuType, creatableVgpuTypes }): [string, string] => {
        const type = currentVgpuType === null || currentVgpuType === 0 ? '' : `, vGPU type ${currentVgpuType}`
        const more = creatableVgpuTypes === null ? '' : `, can become ${creatableVgpuTypes.length} types`
        return ['VF', `${address} ${own ?? 'without driver'}${type}${more}`]
      },
    ),
    ...device.mdevTypes.map(({ id, name, available, devices }): [string, string] => [
      'mdev type',
      `${id}${name === null ? '' : ` (${name})`}: ${devices.length} exist, ${available ?? 'unknown'} more possible`,
    ]),
    ...device.hooks.map(({ hook, answer, why }): [string, string] => [hook, `${answer}: ${why}`]),
    ...device.parameters.map(({ name, value, meaning, sideEffects }): [string, string] => [
      'parameter',
      `${name}${value === null ? ' (not set)' : `=${value}`}: ${meaning}${sideEffects === null ? '' : ` ${sideEffects}`}`,
    ]),
    ...device.blockers.map((text): [string, string] => ['blocker', text]),
    ...device.notes.map((text): [string, string] => ['note', text]),
    ...device.knownIssues
      .filter(({ answer }) => answer !== 'other-driver')
      .map(({ answer, symptom, read, mitigation }): [string, string] => [
        'issue',
        `${answer} (${read}): ${symptom}${answer === 'fixed' || mitigation === null ? '' : ` ${mitigation}`}`,
      ]),
  ]
}

function text({ devices, problems }: MergedReport): string {
  const told = devices.map((device) => `${title(device)}\n${table(facts(device), '  ')}`)
  const unread = problems.map(({ subject, message }) => `could not be read: ${subject}: ${message}\n`)
  if (told.length === 0)
    told.push('nothing here can be shared: no GPU, no virtual functions, no mediated devices\n')
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
