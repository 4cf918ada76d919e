// Opening an address space without a kernel that has one: what may be asked for together, and what a missing node means.
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'

import { AddressSpace, Iommufd, VfioError } from '../../../ts/index.js'
import { containerContext, iommufdContext } from '../../../ts/iommu/node-errors.js'
import { temporaryFolder } from '../../temporary.js'
import { held } from '../support.js'

const open = (options: object) => () => AddressSpace.open(options)

test('what excludes what is said before anything is opened', (t) => {
  for (const [options, message] of [
    [{ iommu: 'type3' }, 'iommu must be one of auto, iommufd, type1v2, type1, noiommu, not "type3"'],
    [{ container: 'kvm' }, 'container must be one of vfio, iommufd, not "kvm"'],
    [
      { iommufd: {} },
      'iommufd must be an Iommufd, not an object; if a Worker posted it, post Iommufd.share() there and Iommufd.claim() it here',
    ],
    [{ devRoot: 5 }, 'devRoot must be a string, not 5'],
    [{ dirtyTracking: 1 }, 'dirtyTracking must be a boolean, not 1'],
    [
      { container: 'vfio', iommu: 'iommufd' },
      'container and iommufd exclude each other: a space is in one of the two',
    ],
    [{ ioasId: 1 }, 'ioasId needs iommufd: an id is valid only in its own iommufd'],
    [
      { iommu: 'type1', dirtyTracking: true },
      'dirtyTracking needs iommu iommufd or type1v2: nothing else tracks dirty pages',
    ],
    [
      { container: 'iommufd', dirtyTracking: true },
      'dirtyTracking needs iommu iommufd or type1v2: nothing else tracks dirty pages',
    ],
  ] as const)
    t.throws(open(options), { instanceOf: TypeError, message })
  t.throws(() => AddressSpace.fromFd(-1), { instanceOf: RangeError, message: /^fd must be/ })
  t.throws(() => AddressSpace.fromFd(0, { type: 'iommufd' as 'type1' }), {
    instanceOf: TypeError,
    message: 'type must be one of type1v2, type1, noiommu, not "iommufd"',
  })
})

test.serial('where there is no node, the reason names which', (t) => {
  const before = held()
  const devRoot = temporaryFolder(t, 'open')
  t.throws(open({ iommu: 'iommufd', devRoot }), { instanceOf: VfioError, code: 'ENOENT' })
  for (const [options, node, reason] of [
    [{}, 'vfio/vfio', 'no-vfio-module'],
    [{ iommu: 'type1' }, 'vfio/vfio', 'no-vfio-module'],
    [{ container: 'iommufd' }, 'iommu', 'no-iommufd'],
    [{ iommu: 'iommufd' }, 'iommu', 'no-iommufd'],
  ] as const) {
    const error = t.throws<VfioError>(open({ ...options, devRoot }), { instanceOf: VfioError })
    t.is(error.subject, join(devRoot, node))
    t.is(error.reason, reason)
  }
  t.throws(() => Iommufd.open({ devRoot }), { message: /A VFIO container works without it\.$/ })
  // Nodes of devices are what tells a kernel that has both from one that has not.
  writeFileSync(join(devRoot, 'iommu'), '')
  t.throws(open({ devRoot }), { code: 'ENOENT', message: /vfio\/vfio/ })
  mkdirSync(join(devRoot, 'vfio/devices'), { recursive: true })
  // The file is none of iommufd's, and is closed again.
  t.throws(open({ devRoot }), { code: 'ENOTTY', message: /^IOMMU_IOAS_ALLOC: / })
  t.deepEqual(held(), before)
})

test('a node that may not be opened says who may', (t) => {
  for (const context of [containerContext, iommufdContext])
    t.deepEqual(context('/dev/x', new VfioError(13, 'open')), {
      subject: '/dev/x',
      reason: 'permission',
      remedy: 'Run as root, or give yourself access to /dev/x.',
    })
  t.deepEqual(containerContext('/dev/x', new VfioError(5, 'open')), { subject: '/dev/x' })
})
