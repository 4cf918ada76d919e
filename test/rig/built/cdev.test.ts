// Opening a device by its own node: the same VfioDevice, which way was taken and why, every obstacle by its name, and nothing
// left behind.
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { spawnSync } from 'node:child_process'
import { closeSync, openSync, readFileSync } from 'node:fs'

import test from 'ava'

import { AddressSpace, Iommufd, VfioDevice, VfioError } from '../../../ts/index.js'
import { resolveDevice } from '../../../ts/host/index.js'
import { Kvm } from '../../../ts/kvm/index.js'
import { addon } from '../../../ts/native/index.js'
import { packageUrl } from '../../unit/support.js'
import {
  Companion,
  EDU_ID,
  EDU_MASK,
  Edu,
  devices,
  groupOf,
  holdings,
  nextCount,
  pattern,
  rebind,
  throughEdu,
  withDevice,
} from '../devices.js'

async function refusal(id: string, options?: Parameters<typeof VfioDevice.open>[1]): Promise<VfioError> {
  try {
    const device = await VfioDevice.open(id, options)
    await device.close()
  } catch (error) {
    if (error instanceof VfioError) return error
    throw error
  }
  throw new Error(`${id} was opened`)
}

test.serial('auto prefers the node, and says so; DMA, interrupts and reset are the same', async (t) => {
  const published: unknown[] = []
  const listener = (message: unknown): void => {
    published.push(message)
  }
  subscribe('node-vfio:open', listener)
  const edu = await Edu.open('edu')
  unsubscribe('node-vfio:open', listener)
  const { device, bar0 } = edu
  try {
    t.like(device.opened, { through: 'cdev', why: 'preferred' })
    t.regex(device.opened?.node ?? '', /^\/dev\/vfio\/devices\/vfio\d+$/)
    t.deepEqual(published, [{ device: devices.edu, ...device.opened }])
    const space = device.addressSpace
    t.is(space.type, 'iommufd')
    t.is(space.iommufd?.fd, space.fd)
    device.config.command.busMaster = true
    await using buffer = await space.allocate(4096, { below: EDU_MASK })
    t.deepEqual(throughEdu(bar0, buffer, pattern(4096, 1)), pattern(4096, 1))
    const [signal] = device.irq('msi').enable(1)
    edu.raise()
    t.is(await nextCount(signal as NonNullable<typeof signal>), 1)
    edu.acknowledge()
  } finally {
    await device.close()
  }
  await withDevice('e1000e', async (other) => {
    t.is(other.opened?.through, 'cdev')
    await other.reset()
  })
})

test.serial('what is asked for is taken: the node, or the group', async (t) => {
  await withDevice(
    'edu',
    (device) => {
      t.like(device.opened, { through: 'cdev', why: 'asked' })
    },
    { iommu: 'iommufd' },
  )
  for (const iommu of ['type1v2', 'type1'] as const) {
    await withDevice(
      'edu',
      (device) => {
        t.deepEqual(device.opened, { through: 'group', node: `/dev/vfio/${groupOf('edu')}`, why: 'asked' })
        t.is(device.addressSpace.type, iommu)
        t.is(device.addressSpace.iommufd, null)
      },
      { iommu },
    )
  }
})

test.serial('a space decides the way; blocking, and descriptors are all given back', (t) => {
  const round = (): void => {
    using space = AddressSpace.open({ iommu: 'iommufd' })
    const device = VfioDevice.openSync(devices.edu, { iommu: space })
    t.like(device.opened, { through: 'cdev', why: 'address-space' })
    const second = VfioDevice.openSync(devices.edu2, { iommu: space })
    t.is(second.region('bar0').read32(0), EDU_ID)
    second[Symbol.dispose]()
    t.is(device.region('bar0').read32(0), EDU_ID)
    device[Symbol.dispose]()
    t.false(space.closed)
    using container = AddressSpace.open({ iommu: 'type1v2' })
    const grouped = VfioDevice.openSync(devices.edu, { iommu: container })
    t.like(grouped.opened, { through: 'group', why: 'address-space' })
    grouped[Symbol.dispose]()
  }
  round()
  const before = holdings()
  round()
  t.deepEqual(holdings(), before)
})

test.serial('devices of one group come into one space, and into no other', async (t) => {
  await rebind('bridgedRng', null)
  try {
    const first = await VfioDevice.open(devices.bridgedEdu1)
    const second = await VfioDevice.open(devices.bridgedEdu2)
    t.is(first.addressSpace, second.addressSpace)
    await using other = AddressSpace.open({ iommu: 'iommufd' })
    t.is((await refusal(devices.bridgedEdu2, { iommu: other })).reason, 'other-address-space')
    await first.close()
    t.false(second.addressSpace.closed)
    t.is(second.region('bar0').read32(0), EDU_ID)
    await second.close()
    t.true(second.addressSpace.closed)
  } finally {
    await rebind('bridgedRng', 'virtio-pci')
  }
})

