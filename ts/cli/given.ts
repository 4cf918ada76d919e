// Where what the user gave is judged. A TypeError or RangeError from there is the user's to mend; from anywhere else it is a
// fault of ours, and must not look like a wrong argument.
import { resolveDevice } from '../host/index.js'
import type { CliContext } from './context.js'
import { CliError } from './format.js'

/** The exit status for wrong arguments. */
export const WRONG_ARGUMENTS = 2

/** Calls what takes a user's argument, and nothing that does more than take it. */
export function given<T>(take: () => T): T {
  try {
    return take()
  } catch (error) {
    if (error instanceof TypeError || error instanceof RangeError)
      throw new CliError(error.message, WRONG_ARGUMENTS)
    throw error
  }
}

/** Whether a device is named as devices are; it need not be there. */
export function checkDevice(id: string, { host }: CliContext): string {
  given(() => resolveDevice(id, host))
  return id
}
