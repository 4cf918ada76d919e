// Makes what is missing, so that every member finds something to be called on.
import { existsSync } from 'node:fs'

import { VfioError } from '../../../ts/index.js'
import { Finding } from '../judge.js'
import { DEVICES, ON_HOST } from '../options.js'
import type { Population } from '../population.js'
import type { Random } from '../random.js'
import { makeDevices } from './devices.js'
import { DRM_KINDS, SCREEN, makeDrm } from './drm.js'
import { makeIommufd } from './iommufd.js'
import { WITH_DIRTY_RING, WITH_GUEST_MEMFD, WITH_KVM, makeMachines } from './machines.js'
import { makeServed } from './served.js'
import { makeSignals } from './signals.js'
import { HOLLOW, makeStandIns, makeWithoutDevices } from './stand-ins.js'
import { tendTree } from './tree.js'
import { makeVmmParts } from './vmm-parts.js'

const KEEP_OPEN = 3
/** Rounds in which a device does not open: what may hold it is let go, and then it must. */
const LET_GO_AFTER = 60
const LOST_AFTER = 300

const IOMMUFD = existsSync('/dev/iommu')

/** What only the mock devices of the rig's own kernel have. */
const HOLLOWS = IOMMUFD && !ON_HOST ? [] : HOLLOW

/** Why a class has no instance of its own here, and objects over a strange handle take its place. */
export const STAND_INS: Readonly<Record<string, string>> = {
  ...without('only mediated devices and some drivers have it', [
    ...['MigrationStream', 'GfxEdid', 'DeviceGfx', 'DeviceMigration'],
  ]),
  ...(SCREEN === undefined
    ? without('this kernel has no card in software', [...DRM_KINDS, 'DmaBufFile'])
    : {}),
  ...(IOMMUFD ? {} : without('this kernel has no iommufd', ['Iommufd', 'HwptDirtyTracking'])),
  ...without('without a kernel that has iommufd and its mock devices', HOLLOWS),
}

const MACHINE_KINDS = [
  ...['Kvm', 'Vm', 'Vcpu', 'MemorySlot', 'GsiRouting', 'VmVfio', 'MemoryListener', 'MsiRoute', 'PinRoute'],
  ...['Irqfd', 'MsiWire', 'DoorbellWire', 'IntxWire', 'PciPassthrough'],
  ...['VmState', 'VcpuMsrs', 'VcpuState', 'VcpuTsc', 'VcpuInterrupts', 'CoalescedZone'],
  ...['VcpuLoop', 'PluggedDevice'],
]
const DEVICE_KINDS = [
  ...['VfioDevice', 'DeviceFeatures', 'LowPower', 'DmaLogging', 'HotReset', 'AddressSpace', 'DirtyTracking'],
  ...['DmaBuffer', 'DeviceIoeventfd', 'IntxWire', 'PciPassthrough', 'DeviceBroker'],
]

/** Classes of which there can be no object at all here, with the reason. */
export const WITHOUT_INSTANCE: Readonly<Record<string, string>> = {
  ...(WITH_GUEST_MEMFD ? {} : without('this KVM has no guest_memfd', ['GuestMemfd'])),
  ...(WITH_DIRTY_RING ? {} : without('this KVM has no dirty rings', ['DirtyRing'])),
  ...(WITH_KVM ? {} : without('no /dev/kvm here', MACHINE_KINDS)),
  ...(ON_HOST ? without('no devices here', DEVICE_KINDS) : {}),
}

function without(reason: string, kinds: readonly string[]): Record<string, string> {
  return Object.fromEntries(kinds.map((kind) => [kind, reason]))
}

export class Makers {
  readonly #population: Population
  readonly #random: Random
  readonly #missed = new Map<string, number>()

  constructor(population: Population, random: Random) {
    this.#population = population
    this.#random = random
  }

  async refill(): Promise<void> {
    const population = this.#population
    population.prune()
    const missing = (kind: string): boolean => population.count(kind) < KEEP_OPEN
    await makeSignals(population, missing)
    await tolerantly(() => makeDrm(population, this.#random, missing))
    await makeStandIns(population, this.#random, missing, HOLLOWS)
    await makeServed(population, this.#random, missing)
    tendTree()
    if (ON_HOST) {
      await makeWithoutDevices(population, this.#random, missing)
    } else {
      await tolerantly(() => makeDevices(population))
      await this.#watch()
      await tolerantly(() => makeIommufd(population, missing))
    }
    await tolerantly(() => makeMachines(population, this.#random))
    await tolerantly(() => makeVmmParts(population, this.#random))
  }

  /** A device that does not come back is lost, unless something of the fuzzer's has it. */
  async #watch(): Promise<void> {
    for (const name of DEVICES) {
      const there = this.#population.of('VfioDevice').some(({ device }) => device === name)
      const missed = there ? 0 : (this.#missed.get(name) ?? 0) + 1
      this.#missed.set(name, missed)
      if (missed === LET_GO_AFTER)
        await this.#population.closeKinds(['PciPassthrough', 'Vcpu', 'Vm', 'Iommufd'])
      if (missed >= LOST_AFTER) throw new Finding(`${name} does not open any more: something holds it`)
    }
  }
}

/** What is taken, asleep or closed just now is there another time. */
async function tolerantly(make: () => Promise<void>): Promise<void> {
  try {
    await make()
  } catch (error) {
    if (!(error instanceof VfioError) && !(error instanceof RangeError)) throw error
  }
}
