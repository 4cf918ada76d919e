// `vfio read` and `vfio write`: one access of one width to one register.
import type { PciRegionName, Region } from '../device/region.js'
import type { CliContext } from './context.js'
import { hex } from './format.js'
import { given } from './given.js'
import { reach } from './reach.js'

export type Width = 1 | 2 | 4 | 8

interface Access {
  read(region: Region, offset: number): number | bigint
  write(region: Region, offset: number, value: bigint): void
}

export const ACCESS: Record<Width, Access> = {
  1: {
    read: (region, offset) => region.read8(offset),
    write: (region, offset, value) => region.write8(offset, Number(value)),
  },
  2: {
    read: (region, offset) => region.read16(offset),
    write: (region, offset, value) => region.write16(offset, Number(value)),
  },
  4: {
    read: (region, offset) => region.read32(offset),
    write: (region, offset, value) => region.write32(offset, Number(value)),
  },
  8: {
    read: (region, offset) => region.read64(offset),
    write: (region, offset, value) => region.write64(offset, value),
  },
}

export interface RegisterOptions {
  readonly region: PciRegionName | number
  readonly offset: number
  readonly width: Width
}

/** Opens a device for the time of what is done with one of its regions. */
export async function withRegion(
  context: CliContext,
  id: string,
  name: PciRegionName | number,
  use: (region: Region) => void | Promise<void>,
): Promise<void> {
  const device = await reach(id, context)
  try {
    await use(given(() => device.region(name)))
  } finally {
    await device.close()
  }
}

export async function read(context: CliContext, id: string, options: RegisterOptions): Promise<void> {
  const { offset, width } = options
  await withRegion(context, id, options.region, (region) => {
    const value = given(() => ACCESS[width].read(region, offset))
    context.out(`${hex(value, width * 2)}\n`)
  })
}

export async function write(
  context: CliContext,
  id: string,
  options: RegisterOptions & { readonly value: bigint },
): Promise<void> {
  const { offset, width, value } = options
  await withRegion(context, id, options.region, (region) => {
    given(() => ACCESS[width].write(region, offset, value))
  })
}
