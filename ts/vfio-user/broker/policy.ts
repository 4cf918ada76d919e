// What a policy may say about a client's access to a brokered device, and how its answer becomes a decision. Knows no device.
import { constants } from 'node:os'

import { EACCES, EPERM } from '../../errors.js'
import type { PassthroughAccess, PolicyAnswer } from '../../signalling/passthrough/policy.js'
import { shown } from '../../validate.js'
import { Denial } from '../server/served.js'

/** One access of a client to configuration space, a BAR or the ROM. Of 8 bytes in configuration space, two of 4. */
export type BrokerAccess = PassthroughAccess

/**
 * What becomes of an access. Beside what `PassthroughPolicy` may answer:
 * - `{ deny }`: refused with this error, by its name or number. A client of protocol version 0.2, as `VfioDevice` is, gets the error;
 *   QEMU and cloud-hypervisor, which do not live with errors, read all ones, and have their writes dropped. `'deny'` means EPERM.
 * - `{ alter }`: goes on, and what the device answers to a read, or is written, is what the function makes of it.
 */
export type BrokerAnswer =
  PolicyAnswer | { readonly deny: string | number } | { readonly alter: (value: bigint) => bigint }

/**
 * Asked for every access of a client, before the device sees it. A policy of `PciPassthrough` is one too. It must answer at once. When
 * it throws, or answers what it may not, the access is refused with EACCES and the error reported.
 */
export type BrokerPolicy = (access: BrokerAccess) => BrokerAnswer

/** What is done with an access. */
export type Decision =
  | { readonly kind: 'go' }
  | { readonly kind: 'deny'; readonly denial: Denial }
  | { readonly kind: 'replace'; readonly value: bigint }
  | { readonly kind: 'alter'; readonly alter: (value: bigint) => bigint }

const GO: Decision = { kind: 'go' }
const MOST_ERRNO = 4095

function errnoOf(deny: unknown): number {
  const number = typeof deny === 'string' ? (constants.errno as Record<string, number>)[deny] : deny
  if (typeof number === 'number' && Number.isInteger(number) && number > 0 && number <= MOST_ERRNO)
    return number
  throw new TypeError(`deny must be the name or the number of an error, not ${shown(deny)}`)
}

function understood(answer: unknown): Decision {
  if (answer === undefined || answer === 'allow') return GO
  if (answer === 'deny') return { kind: 'deny', denial: new Denial(EPERM) }
  if (typeof answer === 'object' && answer !== null) {
    const { replace, alter, deny } = answer as { replace?: unknown; alter?: unknown; deny?: unknown }
    if (typeof replace === 'bigint') return { kind: 'replace', value: replace }
    if (typeof alter === 'function') return { kind: 'alter', alter: alter as (value: bigint) => bigint }
    if (deny !== undefined) return { kind: 'deny', denial: new Denial(errnoOf(deny)) }
  }
  throw new TypeError(
    `policy must answer 'allow', 'deny', { deny: an error }, { replace: a bigint } or { alter: a function }, not ${shown(answer)}`,
  )
}

/** What was thrown on the way to a decision denies the access. */
function failed(thrown: unknown): Denial {
  return new Denial(EACCES, thrown)
}

/** Asks a policy. Never throws. */
export function decide(policy: BrokerPolicy, access: BrokerAccess): Decision {
  try {
    return understood(policy(access))
  } catch (error) {
    return { kind: 'deny', denial: failed(error) }
  }
}

/** A value, as a policy alters it. @throws Denial where that fails */
export function altered(alter: (value: bigint) => bigint, value: bigint): bigint {
  let made: unknown
  try {
    made = alter(value)
  } catch (error) {
    throw failed(error)
  }
  if (typeof made === 'bigint') return made
  throw failed(new TypeError(`alter must give a bigint, not ${shown(made)}`))
}
