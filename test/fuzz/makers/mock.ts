// Makes what hangs on a virtual IOMMU, on a mock device of the kernel's own iommufd tests: no IOMMU that QEMU emulates has one.
import * as vfio from '../../../ts/index.js'
import { Mock, NESTED, PAGE, SELFTEST, VEVENT_SELFTEST } from '../../rig/built/mock.js'
import type { Population } from '../population.js'

interface Ground {
  readonly mock: Mock
  readonly parent: vfio.Hwpt
  readonly memory: vfio.DmaBuffer
  devices: bigint
}

// The kernel keeps these as long as anything hangs on them, so they are made once, and are there before the first count.
let ground: Ground | undefined

async function groundOf(): Promise<Ground> {
  if (ground !== undefined) return ground
  const iommufd = vfio.Iommufd.open()
  const space = vfio.AddressSpace.open({ iommufd })
  iommufd.close()
  const mock = new Mock(space)
  const parent = vfio.Hwpt.allocate(mock, space, { nestParent: true })
  return (ground = { mock, parent, memory: await space.allocate(PAGE), devices: 0n })
}

export async function makeMocked(population: Population, missing: (kind: string) => boolean): Promise<void> {
  const { mock, parent, memory } = await groundOf()
  const admit = (made: object): Promise<void> => population.admit(made, null)
  if (missing('Viommu')) await admit(vfio.Viommu.allocate(mock, parent, { type: SELFTEST }))
  const viommu = population.of('Viommu').find(({ value }) => !(value as vfio.Viommu).closed)?.value as
    vfio.Viommu | undefined
  if (viommu === undefined) return
  if (missing('Hwpt')) await admit(vfio.Hwpt.allocate(mock, viommu, { data: NESTED }))
  if (missing('EventQueue'))
    await admit(vfio.EventQueue.allocate(viommu, { type: VEVENT_SELFTEST, depth: 2, entryLength: 4 }))
  if (missing('HwQueue')) {
    const place = { iova: memory.iova, length: BigInt(PAGE) }
    await admit(vfio.HwQueue.allocate(viommu, { type: SELFTEST, index: 0, ...place }))
  }
  if (population.count('Vdevice') === 0) {
    const made = vfio.Vdevice.allocate(viommu, mock, ++ground!.devices)
    await admit(made)
  }
  mock.event()
}
