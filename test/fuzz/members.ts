// The members that there are, drawn from: those of every export, and those of objects that no export makes.
import { CLASSES, EXPORTS, SHAPED } from './kinds.js'
import { perMille } from './frequency.js'
import type { Population } from './population.js'
import type { Random } from './random.js'
import { type Member, surfaceOf, surfaceOfObject } from './surface.js'

/** Of objects without a class, those of which there is one to look at. */
export function membersHere(population: Population, random: Random): Member[] {
  return [
    ...surfaceOf(EXPORTS),
    ...SHAPED.flatMap((kind) => {
      const example = population.value(kind, random)
      return example === undefined ? [] : surfaceOfObject(kind, example)
    }),
  ]
}

export function describeMembers(members: readonly Member[]): string {
  return `${members.length} members of ${CLASSES.size} classes and ${SHAPED.length} other objects`
}

/** Draws a member, those that cost much more seldom. */
export function drawMember(members: readonly Member[], random: Random): Member {
  for (;;) {
    const member = random.of(members)
    const often = perMille(member.name)
    if (often === 1000 || random.below(1000) < often) return member
  }
}
