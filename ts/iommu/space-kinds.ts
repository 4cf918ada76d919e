// The kinds of address spaces that Workers can share, by the tag that their backends put into a token.
import type { NativeHandle } from '../native/index.js'
import type { OpenedSpace, SpaceBackend } from './backend.js'
import { containerBackend } from './kernel/open.js'
import { IoasBackend } from './kernel/ioas.js'
import { CONTAINER_IOMMUS } from './kernel/type1.js'

export interface SpaceKind {
  /** What the addon calls the object behind such a space. */
  readonly native: string
  /** What stands behind the space in the environment that claims it. */
  over(own: () => NativeHandle, details: Readonly<Record<string, unknown>>): SpaceBackend
}

export const spaceKinds = new Map<unknown, SpaceKind>([
  [
    'container',
    {
      native: 'AddressSpace',
      over: (own, { wanted }) =>
        containerBackend(
          own,
          CONTAINER_IOMMUS.find((type) => type === wanted),
        ),
    },
  ],
  ['iommufd', { native: 'Ioas', over: (own) => new IoasBackend(own) }],
])

/** The kind that a token's `backend` names. */
export function spaceKindOf({ backend }: Readonly<Record<string, unknown>>): SpaceKind {
  const kind = spaceKinds.get(backend)
  if (kind === undefined) throw new TypeError('token must come from share()')
  return kind
}

/** The space that a token tells of, of which this environment holds the native object. */
export function claimedSpace(native: NativeHandle, tag: Readonly<Record<string, unknown>>): OpenedSpace {
  return { native, backend: (own) => spaceKindOf(tag).over(own, tag) }
}
