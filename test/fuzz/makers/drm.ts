// Makes what node-vfio/drm has: on the rig's card in software, which nobody looks at; without one, over a strange handle. A card of a
// real host is never touched.
import { existsSync, readdirSync } from 'node:fs'

import { CardBuffer, dmaBufOf, DrmCard, type Framebuffer } from '../../../ts/drm/index.js'
import { GuestMemory } from '../../../ts/index.js'
import { addon } from '../../../ts/native/index.js'
import { CLASSES } from '../kinds.js'
import { ON_HOST } from '../options.js'
import type { Population } from '../population.js'
import type { Random } from '../random.js'

const CARDS = '/dev/dri'
const SIDE = 64
const UDMABUF = existsSync('/dev/udmabuf')

interface Screen {
  readonly path: string
  readonly crtc: number
  readonly connector: number
  readonly mode: object
}

function findScreen(): Screen | undefined {
  if (ON_HOST || !existsSync(CARDS)) return undefined
  for (const name of readdirSync(CARDS).filter((each) => each.startsWith('card'))) {
    using card = DrmCard.open(`${CARDS}/${name}`)
    const connector = card.connectors().find(({ connected }) => connected)
    const mode = connector?.modes[0]
    const crtc = connector?.crtcs[0]
    if (card.driver === 'vkms' && connector !== undefined && mode !== undefined && crtc !== undefined)
      return { path: `${CARDS}/${name}`, crtc, connector: connector.id, mode }
  }
  return undefined
}

/** The card in software, and what it shows pictures on. */
export const SCREEN = findScreen()

/** What has real instances on that card only. */
export const DRM_KINDS = ['DrmCard', 'CardBuffer', 'Framebuffer']

function construct(kind: string, ...args: unknown[]): object {
  return Reflect.construct(CLASSES.get(kind) as unknown as new (...args: unknown[]) => object, args)
}

function standIn(kind: string): object {
  // A buffer asks for its size as it is made, which no strange handle tells.
  if (kind === 'CardBuffer') return Object.create(CardBuffer.prototype) as object
  return construct(
    kind,
    addon().memoryCreate(4096, 0, null),
    ...(kind === 'DrmCard' ? ['fake'] : [8, 8, 'xrgb8888']),
  )
}

export async function makeDrm(
  population: Population,
  random: Random,
  missing: (kind: string) => boolean,
): Promise<void> {
  if (SCREEN === undefined) {
    for (const kind of DRM_KINDS) if (missing(kind)) await population.admit(standIn(kind), null)
    return
  }
  if (UDMABUF && missing('DmaBufFile')) {
    using memory = GuestMemory.create(SIDE * SIDE * 4)
    await population.admit(dmaBufOf([{ memory, offset: 0, size: memory.size }]), null)
  }
  if (!DRM_KINDS.some(missing)) return
  const card = DrmCard.open(SCREEN.path)
  const buffer = card.createBuffer(SIDE, 1 + random.below(SIDE))
  const framebuffer: Framebuffer = buffer.framebuffer()
  for (const made of [card, buffer, framebuffer]) await population.admit(made, null)
}
