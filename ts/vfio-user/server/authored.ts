// A device that is written in TypeScript, as a session asks it: passes on to its parts what messages ask for. Decides nothing.
import { closeSync } from 'node:fs'

import type { DeviceDma } from './dma.js'
import { callFeature } from './features.js'
import type { Interrupts } from './interrupts.js'
import type { MigrationMachine } from './migration.js'
import type { UserDeviceOptions } from './options.js'
import type { PlacedRegion } from './placement.js'
import type { ServedRegion } from './region.js'
import type { BelledPart } from './region-kinds.js'
import type { RegionFile, ServedDevice, ServedMemory } from './served.js'

/** What a UserDevice is made of, as far as sessions come to it. */
export interface AuthoredParts {
  readonly options: UserDeviceOptions
  readonly regions: readonly ServedRegion[]
  readonly placed: readonly PlacedRegion[]
  readonly bells: readonly BelledPart[]
  readonly interrupts: Interrupts
  readonly migration: MigrationMachine | null
  readonly resetState: () => void
}

function memoryOf(dma: DeviceDma): ServedMemory {
  return {
    map(map, fd) {
      try {
        dma.map(map, fd)
      } finally {
        // What is mapped stays mapped.
        if (fd !== undefined) closeSync(fd)
      }
    },
    unmap: (unmap) => dma.unmap(unmap),
    get logging() {
      return dma.logging
    },
    takeDirty: (iova, size, pageSize) => dma.takeDirty(iova, size, pageSize),
  }
}

function fileOf(placed: readonly PlacedRegion[], index: number): RegionFile | null {
  const place = placed.find((each) => each.index === index)
  if (place === undefined || place.memory === null || place.areas?.length === 0) return null
  return { fd: place.memory.fd, offset: place.memoryOffset, areas: place.areas }
}

export function authoredDevice(name: string, dma: DeviceDma, parts: AuthoredParts): ServedDevice {
  const { options, regions, placed, bells, interrupts, migration, resetState } = parts
  return {
    name,
    // Always: QEMU resets with its machine then. cloud-hypervisor resets the others.
    resettable: true,
    regions,
    bells,
    interrupts,
    memory: memoryOf(dma),
    migration,
    told: options,
    file: (index) => fileOf(placed, index),
    connect: ({ windows, messages, mostMaps }) => {
      dma.attach({ windows: windows(), messages, mostMaps })
    },
    disconnect: () => {
      interrupts.disconnect()
      dma.detach()
    },
    reset: () => {
      resetState()
      migration?.reset()
      return options.onReset?.()
    },
    feature: (call, data) => callFeature({ dma, migration }, call, data),
  }
}
