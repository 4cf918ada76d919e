// A policy for `vfio serve`, from the module in which its author wrote it.
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'

import type { BrokerPolicy } from '../vfio-user/index.js'
import { CliError } from './format.js'
import { WRONG_ARGUMENTS } from './given.js'

/** What Node.js says where it does not read TypeScript. */
const UNREAD = 'ERR_UNKNOWN_FILE_EXTENSION'

/** The default export of a module. */
export async function policyFrom(file: string): Promise<BrokerPolicy> {
  let loaded: { default?: unknown }
  try {
    loaded = (await import(pathToFileURL(resolve(file)).href)) as { default?: unknown }
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    const remedy =
      code === UNREAD
        ? '\n  Node.js reads TypeScript from 22.18 on: take a newer one, or write JavaScript.'
        : ''
    throw new CliError(`${file}: ${message}${remedy}`, WRONG_ARGUMENTS)
  }
  if (typeof loaded.default === 'function') return loaded.default as BrokerPolicy
  throw new CliError(
    `${file}: its default export must be a function, a BrokerPolicy of node-vfio/vfio-user.`,
    WRONG_ARGUMENTS,
  )
}
