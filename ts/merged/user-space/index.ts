// The ways to give guests a virtual GPU that a process of the host makes, while the host keeps the real one: each with its answer.

import type { UserSpaceFinding } from '../types.js'
import { mediated } from './mediated.js'
import { nativeContext } from './native-context.js'
import { venus } from './venus.js'
import { virgl } from './virgl.js'
import type { WayFacts, WayRules } from './way.js'

/** By what guests get: pictures, OpenGL, Vulkan, the GPU's own commands. */
const WAYS: readonly WayRules[] = [mediated, virgl, venus, nativeContext]

export const userSpaceWays = (facts: WayFacts): UserSpaceFinding[] =>
  WAYS.map(({ name, judge }) => ({ way: name, ...judge(facts) }))
