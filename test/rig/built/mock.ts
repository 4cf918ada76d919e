// The mock devices and page tables of the kernel's own iommufd tests (CONFIG_IOMMUFD_TEST), as its iommufd_test.h lays out the
// commands.
import { closeSync, fstatSync, readFileSync } from 'node:fs'

import {
  AddressSpace,
  type DirtyBitmap,
  GuestMemory,
  type Hwpt,
  Iommufd,
  type IommufdDevice,
} from '../../../ts/index.js'
import { addon } from '../../../ts/native/index.js'

const TEST_COMMAND = 0xa0
/** IOMMU_TEST_OP_* */
const OP = {
  addReserved: 1,
  checkMap: 3,
  checkRefs: 4,
  createAccess: 5,
  destroyAccessPages: 6,
  accessPages: 7,
  accessRw: 8,
  setTempMemoryLimit: 9,
  replace: 10,
  accessReplaceIoas: 11,
  mockDomainFlags: 12,
  dirty: 13,
  checkIotlb: 14,
  triggerIopf: 15,
  triggerVevent: 17,
} as const
/** IOMMU_VIOMMU_TYPE_SELFTEST, IOMMU_VEVENTQ_TYPE_SELFTEST, and the data of a nested page table (IOMMU_HWPT_DATA_SELFTEST). */
export const SELFTEST = 0xdeadbeef
export const VEVENT_SELFTEST = 0xbeefbeef
export const NESTED = { type: 0xdead, bytes: new Uint8Array(Uint32Array.of(0xbadbeef).buffer) }
export const PAGE = 4096
export const MOCK_PAGE = 2048
/** MOCK_FLAGS_DEVICE_NO_DIRTY, MOCK_FLAGS_DEVICE_PASID */
export const NO_DIRTY = 1
export const HAS_PASID = 4
/** MOCK_APERTURE_START, MOCK_APERTURE_LAST: what its page tables translate. */
export const APERTURE = 1n << 24n
export const APERTURE_LAST = (1n << 31n) - 1n

/** IOMMU_TEST_CMD: what the mock devices are told. */
function command(iommufd: Iommufd, op: number, id: number, fill: (view: DataView) => void): DataView {
  const bytes = new Uint8Array(72)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, bytes.length, true)
  view.setUint32(4, op, true)
  view.setUint32(8, id, true)
  fill(view)
  addon().iommufdCall(iommufd.native, TEST_COMMAND, bytes)
  return view
}

/** Where this process has a memory, which the mock devices must be told and nobody else needs to know. */
function addressOf(memory: GuestMemory): bigint {
  // Makes the mapping.
  new Uint8Array(memory.buffer)
  const { ino } = fstatSync(memory.fd)
  const line = readFileSync('/proc/self/maps', 'utf8')
    .split('\n')
    .find((each) => each.split(/\s+/)[4] === String(ino))
  if (line === undefined) throw new Error(`no mapping of inode ${String(ino)}`)
  return BigInt(`0x${line.split('-')[0] ?? ''}`)
}

/** Keeps a range of a space for a device's own use, as those of message-signalled interrupts are kept. */
export function reserve(space: AddressSpace, start: bigint, length: bigint): void {
  command(space.iommufd as Iommufd, OP.addReserved, space.ioasId as number, (view) => {
    view.setBigUint64(16, start, true)
    view.setBigUint64(24, length, true)
  })
}

/** How much memory the kernel takes for a list of pages at a time: with little of it, it goes in many small steps. */
export function limitMemory(iommufd: Iommufd, bytes = 65_536): void {
  command(iommufd, OP.setTempMemoryLimit, 0, (view) => {
    view.setUint32(16, bytes, true)
  })
}

/** Throws unless each page of a memory's part is pinned exactly so often. */
export function checkPins(
  iommufd: Iommufd,
  memory: GuestMemory,
  offset: number,
  length: number,
  pins: number,
): void {
  command(iommufd, OP.checkRefs, 0, (view) => {
    view.setBigUint64(16, BigInt(length), true)
    view.setBigUint64(24, addressOf(memory) + BigInt(offset), true)
    view.setUint32(32, pins, true)
  })
}

/** A driver inside the kernel that reaches the memory of a space by itself, as those of mediated devices do. */
export class Access {
  #iommufd: Iommufd
  readonly #fd: number

