// Which members were reached, and why the others were not. Too many of those, or one without a reason, is a failure.
import { Finding } from './judge.js'
import { STAND_INS, WITHOUT_INSTANCE } from './makers/all.js'
import { ON_HOST } from './options.js'
import type { Member } from './surface.js'

/** Of all members, how many may stay out of reach in the rig. */
const MOST_UNREACHED = 0.03

export function coverage(
  members: readonly Member[],
  called: ReadonlySet<string>,
  succeeded: ReadonlySet<string>,
): void {
  const unreached = members.filter(({ name }) => !called.has(name))
  const share = unreached.length / members.length
  console.log(
    `${members.length - unreached.length} of ${members.length} members called (${((1 - share) * 100).toFixed(1)} %)`,
  )
  for (const owner of new Set(unreached.map((member) => member.owner))) {
    const names = unreached.filter((member) => member.owner === owner).map(({ name }) => name)
    console.log(`  not reached, ${WITHOUT_INSTANCE[owner ?? ''] ?? 'FOR NO REASON'}: ${names.join(', ')}`)
  }
  const never = members.filter(({ name }) => called.has(name) && !succeeded.has(name))
  const honest = never.filter(({ owner }) => STAND_INS[owner ?? ''] === undefined)
  console.log(`  ${honest.length} that never returned: ${honest.map(({ name }) => name).join(', ')}`)
  console.log(
    `  ${never.length - honest.length} more of ${Object.keys(STAND_INS).join(', ')}, which have no real instance here`,
  )
  const groundless = unreached.filter(({ owner }) => WITHOUT_INSTANCE[owner ?? ''] === undefined)
  if (groundless.length > 0)
    throw new Finding(`never called, for no reason: ${groundless.map(({ name }) => name).join(', ')}`)
  if (!ON_HOST && share >= MOST_UNREACHED)
    throw new Finding(`${(share * 100).toFixed(1)} % of the members were not reached`)
}
