// What not every space has: asked for here, so that its absence is one error, in words.
import { EOPNOTSUPP, VfioError } from '../errors.js'
import type { NativeHandle } from '../native/index.js'
import type { SpaceBackend, SpaceCopies, SpaceFiles, SpaceIoas } from './backend.js'

function lacking(call: string): VfioError {
  return new VfioError(EOPNOTSUPP, call, {
    remedy: "Only an address space of iommufd has it: AddressSpace.open({ iommu: 'iommufd' }).",
  })
}

/** What a space can do with files. @throws VfioError EOPNOTSUPP for one that can do nothing */
export function filesOf({ files }: SpaceBackend, call: string): SpaceFiles {
  if (files === undefined) throw lacking(call)
  return files
}

/** What a space can take from another. @throws VfioError EOPNOTSUPP for one that takes nothing */
export function copiesOf(backend: SpaceBackend, call: string): SpaceCopies {
  const { copies } = filesOf(backend, call)
  if (copies === undefined) throw lacking(call)
  return copies
}

/** What is special to a space of iommufd. @throws VfioError EOPNOTSUPP for any other */
export function ioasOf({ ioas }: SpaceBackend, call: string): SpaceIoas {
  if (ioas === undefined) throw lacking(call)
  return ioas
}

/** Puts an IOMMU group in. @throws VfioError EOPNOTSUPP for a space whose devices do not come by their groups */
export function attachGroup(backend: SpaceBackend, group: NativeHandle): void {
  if (backend.attachGroup === undefined) {
    throw new VfioError(EOPNOTSUPP, 'VFIO_GROUP_SET_CONTAINER', {
      remedy:
        backend.ioas === undefined
          ? 'A group needs a container, and this space is none.'
          : 'A group needs a container, and this space is an IOAS: open the device by its own node.',
    })
  }
  backend.attachGroup(group)
}
