// The public surface as it is found at run time: what can be called on what. No member is named here, so that a new one is
// found too; what TypeScript hides and JavaScript does not is read from the sources.
import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

export type Action = 'call' | 'get' | 'set' | 'new'

export interface Member {
  /** `Region.prototype.read32`, `get Region.prototype.faulted`, `EventFd.claim`, `new EventFd`. */
  name: string
  /** The exported class, or null for a function. */
  owner: string | null
  /** Called on an instance, not on the class. */
  onInstance: boolean
  action: Action
  key: string | symbol
}

const SOURCES = fileURLToPath(new URL('../../../ts', import.meta.url))

const MODIFIERS = '(?:(?:static|async|override|readonly|declare|get|set|abstract) +)*'
const HIDDEN_MEMBERS = [
  `@internal[^\\n]*?\\s*\\*/\\s*(?:protected +|private +)?${MODIFIERS}(\\w+)`,
  `^ +protected +${MODIFIERS}(\\w+)`,
].map((pattern) => new RegExp(pattern, 'gm'))
const CLASS = /^(?:export )?(?:abstract )?class (\w+)[\s\S]*?^}/gm

/**
 * What the sources mark `@internal`, `protected` or `private`, which exists at run time all the same: members as `Class.member`. What
 * one class hides another may show.
 */
function hidden(): { members: Set<string>; constructors: Set<string> } {
  const members = new Set<string>()
  const constructors = new Set<string>()
  for (const file of readdirSync(SOURCES, { recursive: true, encoding: 'utf8' })) {
    if (!file.endsWith('.ts')) continue
    for (const [whole, owner = ''] of readFileSync(join(SOURCES, file), 'utf8').matchAll(CLASS)) {
      for (const pattern of HIDDEN_MEMBERS)
        for (const [, name = ''] of whole.matchAll(pattern)) members.add(`${owner}.${name}`)
      if (/(?:private|protected) constructor|@internal[^\n]*?\s*\*\/\s*constructor/.test(whole))
        constructors.add(owner)
    }
  }
  return { members, constructors }
}

const { members: HIDDEN, constructors: MADE_ELSEWHERE } = hidden()

type Class = (abstract new (...args: never[]) => object) & { prototype: object }

export function isClass(value: unknown): value is Class {
  return typeof value === 'function' && /^class\b/.test(Function.prototype.toString.call(value))
}

/** The classes that an object's members come from, itself and its prototypes up to `stop`. */
function layersOf(target: object, stop: object | null): object[] {
  const layers: object[] = []
  for (
    let each: object | null = target;
    each !== null && each !== stop;
    each = Object.getPrototypeOf(each) as object | null
  )
    layers.push(each)
  return layers
}

function nameOfLayer(layer: object): string {
  return isClass(layer)
    ? layer.name
    : ((layer as { constructor?: { name?: string } }).constructor?.name ?? '')
}

function membersOf(target: object, stop: object | null): Map<string | symbol, PropertyDescriptor> {
  const found = new Map<string | symbol, PropertyDescriptor>()
  const layers = layersOf(target, stop)
  const owners = layers.map(nameOfLayer)
  for (const layer of layers) {
    for (const key of Reflect.ownKeys(layer)) {
      const descriptor = Reflect.getOwnPropertyDescriptor(layer, key)
      if (descriptor === undefined || found.has(key)) continue
      if (typeof key === 'string' && owners.some((owner) => HIDDEN.has(`${owner}.${key}`))) continue
      found.set(key, descriptor)
    }
  }
  return found
}

function describe(
  owner: string,
  onInstance: boolean,
  members: Map<string | symbol, PropertyDescriptor>,
): Member[] {
  const found: Member[] = []
  const prefix = onInstance ? `${owner}.prototype` : owner
  for (const [key, { value, get, set }] of members) {
    if (key === 'constructor' || (typeof key === 'string' && key.startsWith('_'))) continue
    if (!onInstance && ['length', 'name', 'prototype'].includes(String(key))) continue
    const path = typeof key === 'symbol' ? `${prefix}[${String(key.description)}]` : `${prefix}.${key}`
    const base = { owner, onInstance, key }
    if (typeof value === 'function') found.push({ ...base, name: path, action: 'call' })
    if (get !== undefined) found.push({ ...base, name: `get ${path}`, action: 'get' })
    if (set !== undefined) found.push({ ...base, name: `set ${path}`, action: 'set' })
  }
  return found
}

/** Everything that a module exports and that can be called. */
export function surfaceOf(exports: Record<string, unknown>): Member[] {
  const found: Member[] = []
  for (const [name, value] of Object.entries(exports)) {
    if (isClass(value)) {
      if (!MADE_ELSEWHERE.has(name))
        found.push({ name: `new ${name}`, owner: name, onInstance: false, action: 'new', key: name })
      const root = value.prototype instanceof Error ? Error.prototype : Object.prototype
      found.push(...describe(name, true, membersOf(value.prototype, root)))
      found.push(
        ...describe(
          name,
          false,
          membersOf(value, value.prototype instanceof Error ? Error : Function.prototype),
        ),
      )
    } else if (typeof value === 'function') {
      found.push({ name, owner: null, onInstance: false, action: 'call', key: name })
    }
  }
  return found
}

/** The methods of an object that comes from no exported class: an iterator, a listener, the dirty tracking. */
export function surfaceOfObject(owner: string, example: object): Member[] {
  return describe(owner, true, membersOf(example, Object.prototype))
}