test.serial('each obstacle has its name', async (t) => {
  const unviable = await refusal(devices.bridgedEdu1)
  t.is(unviable.reason, 'group-not-viable')
  t.is(unviable.syscall, 'VFIO_DEVICE_BIND_IOMMUFD')
  t.regex(unviable.remedy ?? '', new RegExp(`${devices.bridgedRng} \\(virtio-pci\\)`))
  t.is((await refusal(devices.edu, { iommu: 'iommufd', devRoot: '/nonexistent' })).code, 'ENOENT')
  t.is((await refusal(devices.edu, { vfToken: '00112233-4455-6677-8899-aabbccddeeff' })).code, 'EINVAL')

  // One open of a node at a time, and a node or a group.
  await withDevice('edu', async (device) => {
    t.is((await refusal(devices.edu)).reason, 'device-busy')
    t.is((await refusal(devices.edu, { iommu: 'type1v2' })).code, 'EBUSY')
    t.is(device.region('bar0').read32(0), EDU_ID)
  })
  await withDevice(
    'edu',
    async () => {
      const busy = await refusal(devices.edu)
      t.is(busy.code, 'EBUSY')
      t.is(busy.reason, 'group-busy')
    },
    { iommu: 'type1v2' },
  )
  // And after all that it opens.
  await withDevice('edu', (device) => {
    t.is(device.opened?.through, 'cdev')
  })
})

test.serial('auto falls back where iommufd is absent, never for want of permission', async (t) => {
  const code = (
    devRoot: string,
  ): string => `const { VfioDevice } = await import(${JSON.stringify(packageUrl)});
    await VfioDevice.open(${JSON.stringify(devices.edu)}, { devRoot: '${devRoot}' })
      .then(async (device) => { console.log(JSON.stringify(device.opened)); await device.close() },
            (error) => console.log(JSON.stringify({ reason: error.reason, subject: error.subject })))`
  const run = (devRoot: string, options = {}): unknown => {
    const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', code(devRoot)], {
      encoding: 'utf8',
      ...options,
    })
    t.not(stdout, '', stderr)
    return JSON.parse(stdout)
  }
  t.like(run('/dev', { uid: 65534, gid: 65534 }), { reason: 'permission' })
  // A /dev without iommufd, as a container of Docker may have it.
  const group = groupOf('edu')
  const root = '/run/dev-without-iommufd'
  spawnSync('/bin/sh', [
    '-c',
    `mkdir -p ${root}/vfio && cp -a /dev/vfio/vfio /dev/vfio/${group} ${root}/vfio/`,
  ])
  t.deepEqual(run(root), { through: 'group', node: `${root}/vfio/${group}`, why: 'no-iommufd' })
})

test.serial(
  'a virtual machine is told of the node before the device is enabled, and when it goes',
  async (t) => {
    using kvm = Kvm.open()
    using vm = kvm.createVm({ irqchip: 'split' })
    for (let round = 0; round < 2; round++) {
      await withDevice(
        'edu',
        (device) => {
          t.is(device.opened?.through, 'cdev')
          t.is(device.vfioFileFd, device.fd)
        },
        { vm },
      )
    }
  },
)

test.serial('from a descriptor that is not bound yet, and shared with another environment', async (t) => {
  const given = [
    openSync('/dev/iommu', 'r+'),
    openSync(resolveDevice(devices.edu)?.vfioDev?.cdev ?? '', 'r+'),
  ]
  const other = new Companion(
    `const iommufd = vfio.Iommufd.fromFd(3)
    const addressSpace = vfio.AddressSpace.open({ iommufd })
    const device = vfio.VfioDevice.fromFd(4, { addressSpace, name: '${devices.edu}' })
    const buffer = await addressSpace.allocate(4096)
    say([device.region('bar0').read32(0), addressSpace.type, buffer.size])
    const claimed = vfio.VfioDevice.claim(device.share())
    await device.close()
    say([claimed.region('bar0').read32(0), claimed.addressSpace.type])
    await claimed.close()
    say(device.closed)`,
    given,
  )
  try {
    t.deepEqual(await other.said(), [EDU_ID, 'iommufd', 4096])
    t.deepEqual(await other.said(), [EDU_ID, 'iommufd'])
    t.true(await other.said())
  } finally {
    await other.end()
    for (const fd of given) closeSync(fd)
  }
  t.throws(() => Iommufd.fromFd(1), { instanceOf: VfioError })
  t.throws(() => Iommufd.open({ devRoot: '/nonexistent' }), {
    instanceOf: VfioError,
    message: /does not contain its node/,
  })
})