  /** @param pins whether it keeps pages, by `pin` */
  constructor(space: AddressSpace, pins: boolean) {
    this.#iommufd = space.iommufd as Iommufd
    const view = command(this.#iommufd, OP.createAccess, space.ioasId as number, (each) => {
      each.setUint32(20, pins ? 1 : 0, true)
    })
    this.#fd = view.getInt32(16, true)
  }

  /** Copies from an IOVA into a memory, or out of it with `write`; `slow` page by page. */
  copy(iova: bigint, memory: GuestMemory, length: number, flags: { write?: boolean; slow?: boolean }): void {
    command(this.#iommufd, OP.accessRw, this.#fd, (view) => {
      view.setBigUint64(16, iova, true)
      view.setBigUint64(24, BigInt(length), true)
      view.setBigUint64(32, addressOf(memory), true)
      view.setUint32(40, (flags.write === true ? 1 : 0) | (flags.slow === true ? 4 : 0), true)
    })
  }

  /** Keeps the pages of a range, which must be those of that memory; a number to let them go by. */
  pin(iova: bigint, memory: GuestMemory, length: number): number {
    const view = command(this.#iommufd, OP.accessPages, this.#fd, (each) => {
      each.setBigUint64(24, iova, true)
      each.setBigUint64(32, BigInt(length), true)
      each.setBigUint64(40, addressOf(memory), true)
    })
    return view.getUint32(20, true)
  }

  unpin(pages: number): void {
    command(this.#iommufd, OP.destroyAccessPages, this.#fd, (view) => {
      view.setUint32(16, pages, true)
    })
  }

  moveTo(space: AddressSpace): void {
    command(this.#iommufd, OP.accessReplaceIoas, this.#fd, (view) => {
      view.setUint32(16, space.ioasId as number, true)
    })
    this.#iommufd = space.iommufd as Iommufd
  }

  close(): void {
    closeSync(this.#fd)
  }
}

/** The numbers of the pages that are marked. */
export function marked(bitmap: DirtyBitmap): number[] {
  return Array.from({ length: bitmap.pages }, (_, page) => page).filter((page) => bitmap.has(page))
}

export class Mock implements IommufdDevice {
  readonly iommufdId: number
  /** The page table that it came on. */
  readonly hwptId: number
  readonly #stdev: number
  readonly addressSpace: AddressSpace
  readonly iommufd: Iommufd

  constructor(space: AddressSpace, flags = 0) {
    this.addressSpace = space
    this.iommufd = space.iommufd as Iommufd
    const view = command(this.iommufd, OP.mockDomainFlags, space.ioasId as number, (each) => {
      each.setUint32(28, flags, true)
    })
    this.#stdev = view.getUint32(16, true)
    this.hwptId = view.getUint32(20, true)
    this.iommufdId = view.getUint32(24, true)
  }

  close(): void {
    const bytes = new Uint8Array(8)
    const view = new DataView(bytes.buffer)
    view.setUint32(0, 8, true)
    view.setUint32(4, this.#stdev, true)
    addon().iommufdCall(this.iommufd.native, 0x80, bytes)
  }

  /** Throws unless the page table has this part of the memory at the IOVA. */
  checkMap(memory: GuestMemory, offset: number, length: number, iova: bigint): void {
    command(this.iommufd, OP.checkMap, this.hwptId, (view) => {
      view.setBigUint64(16, iova, true)
      view.setBigUint64(24, BigInt(length), true)
      view.setBigUint64(32, addressOf(memory) + BigInt(offset), true)
    })
  }

  iotlb(hwpt: Hwpt, index: number, expected: number): void {
    command(this.iommufd, OP.checkIotlb, hwpt.id, (view) => {
      view.setUint32(16, index, true)
      view.setUint32(20, expected, true)
    })
  }

  pageRequest(address: bigint, permissions = 3, pasid = 0): void {
    command(this.iommufd, OP.triggerIopf, 0, (view) => {
      view.setUint32(16, this.iommufdId, true)
      view.setUint32(20, pasid, true)
      view.setUint32(24, 7, true)
      view.setUint32(28, permissions, true)
      view.setBigUint64(32, address, true)
    })
  }

  /** Puts the device on a page table, or on an IOAS, by its number. */
  attach(id: number): void {
    command(this.iommufd, OP.replace, this.#stdev, (view) => {
      view.setUint32(16, id, true)
    })
  }

  /** Writes to pages (of 2 KiB) of a range, as a page table that tracks sees it; how many it marked. */
  dirty(hwpt: number, iova: bigint, length: number, pages: readonly number[]): number {
    using bits = GuestMemory.create(Math.ceil(length / MOCK_PAGE / 8))
    const bytes = new Uint8Array(bits.buffer)
    for (const page of pages) bytes[page >> 3] = (bytes[page >> 3] ?? 0) | (1 << (page & 7))
    const view = command(this.iommufd, OP.dirty, hwpt, (each) => {
      each.setBigUint64(24, iova, true)
      each.setBigUint64(32, BigInt(length), true)
      each.setBigUint64(40, BigInt(MOCK_PAGE), true)
      each.setBigUint64(48, addressOf(bits), true)
    })
    return Number(view.getBigUint64(56, true))
  }

  event(): void {
    command(this.iommufd, OP.triggerVevent, this.iommufdId, (view) => {
      view.setUint32(16, this.iommufdId, true)
    })
  }
}

export async function withMock(
  use: (mock: Mock, space: AddressSpace) => void | Promise<void>,
): Promise<void> {
  const iommufd = Iommufd.open()
  const space = AddressSpace.open({ iommufd })
  const mock = new Mock(space)
  try {
    await use(mock, space)
  } finally {
    mock.close()
    await space.close()
    iommufd.close()
  }
}
