// Checks the options of a change before anything is read. It must not know what any of them is for.
import { checkHostOptions } from '../../host/sysfs.js'
import { callable, instance, integer, object, string } from '../../validate.js'
import type { ChangeOptions } from './types.js'

/** Milliseconds: as long as a timer can take. */
const MOST_TIMEOUT = 0x7fff_ffff

/** @throws TypeError or RangeError with the bound for what is wrong */
export function checkChangeOptions(options: ChangeOptions): void {
  checkHostOptions(options)
  const { stateRoot, timeout, io, onEvent, signal } = options
  if (stateRoot !== undefined) string(stateRoot, 'options.stateRoot')
  if (timeout !== undefined) integer(timeout, 'options.timeout', 1, MOST_TIMEOUT)
  if (io !== undefined) object(io, 'options.io')
  if (onEvent !== undefined) callable(onEvent, 'options.onEvent')
  if (signal !== undefined) instance(signal, AbortSignal, 'options.signal')
}
