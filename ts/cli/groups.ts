// Groups of users by their names, as /etc/group has them.
import { readFileSync } from 'node:fs'

import { CliError } from './format.js'
import { WRONG_ARGUMENTS } from './given.js'

const MOST_GID = 2 ** 32 - 2

/** The number of a group that is named or numbered. */
export function groupNumber(group: string, file = '/etc/group'): number {
  if (/^\d+$/.test(group) && Number(group) <= MOST_GID) return Number(group)
  const lines = readFileSync(file, 'utf8').split('\n')
  const [, , number] = lines.map((line) => line.split(':')).find(([name]) => name === group) ?? []
  if (number === undefined || !/^\d+$/.test(number))
    throw new CliError(`There is no group ${group} in ${file}: give its number.`, WRONG_ARGUMENTS)
  return Number(number)
}
