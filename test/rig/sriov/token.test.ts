// Virtual functions: one with vfio while the host's driver keeps the physical function, and the token where that one is
// with vfio too.
import { existsSync, readFileSync, readdirSync, readlinkSync } from 'node:fs'
import test from 'ava'

import type { ListedDevice } from '../../../ts/cli/output.js'
import { run } from '../../../ts/cli/program.js'
import { AddressSpace, type OpenOptions, VfioDevice, VfioError } from '../../../ts/index.js'
import { rig, until, writeSysfs } from '../devices.js'
import { MODES } from '../modes/modes.js'

const PF = rig.devices.sriov ?? ''
const path = (address: string): string => `/sys/bus/pci/devices/${address}`
const TOKEN = '6f1c2f0e-8a57-4c8e-9a0c-0d6a5be7c001'
const OTHER = '6f1c2f0e-8a57-4c8e-9a0c-0d6a5be7c002'
const NVME = 0x1b36

function driverOf(address: string): string | null {
  const link = `${path(address)}/driver`
  return existsSync(link) ? readlinkSync(link).replace(/.*\//, '') : null
}

async function give(address: string, driver: string): Promise<void> {
  if (driverOf(address) === driver) return
  if (driverOf(address) !== null) await writeSysfs(`${path(address)}/driver/unbind`, address)
  await writeSysfs(`${path(address)}/driver_override`, driver)
  await writeSysfs('/sys/bus/pci/drivers_probe', address)
  if (driverOf(address) !== driver) throw new Error(`${address} is not on ${driver}`)
}

/** Makes virtual functions; gives their addresses. */
async function enable(count: number): Promise<string[]> {
  await writeSysfs(`${path(PF)}/sriov_numvfs`, String(count))
  return Array.from({ length: count }, (_, i) =>
    readlinkSync(`${path(PF)}/virtfn${String(i)}`).replace(/.*\//, ''),
  )
}

async function refusal(id: string, vfToken?: string, options: OpenOptions = {}): Promise<VfioError> {
  try {
    await (await VfioDevice.open(id, vfToken === undefined ? options : { ...options, vfToken })).close()
  } catch (error) {
    if (error instanceof VfioError) return error
    throw error
  }
  throw new Error(`${id} was opened`)
}

test.serial.afterEach.always(async () => {
  if (readFileSync(`${path(PF)}/sriov_numvfs`, 'utf8').trim() !== '0')
    await writeSysfs(`${path(PF)}/sriov_numvfs`, '0')
  await writeSysfs(`${path(PF)}/sriov_drivers_autoprobe`, '1')
  await give(PF, 'nvme')
})

/** What `vfio ls` says of a device. */
async function listed(address: string): Promise<ListedDevice['open'] | undefined> {
  let out = ''
  await run(['ls', '--json'], {
    host: {},
    out: (text) => (out += text),
    redraw: () => undefined,
    outBytes: () => undefined,
    err: () => undefined,
    color: false,
    columns: null,
    uid: 0,
    onInterrupt: () => () => undefined,
  })
  return (JSON.parse(out) as { devices: ListedDevice[] }).devices.find(({ name }) => name === address)?.open
}

test.serial('ls knows which virtual functions ask for a token', async (t) => {
  await writeSysfs(`${path(PF)}/sriov_drivers_autoprobe`, '0')
  const [first = ''] = await enable(1)
  await give(first, 'vfio-pci')
  t.like(await listed(first), { possible: true, tried: true, why: null })
  await writeSysfs(`${path(PF)}/sriov_numvfs`, '0')
  await writeSysfs('/sys/module/vfio_pci/parameters/enable_sriov', 'Y')
  await give(PF, 'vfio-pci')
  const [second = ''] = await enable(1)
  await give(second, 'vfio-pci')
  t.like(await listed(second), { possible: false, reason: 'vf-token' })
  t.like(await refusal(second), { code: 'EACCES' })
})

test.serial('a virtual function with vfio, while the host uses the physical one', async (t) => {
  t.is(driverOf(PF), 'nvme')
  await writeSysfs(`${path(PF)}/sriov_drivers_autoprobe`, '0')
  const [first = '', second = ''] = await enable(2)
  t.is(driverOf(first), null)
  await give(first, 'vfio-pci')
  const device = await VfioDevice.open(first)
  try {
    // A virtual function's own ids read as all ones; the kernel shows those of its kind.
    t.is(device.config.vendorId, NVME)
    t.is(device.config.deviceId, 0x0010)
    t.true(device.info.resettable)
    t.true(device.region('bar0').size > 0)
    t.is((await device.addressSpace.allocate(4096)).size, 4096)
    t.false(device.features.supported().pciVfToken.set)
    t.is(driverOf(PF), 'nvme')
    const [controller = ''] = readdirSync(`${path(PF)}/nvme`)
    t.is(readFileSync(`${path(PF)}/nvme/${controller}/state`, 'utf8').trim(), 'live')
    t.is(driverOf(second), null)
  } finally {
    await device.close()
  }
  // A token that nobody asked for is refused, not ignored.
  t.is((await refusal(first, TOKEN)).code, 'EINVAL')
})

test.serial('with the physical function on vfio, a virtual one opens by its token alone', async (t) => {
  await give(PF, 'vfio-pci')
  const physical = await VfioDevice.open(PF)
  try {
    t.deepEqual(physical.features.supported().pciVfToken, { get: false, set: true })
    physical.features.vfToken(TOKEN)
    const [first = ''] = await enable(2)
    // The kernel gives the functions of a vfio device to vfio.
    await until(() => driverOf(first) === 'vfio-pci', 'the virtual function to be on vfio-pci')

    const without = await refusal(first)
    t.is(without.code, 'EACCES')
    t.is(without.reason, 'permission')
    t.is(without.subject, first)
    t.regex(without.remedy ?? '', /vfToken/)
    const wrong = await refusal(first, OTHER)
    t.is(wrong.code, 'EACCES')
    t.regex(wrong.remedy ?? '', /does not know/)

    const device = await VfioDevice.open(first, { vfToken: TOKEN })
    t.is(device.config.vendorId, NVME)
    t.true(device.config.present)
    await device.close()

    physical.features.vfToken(OTHER)
    t.is((await refusal(first, TOKEN)).code, 'EACCES')
    await (await VfioDevice.open(first, { vfToken: OTHER.toUpperCase() })).close()
    await writeSysfs(`${path(PF)}/sriov_numvfs`, '0')
  } finally {
    await physical.close()
  }
})

for (const [mode, options] of Object.entries(MODES)) {
  test.serial(
    `${mode}: the token that was set last holds, also when nobody has the physical one`,
    async (t) => {
      await give(PF, 'vfio-pci')
      await using space = AddressSpace.open(options)
      const physical = await VfioDevice.open(PF, { iommu: space })
      physical.features.vfToken(TOKEN)
      const [first = ''] = await enable(1)
      await until(() => driverOf(first) === 'vfio-pci', 'the virtual function to be on vfio-pci')
      const refuses = async (wrong: string): Promise<void> => {
        t.is((await refusal(first, undefined, { iommu: space })).code, 'EACCES')
        t.is((await refusal(first, wrong, { iommu: space })).code, 'EACCES')
      }
      const opensBy = async (token: string): Promise<void> => {
        const device = await VfioDevice.open(first, { iommu: space, vfToken: token })
        t.is(device.config.vendorId, NVME)
        await device.close()
      }
      await refuses(OTHER)
      await opensBy(TOKEN)
      physical.features.vfToken(OTHER)
      await refuses(TOKEN)
      await opensBy(OTHER)
      await physical.close()
      await refuses(TOKEN)
      // The function's reset, which takes a minute now: closing reset the physical one, and with it, in QEMU, what its
      // virtual functions answer. One mode shows that it opens.
      if (mode === 'iommufd') await opensBy(OTHER)
    },
  )
}
