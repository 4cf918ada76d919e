// `vfio sriov show`, `vfio mdev types` and `ls`: what can be given to guests, as the host has it now.
import { Attempts, problemText } from '../../host/attempts.js'
import { formatBdf, listMdevs, listMdevTypes, parseBdf, readSriov } from '../../host/index.js'
import { examinePciDevices } from '../../host/pci.js'
import type { CliContext } from '../context.js'
import { CliError, json } from '../format.js'
import { given } from '../given.js'
import type { MdevsOutput, MdevTypesOutput, SriovOutput } from '../output.js'
import { mdevsText, mdevTypesText, sriovText } from './print.js'

interface Json {
  readonly json?: boolean
}

export function showSriov({ host, out, err }: CliContext, id: string | undefined, options: Json): void {
  const address = id === undefined ? null : given(() => formatBdf(parseBdf(id)))
  const attempts = new Attempts()
  const functions = examinePciDevices(host, attempts).flatMap((device) => {
    if (address !== null && device.address !== address) return []
    return attempts.run(device.address, () => readSriov(device, host), null) ?? []
  })
  for (const each of attempts.problems) err(`could not be read: ${problemText(each)}\n`)
  if (address !== null && functions.length === 0)
    throw new CliError(`${address} does not exist or cannot have virtual functions`)
  const output: SriovOutput = { schema: 'vfio-sriov/1', functions }
  out(options.json === true ? json(output) : sriovText(functions))
}

export function showMdevTypes({ host, out }: CliContext, parent: string | undefined, options: Json): void {
  const types = listMdevTypes(host).filter((type) => parent === undefined || type.parent === parent)
  if (parent !== undefined && types.length === 0) throw new CliError(`${parent} offers no mediated devices`)
  const output: MdevTypesOutput = { schema: 'vfio-mdev-types/1', types }
  out(options.json === true ? json(output) : mdevTypesText(types))
}

export function showMdevs({ host, out }: CliContext, options: Json): void {
  const mdevs = listMdevs(host)
  const output: MdevsOutput = { schema: 'vfio-mdevs/1', mdevs }
  out(options.json === true ? json(output) : mdevsText(mdevs))
}
