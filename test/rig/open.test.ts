// Opening: every way in, every obstacle by its name, and nothing left behind.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

import test from 'ava'

import { AddressSpace, VfioDevice, VfioError } from '../../ts/index.js'
import { temporaryFolder } from '../temporary.js'
import { EDU, devices, withDevice } from './devices.js'

const url = new URL('../../ts/index.js', import.meta.url).href

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

/** A process that opens a device, says so, and holds it until its stdin ends. */
async function holder(id: string): Promise<ChildProcess> {
  const code = `const { VfioDevice } = await import(${JSON.stringify(url)});
    const device = await VfioDevice.open(${JSON.stringify(id)}, { iommu: 'type1v2' });
    console.log('open'); process.stdin.on('end', () => device.close()).resume()`
  const child = spawn(process.execPath, ['--input-type=module', '-e', code], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  await once(child.stdout, 'data')
  return child
}

/** A write to sysfs from a process of its own: one that waits must not be this one. */
function write(path: string, value: string): ChildProcess {
  return spawn('/bin/sh', ['-c', 'printf "%s" "$2" > "$1"', 'sh', path, value], { stdio: 'inherit' })
}

async function writeNow(path: string, value: string): Promise<void> {
  await once(write(path, value), 'exit')
}

test.serial('by address, short address, sysfs path, and blocking', async (t) => {
  for (const id of [devices.edu, devices.edu.slice(5), `/sys/bus/pci/devices/${devices.edu}`]) {
    const device = await VfioDevice.open(id)
    t.is(device.name, devices.edu)
    await device.close()
    t.true(device.closed)
  }
  const device = VfioDevice.openSync(devices.edu)
  t.is(device.region('bar0').read32(EDU.id), 0x010000ed)
  device[Symbol.dispose]()
  VfioDevice.openSync(devices.edu)[Symbol.dispose]()
})

test.serial('from descriptors', async (t) => {
  await withDevice('edu', (device) => {
    using space = AddressSpace.claim(device.addressSpace.share())
    // The descriptor's number stays the first object's; a duplicate is the second one's own.
    const dup = spawnSync('/bin/true').pid
    t.true(dup > 0)
    t.throws(() => VfioDevice.fromFd(1, { addressSpace: space }), { instanceOf: VfioError })
    t.throws(() => AddressSpace.fromFd(1), { instanceOf: VfioError })
    t.throws(() => VfioDevice.fromFd(-1, { addressSpace: space }), { instanceOf: RangeError })
    t.throws(() => VfioDevice.fromFd(1, {} as never), { instanceOf: TypeError })
  })
})

test.serial('each obstacle has its name', async (t) => {
  t.is((await refusal('0000:00:1e.7')).reason, 'no-such-device')
  const unbound = await refusal('0000:00:1f.0')
  t.true(unbound.reason === 'no-driver' || unbound.reason === 'wrong-driver')
  t.is((await refusal(devices.bridgedRng)).reason, 'wrong-driver')
  t.regex((await refusal(devices.bridgedRng)).remedy ?? '', /virtio-pci/)
  const unviable = await refusal(devices.bridgedEdu1)
  t.is(unviable.reason, 'group-not-viable')
  t.regex(unviable.remedy ?? '', new RegExp(`${devices.bridgedRng} \\(virtio-pci\\)`))
  t.is((await refusal(devices.edu, { devRoot: '/nonexistent' })).reason, 'no-vfio-module')

  // A device without an IOMMU group, in a tree of its own.
  const root = temporaryFolder(t, 'sysfs')
  const path = join(root, 'devices/pci0000:00/0000:00:02.0')
  mkdirSync(path, { recursive: true })
  mkdirSync(join(root, 'bus/pci/devices'), { recursive: true })
  symlinkSync(path, join(root, 'bus/pci/devices/0000:00:02.0'))
  symlinkSync(join(root, 'bus/pci'), join(path, 'subsystem'))
  for (const [file, value] of Object.entries({ vendor: '0x1234', device: '0x11e8', class: '0x00ff00' })) {
    writeFileSync(join(path, file), `${value}\n`)
  }
  t.is((await refusal('0000:00:02.0', { sysfsRoot: root })).reason, 'no-iommu-group')

  await t.throwsAsync(VfioDevice.open('nonsense'), { instanceOf: TypeError })
  await t.throwsAsync(VfioDevice.open(7 as never), { instanceOf: TypeError })
  await t.throwsAsync(VfioDevice.open(devices.edu, { vfToken: 'x' }), { instanceOf: RangeError })
  await t.throwsAsync(VfioDevice.open(devices.edu, { iommu: 'none' as never }), { instanceOf: TypeError })
})

test.serial('a group that another process holds is busy, and free when it is done', async (t) => {
  const child = await holder(devices.edu)
  const busy = await refusal(devices.edu, { iommu: 'type1v2' })
  t.is(busy.reason, 'group-busy')
  t.is(busy.code, 'EBUSY')
  const exit = once(child, 'exit')
  child.stdin?.end()
  await exit
  await withDevice('edu', (device) => {
    t.is(device.region('bar0').read32(EDU.id), 0x010000ed)
  })
})

test.serial('without permission', (t) => {
  const code = `const { VfioDevice } = await import(${JSON.stringify(url)});
    await VfioDevice.open(${JSON.stringify(devices.edu)}).catch((error) => console.log(error.reason))`
  const run = spawnSync(process.execPath, ['--input-type=module', '-e', code], {
    uid: 65534,
    gid: 65534,
    encoding: 'utf8',
  })
  t.is(run.stdout, 'permission\n', run.stderr)
})

test.serial('a group becomes viable, and its devices share one address space', async (t) => {
  const rng = `/sys/bus/pci/devices/${devices.bridgedRng}`
  await writeNow(`${rng}/driver/unbind`, devices.bridgedRng)
  try {
    const first = await VfioDevice.open(devices.bridgedEdu1)
    const second = await VfioDevice.open(devices.bridgedEdu2)
    t.is(first.addressSpace, second.addressSpace)
    await using other = AddressSpace.open()
    t.is((await refusal(devices.bridgedEdu2, { iommu: other })).reason, 'other-address-space')
    t.is(second.region('bar0').read32(EDU.id), 0x010000ed)
    await first.close()
    t.false(second.addressSpace.closed)
    t.is(second.region('bar0').read32(EDU.id), 0x010000ed)
    await second.close()
    t.true(second.addressSpace.closed)
  } finally {
    await writeNow('/sys/bus/pci/drivers_probe', devices.bridgedRng)
  }
  t.is((await refusal(devices.bridgedEdu1)).reason, 'group-not-viable')
})

test.serial('closing: new calls throw, a second close is nothing, the group is free at once', async (t) => {
  const device = await VfioDevice.open(devices.nvme)
  const reset = device.reset()
  const closing = device.close()
  t.true(device.closed)
  t.is(t.throws(() => device.region('bar0'), { instanceOf: VfioError }).reason, 'closed')
  await Promise.allSettled([reset, closing, device.close()])
  device[Symbol.dispose]()
  await withDevice('nvme', (again) => {
    t.true(again.config.present)
  })
})
