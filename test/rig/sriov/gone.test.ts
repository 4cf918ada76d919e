// A virtual function that its physical function takes away while it is open, and gives back.
import { closeSync, openSync, readFileSync, readlinkSync, readSync, writeSync } from 'node:fs'
import test from 'ava'

import { VfioDevice, VfioError } from '../../../ts/index.js'
import { rig, writeSysfs } from '../devices.js'

const PF = rig.devices.sriov ?? ''
const PATH = `/sys/bus/pci/devices/${PF}`
const NVME = 0x1b36
const SRIOV = 0x10
/** SR-IOV Control: VF Enable, VF Memory Space Enable. */
const CONTROL = 8
const ENABLED = 0x09

/** The control register of the physical function, behind the kernel's back: 0 takes the functions away. */
function setControl(value: number): void {
  const fd = openSync(`${PATH}/config`, 'r+')
  try {
    const bytes = Buffer.alloc(4096)
    readSync(fd, bytes, 0, bytes.length, 0)
    let at = 0x100
    while ((bytes.readUInt32LE(at) & 0xffff) !== SRIOV) at = bytes.readUInt32LE(at) >>> 20
    writeSync(fd, Uint8Array.of(value, 0), 0, 2, at + CONTROL)
  } finally {
    closeSync(fd)
  }
}

test.serial('a virtual function that its physical one took away is gone, whoever asks', async (t) => {
  t.timeout(600_000)
  await writeSysfs(`${PATH}/sriov_drivers_autoprobe`, '0')
  await writeSysfs(`${PATH}/sriov_numvfs`, '1')
  try {
    const vf = readlinkSync(`${PATH}/virtfn0`).replace(/.*\//, '')
    await writeSysfs(`/sys/bus/pci/devices/${vf}/driver_override`, 'vfio-pci')
    await writeSysfs('/sys/bus/pci/drivers_probe', vf)
    t.is(readFileSync(`/sys/bus/pci/devices/${vf}/config`).readUInt32LE(0), 0xffff_ffff, 'its own ids')
    const device = await VfioDevice.open(vf)
    try {
      t.true(device.config.present)
      const bar0 = device.region('bar0')
      bar0.remap()
      setControl(0)
      t.is(device.config.vendorId, NVME, 'the kernel shows those of its kind')
      t.false(device.config.present)
      const refused = (what: string, error: VfioError | undefined): void => {
        t.is(error?.reason, 'device-lost', `${what}: ${String(error?.message)}`)
      }
      const remapped = t.throws(
        () => {
          bar0.remap()
        },
        { instanceOf: VfioError },
      )
      refused('remap()', remapped)
      // The kernel waits a minute for it.
      refused('reset()', await t.throwsAsync(device.reset(), { instanceOf: VfioError }))
      setControl(ENABLED)
      t.true(device.config.present, 'and back')
      await writeSysfs(`${PATH}/reset`, '1')
      t.true(device.config.present, 'after a reset of the physical function')
    } finally {
      setControl(ENABLED)
      await device.close()
    }
  } finally {
    await writeSysfs(`${PATH}/sriov_numvfs`, '0')
    await writeSysfs(`${PATH}/sriov_drivers_autoprobe`, '1')
  }
})