test.serial('a node that is not bound, bound twice, or put on a page table that is none', async (t) => {
  const path = resolveDevice(devices.edu)?.vfioDev?.cdev ?? ''
  await using container = AddressSpace.open({ iommu: 'type1v2' })
  const fd = openSync(path, 'r+')
  // Nothing can be asked of it before it is bound.
  const early = t.throws(() => VfioDevice.fromFd(fd, { addressSpace: container }), { instanceOf: VfioError })
  t.is(early.code, 'EINVAL')
  closeSync(fd)

  using iommufd = Iommufd.open()
  await using space = AddressSpace.open({ iommufd })
  using foreign = Iommufd.open()
  const spaces = Array.from({ length: 4 }, () => AddressSpace.open({ iommufd: foreign }))
  const unknown = spaces.at(-1) as AddressSpace
  t.not(unknown.ioasId, space.ioasId)
  const node = addon().cdevOpen(path)
  try {
    addon().deviceBindSync(node, iommufd.native, null)
    const twice = t.throws(
      () => {
        addon().deviceBindSync(node, iommufd.native, null)
      },
      { instanceOf: VfioError },
    )
    t.like(twice, { code: 'EINVAL', syscall: 'VFIO_DEVICE_BIND_IOMMUFD' })
    const nowhere = t.throws(() => addon().deviceAttachIoasSync(node, unknown.native, null), {
      instanceOf: VfioError,
    })
    t.like(nowhere, { code: 'ENOENT', syscall: 'VFIO_DEVICE_ATTACH_IOMMUFD_PT' })
    // None of that has spoiled it.
    t.true(addon().deviceAttachIoasSync(node, space.native, null) > 0)
    await addon().deviceDetach(node, null)
  } finally {
    addon().handleRelease(node, false)
    for (const each of spaces) await each.close()
  }
  await withDevice('edu', (device) => {
    t.is(device.region('bar0').read32(0), EDU_ID)
  })
})

for (const mode of ['user', 'process'] as const) {
  test.serial(`RLIMIT_MEMLOCK of iommufd, counted by ${mode}`, async (t) => {
    const other = new Companion(`const { execFileSync } = await import('node:child_process')
      const iommufd = vfio.Iommufd.open()
      iommufd.rlimitMode = '${mode}'
      const iommu = vfio.AddressSpace.open({ iommufd })
      const device = await vfio.VfioDevice.open('${devices.edu}', { iommu })
      execFileSync('prlimit', ['--pid', String(process.pid), '--memlock=1048576:1048576'])
      process.setgid(65534)
      process.setuid(65534)
      const tell = ({ name, code, reason, remedy }) => ({ name, code, reason, remedy })
      const small = await iommu.allocate(65536)
      say(iommufd.rlimitMode)
      say(await iommu.allocate(2 << 20).then(() => null, tell))
      await small.close()
      say((await iommu.allocate(512 << 10)).size)
      await device.close()`)
    try {
      t.is(await other.said(), mode)
      const error = (await other.said()) as Record<string, string> | null
      t.like(error, { name: 'VfioError', code: 'ENOMEM', reason: 'memlock-limit' })
      t.regex(error?.remedy ?? '', /1048576 bytes/)
      t.is(await other.said(), 512 << 10, 'what fits still maps')
    } finally {
      await other.end()
    }
  })
}

test.serial('off its page table a device reaches nothing, and back on it what is mapped', async (t) => {
  const edu = await Edu.open('edu')
  const { device, bar0 } = edu
  try {
    const space = device.addressSpace
    device.config.command.busMaster = true
    await using buffer = await space.allocate(4096, { below: EDU_MASK })
    t.deepEqual(throughEdu(bar0, buffer, pattern(4096, 2)), pattern(4096, 2))
    await device.detach()
    const bytes = new Uint8Array(buffer.buffer)
    bytes.fill(0)
    t.notDeepEqual(throughEdu(bar0, buffer, pattern(4096, 3)), pattern(4096, 3))
    await device.attach(space)
    t.deepEqual(throughEdu(bar0, buffer, pattern(4096, 4)), pattern(4096, 4))
  } finally {
    await device.close()
  }
})

test.serial('what the IOMMU says of itself is what sysfs shows', async (t) => {
  await withDevice('edu', (device) => {
    const { kind, vtd, data } = device.hwInfo()
    t.is(kind, 'intel-vtd')
    t.is(data.length, 24)
    const register = (name: string): bigint =>
      BigInt(`0x${readFileSync(`/sys/class/iommu/dmar0/intel-iommu/${name}`, 'utf8').trim()}`)
    t.is(vtd?.capabilities, register('cap'))
    t.is(vtd?.extendedCapabilities, register('ecap'))
    // Linux says so of every one.
    t.true(vtd?.erratum772415)
  })
})

test.serial('a device that would need a range which is to stay usable is refused', async (t) => {
  const space = AddressSpace.open({ iommu: 'iommufd' })
  try {
    // Where the messages of interrupts go.
    space.allowIovas([{ start: 0xfee0_0000n, last: 0xfee0_ffffn }])
    const refused = await refusal(devices.edu, { iommu: space })
    t.is(refused.code, 'EADDRINUSE')
    t.is(refused.syscall, 'VFIO_DEVICE_ATTACH_IOMMUFD_PT')
    space.allowIovas([{ start: 0x10_0000n, last: 0x1f_ffffn }])
    const device = await VfioDevice.open(devices.edu, { iommu: space })
    t.true(space.iovaRanges.some(({ start, last }) => start <= 0x10_0000n && last >= 0x1f_ffffn))
    const late = t.throws(
      () => {
        space.allowIovas([{ start: 0xfee0_0000n, last: 0xfee0_ffffn }])
      },
      { instanceOf: VfioError },
    )
    t.is(late.code, 'EADDRINUSE')
    await device.close()
  } finally {
    await space.close()
  }
})
