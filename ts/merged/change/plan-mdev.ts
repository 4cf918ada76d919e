// Plans for mediated devices.

import { randomUUID } from 'node:crypto'
import { basename, join } from 'node:path'
import { ENODEV, VfioError } from '../../errors.js'
import { formatBdf, isBdf, parseBdf } from '../../host/bdf.js'
import { createMdevStep, listMdevs, mdevParentPaths, mdevTypesOf, removeMdevStep } from '../../host/mdev.js'
import { boolean, string } from '../../validate.js'
import { type Draft, invalid, refuseUses, remarks } from './draft.js'
import { fileSteps } from './files.js'
import { unread } from './readers.js'
import type { ChangeOptions, HostChange } from './types.js'

type Create = Extract<HostChange, { kind: 'mdev-create' }>
type Remove = Extract<HostChange, { kind: 'mdev-remove' }>

const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/

function uuidOf(text: string, name: string): string {
  const uuid = string(text, name).toLowerCase()
  if (!UUID.test(uuid)) throw new TypeError(`${name} must be a UUID, not ${JSON.stringify(text)}`)
  return uuid
}

/** What mdevctl reads when the parent appears. */
export function mdevctlFile(parent: string, uuid: string, options: ChangeOptions): string {
  return join(options.etcRoot ?? '/etc', 'mdevctl.d', parent, uuid)
}

function missing(subject: string, remedy: string): VfioError {
  return new VfioError(ENODEV, 'plan', { subject, reason: 'no-such-device', remedy })
}

export function planMdevCreate(asked: Create, options: ChangeOptions): Draft<Create> {
  const name = string(asked.parent, 'change.parent')
  const parent = isBdf(name) ? formatBdf(parseBdf(name)) : name
  const type = string(asked.type, 'change.type')
  const uuid = uuidOf(asked.uuid ?? randomUUID(), 'change.uuid')
  const persist = boolean(asked.persist ?? false, 'change.persist')
  const paths = mdevParentPaths(options)
  const path = paths.find((each) => basename(each) === parent)
  if (path === undefined)
    throw missing(
      parent,
      paths.length === 0
        ? 'No device of this host offers mediated devices.'
        : `These offer mediated devices: ${paths.map((each) => basename(each)).join(', ')}`,
    )
  const types = mdevTypesOf(path) ?? []
  const found = types.find(({ id }) => id === type)
  if (found === undefined)
    throw missing(`${parent} ${type}`, `It offers these types: ${types.map(({ id }) => id).join(', ')}`)
  const told = remarks()
  const there = listMdevs(options).find((each) => each.uuid === uuid)
  const steps = []
  if (there === undefined) {
    steps.push(createMdevStep(path, type, uuid, options))
    if (found.available === 0)
      told.refusals.push({
        reason: 'host',
        what: `${parent} has no capacity for another ${type}`,
        remedy: `Remove one first (vfio mdev ls), or choose another type (vfio mdev types).`,
      })
  } else if (there.parent !== parent || there.type !== type) {
    throw invalid(
      uuid,
      `A device with that UUID already exists: a ${there.type ?? 'device'} of ${there.parent}.`,
    )
  }
  if (persist) {
    const file = mdevctlFile(parent, uuid, options)
    const nobody = unread('mdevctl', file, options)
    if (nobody !== null) told.warnings.push(nobody)
    steps.push(
      ...fileSteps(
        file,
        `${JSON.stringify({ mdev_type: type, start: 'auto', attrs: [] }, null, 2)}\n`,
        'mdevctl creates it again after a reboot',
      ),
    )
  }
  return {
    change: { kind: 'mdev-create', parent, type, uuid, persist },
    devices: [uuid],
    summary: `make ${uuid}, a ${found.name ?? type} of ${parent}`,
    steps,
    ...told,
    neighbours: [],
  }
}

export function planMdevRemove(asked: Remove, options: ChangeOptions): Draft<Remove> {
  const uuid = uuidOf(asked.uuid, 'change.uuid')
  const persist = boolean(asked.persist ?? false, 'change.persist')
  const mdev = listMdevs(options).find((each) => each.uuid === uuid)
  if (mdev === undefined) throw missing(uuid, 'There is no such mediated device; `vfio mdev ls` lists them.')
  const { type, parent, sysfsPath } = mdev
  if (type === null)
    throw invalid(uuid, 'The kernel does not report its type, so an undo could not create it again.')
  const told = remarks()
  refuseUses([sysfsPath], told, options)
  const steps = [removeMdevStep({ ...mdev, type }, options)]
  const file = fileSteps(mdevctlFile(parent, uuid, options), null, 'mdevctl does not create it again')
  if (!persist && file.length > 0)
    told.notes.push('mdevctl creates it again after a reboot: --persist removes its entry')
  return {
    change: { kind: 'mdev-remove', uuid, persist },
    devices: [uuid],
    summary: `remove ${uuid}, a ${type} of ${parent}`,
    steps: persist ? [...steps, ...file] : steps,
    ...told,
    neighbours: [],
  }
}
