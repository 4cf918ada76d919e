// Plans for the share of an Intel GPU that xe gives a function.

import {
  isProfileName,
  PROFILE_NAMES,
  type ProfileName,
  profileProblem,
} from '../../host/profile-settings.js'
import { choices, profileStep, readXeProfile, valueOf } from '../../host/xe-profile.js'
import { object, string } from '../../validate.js'
import { type Draft, invalid, pciDevice, refuseUses, remarks } from './draft.js'
import type { ChangeOptions, HostChange } from './types.js'

type Profile = Extract<HostChange, { kind: 'profile' }>

function checked(settings: Profile['settings']): [ProfileName, string][] {
  const given = Object.entries(object(settings, 'change.settings'))
  if (given.length === 0) throw new TypeError('change.settings must have at least one setting')
  return given.map(([name, value]) => {
    if (!isProfileName(name))
      throw new TypeError(
        `change.settings must have names of ${PROFILE_NAMES.join(', ')}, not ${JSON.stringify(name)}`,
      )
    const problem = profileProblem(name, string(value, `change.settings.${name}`))
    if (problem !== null)
      throw new RangeError(`change.settings.${name} must be ${problem}, not ${JSON.stringify(value)}`)
    return [name, value]
  })
}

export function planProfile(asked: Profile, options: ChangeOptions): Draft<Profile> {
  const settings = checked(asked.settings)
  const device = pciDevice(asked.device, 'change.device', options)
  const { address } = device
  const pf = device.physfn === null ? device : pciDevice(device.physfn, 'change.device', options)
  const profile = readXeProfile(pf.address, pf.virtfns.indexOf(address) + 1, options)
  if (profile === null)
    throw invalid(
      address,
      'It has no profile in sriov_admin of its GPU: xe has them from Linux 6.19 on, while it makes virtual functions.',
    )
  const told = remarks()
  const wanted = settings.filter(([name, value]) => {
    const text = profile.texts[name]
    if (text === undefined) {
      told.refusals.push({
        reason: 'host',
        what: `this kernel has no ${name} for ${address}`,
        remedy:
          name === 'vram_quota'
            ? 'It comes with Linux 7.2, for GPUs with memory of their own.'
            : 'Leave it out.',
      })
      return false
    }
    const words = choices(text)?.words
    if (words !== undefined && !words.includes(value))
      told.refusals.push({
        reason: 'host',
        what: `${name} of ${address} cannot be ${value}`,
        remedy: `It can be ${words.join(' or ')}.`,
      })
    return valueOf(text) !== value
  })
  // The memory of a function that runs cannot change beneath it.
  if (wanted.some(([name]) => name === 'vram_quota'))
    refuseUses([device.sysfsPath], told, options, 'functions')
  return {
    change: { kind: 'profile', device: address, settings: Object.fromEntries(settings) },
    devices: [address],
    summary: `set ${settings.map(([name, value]) => `${name}=${value}`).join(', ')} of ${address}`,
    steps: wanted.map(([name, value]) => profileStep(profile, name, value)),
    ...told,
    neighbours: [],
  }
}
