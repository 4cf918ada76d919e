// What the fuzzer must not do, because it is valid and harms the machine instead of finding a bug: memory by the terabyte,
// waits without an end, descriptors of others, registers with which a device starts DMA or brings QEMU down.
import { openSync } from 'node:fs'

import type { Vcpu } from '../../ts/kvm/index.js'
import { socketPath } from './makers/served.js'
import { rooted } from './makers/tree.js'
import type { Random } from './random.js'
import type { Member } from './surface.js'
import type { Target } from './target.js'

/** Registers not to be written, by device and region: [first byte, byte behind the last]. */
const NO_WRITE: Record<string, Record<string, readonly (readonly [number, number])[]>> = {
  // The factorial of a large number occupies QEMU for seconds; the DMA registers abort it when they are wrong.
  edu: {
    bar0: [
      [0x08, 0x10],
      [0x80, 0xa0],
    ],
  },
  edu2: {
    bar0: [
      [0x08, 0x10],
      [0x80, 0xa0],
    ],
  },
  // Receive and transmit set-up, whose rings QEMU walks for a long time when they make no sense; bar2 leads there too.
  e1000e: {
    bar0: [
      [0x100, 0x108],
      [0x400, 0x408],
      [0x2000, 0x4000],
      [0x5000, 0x6000],
    ],
    bar2: [[0, 0x40]],
  },
  // The controller's enable bit: without bus master its queues cannot be read.
  nvme: { bar0: [[0x10, 0x18]] },
}

/** The command register: bus mastering stays off where a device could then move data. */
const COMMAND: readonly [number, number] = [4, 6]

/** Devices that never read or write memory, or only that which they are shown. */
const HARMLESS: ReadonlySet<string | null> = new Set(['ivshmem', 'testdev', 'served', null])

/** Above every number that is open. */
const FREE_DESCRIPTOR = 1_000_000
const LARGEST = 1 << 20
const LONGEST_MICROS = 300
const MOST_SIDE = 65_535
const LARGEST_SIDE = 2048

function clampSize(value: unknown, most: number): unknown {
  if (typeof value === 'number' && Number.isInteger(value) && value > most && value <= 2 ** 53)
    return value % most
  return value
}

/** Pixels, of those that are taken: two of the largest sides are 16 GiB. */
function clampSide(value: unknown): unknown {
  return typeof value === 'number' && value <= MOST_SIDE ? clampSize(value, LARGEST_SIDE) : value
}

/** As the callee will see it: no getter that gives another value the second time. */
function clampOption(value: unknown, key: string, most: number): void {
  if (typeof value !== 'object' || value === null || !Object.hasOwn(value, key)) return
  const clamped = clampSize(Reflect.get(value, key), most)
  Object.defineProperty(value, key, { value: clamped, writable: true, enumerable: true, configurable: true })
}

function writes(member: Member): number | null {
  const scalar = /^write(8|16|32|64)/.exec(String(member.key))
  if (scalar !== null) return Number(scalar[1]) / 8
  return member.key === 'write' ? 0 : null
}

function spansOf(target: Target): readonly (readonly [number, number])[] {
  const region = (target.value as { name?: unknown }).name
  if (region === 'config') return HARMLESS.has(target.device) ? [] : [COMMAND]
  return NO_WRITE[target.device ?? '']?.[String(region)] ?? []
}

/** A descriptor that the callee may take over: nobody else's. */
function ownDescriptor(): number {
  return openSync('/dev/null', 'r')
}

/**
 * Makes the arguments harmless. `adopted` collects descriptors that were made for the call and have to be closed if it
 * does not take them.
 */
export function limit(
  member: Member,
  target: Target | null,
  args: unknown[],
  random: Random,
  adopted: number[],
): void {
  const { name, key } = member
  limitDescriptors(member, args, random, adopted)
  if (name === 'UserDeviceServer.listen' && typeof args[0] === 'string') args[0] = socketPath(args[0])
  if (/\.(create|allocate|allocateSync)$/.test(name)) args[0] = clampSize(args[0], LARGEST)
  if (name === 'DrmCard.prototype.createBuffer') for (const at of [0, 1]) args[at] = clampSide(args[at])
  if (/\.poll(32|64)$/.test(name)) clampOption(args[1], 'timeoutMicros', LONGEST_MICROS)
  // Blocking waits, wherever they appear: a number is a time in milliseconds, none is for ever.
  if (/\.wait\w*$/.test(name)) {
    const forEver = args[0] === undefined || args[0] === Infinity
    args[0] = forEver ? 1 : clampSize(args[0], 5)
  }
  // Nothing of this machine's is changed.
  if (HOST_OPTIONS[name] !== undefined) args[HOST_OPTIONS[name]] = rooted(args[HOST_OPTIONS[name]], random)
  if (target === null) return
  // A guest may run for ever, or sleep: the kick ends that, and comes before.
  if (name === 'Vcpu.prototype.run') kick(target.value as Vcpu)
  if (target.kind === 'PciCommand' && member.action === 'set' && !HARMLESS.has(target.device)) {
    if (key === 'busMaster') args[0] = false
    if (key === 'raw' && typeof args[0] === 'number') args[0] = Math.trunc(args[0]) & ~4
  }
  if (name === 'DeviceFeatures.prototype.busMaster' && !HARMLESS.has(target.device)) args[0] = false
  if (target.kind === 'Region') limitWrite(member, target, args)
}

/** Where the options are of what changes the host, or plans to. */
const HOST_OPTIONS: Readonly<Record<string, number>> = { plan: 1, apply: 1, undo: 1, listChanges: 0 }

/** What takes a descriptor over. */
const TAKING: ReadonlySet<string> = new Set(['fromFd', 'fromListenFd', 'adoptVcpu'])

function limitDescriptors(member: Member, args: unknown[], random: Random, adopted: number[]): void {
  const { key, name } = member
  const isNumber = Number.isInteger(args[0]) && (args[0] as number) >= 0 && (args[0] as number) < 2 ** 31
  if (!isNumber) return
  // KVM keeps what it is told of, and a group that it keeps does not open again.
  if (member.owner === 'VmVfio') args[0] = FREE_DESCRIPTOR + random.below(1000)
  if (!TAKING.has(String(key)) && name !== 'VfioDevice.connect') return
  args[0] = random.chance(0.5) ? FREE_DESCRIPTOR + random.below(1000) : ownDescriptor()
  if ((args[0] as number) < FREE_DESCRIPTOR) adopted.push(args[0] as number)
}

function limitWrite(member: Member, target: Target, args: unknown[]): void {
  // Whoever signals its eventfd writes.
  const width = member.key === 'ioeventfd' ? 8 : writes(member)
  if (width === null) return
  const offset = args[0]
  if (typeof offset !== 'number') return
  const length = width === 0 ? ((args[1] as { byteLength?: number } | undefined)?.byteLength ?? 0) : width
  if (spansOf(target).some(([first, end]) => offset < end && offset + length > first)) args[0] = -1
}

function kick(vcpu: Vcpu): void {
  if (!vcpu.closed) vcpu.kick()
}
