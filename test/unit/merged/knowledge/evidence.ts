// Evidence for rules, of a host that has nothing but what a test gives it.

import type { Evidence } from '../../../../ts/merged/knowledge/rule.js'
import { supposedEvidence } from '../../../../ts/merged/knowledge/supposed.js'

/** Nothing is known. */
export const NOTHING: Evidence = supposedEvidence({})

export const evidence = (known: Partial<Evidence>): Evidence => ({ ...NOTHING, ...known })
