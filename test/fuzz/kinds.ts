// What the package exports, all modules together, and what an object of it is: an instance of which class or, where no class is
// exported, what its shape says. It must not make or call anything.
import * as drm from '../../ts/drm/index.js'
import * as host from '../../ts/host/index.js'
import * as vfio from '../../ts/index.js'
import * as kvm from '../../ts/kvm/index.js'
import * as merged from '../../ts/merged/index.js'
import * as user from '../../ts/vfio-user/index.js'
import * as vmm from '../../ts/vmm/index.js'
import { isClass } from './surface.js'

const MODULES: readonly Record<string, unknown>[] = [drm, host, vfio, kvm, merged, user, vmm]

/** Every export of every module, by name. */
export const EXPORTS: Record<string, unknown> = Object.assign({}, ...MODULES) as Record<string, unknown>

for (const module of MODULES) {
  for (const [name, value] of Object.entries(module))
    if (EXPORTS[name] !== value) throw new Error(`two modules export different things as ${name}`)
}

type Class = (abstract new (...args: never[]) => object) & { prototype: object }

export const CLASSES: ReadonlyMap<string, Class> = new Map(
  Object.entries(EXPORTS).filter((entry): entry is [string, Class] => isClass(entry[1])),
)

type Shape = (value: object) => boolean

/** Objects of no exported class, by the name they go under; the first shape that fits counts. */
const SHAPES: Readonly<Record<string, Shape>> = {
  EventIterator: (value) => 'next' in value && Symbol.asyncIterator in value,
  DirtyTracking: (value) => 'bitmap' in value && 'start' in value,
  InterruptListener: (value) => 'close' in value && Symbol.dispose in value,
  MsiRoute: (value) => 'gsi' in value && 'update' in value,
  Irqfd: (value) => 'gsi' in value && 'closed' in value,
  PinRoute: (value) => 'gsi' in value && 'close' in value,
  VmVfio: (value) => Object.keys(value).join() === 'add,remove',
  CoalescedZone: (value) => Object.keys(value).join() === 'closed,close',
  MemoryListener: (value) => Object.keys(value).join() === 'close',
}

export const SHAPED: readonly string[] = Object.keys(SHAPES)

export function kindOf(value: object): string | undefined {
  // Its own class before those that it extends.
  for (const [name, { prototype }] of CLASSES) if (Object.getPrototypeOf(value) === prototype) return name
  for (const [name, { prototype }] of CLASSES)
    if (Object.prototype.isPrototypeOf.call(prototype, value)) return name
  return SHAPED.find((name) => SHAPES[name]?.(value))
}
