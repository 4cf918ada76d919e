// The typed config space against what lspci makes of the same device.
import { execFileSync } from 'node:child_process'

import test from 'ava'

import { devices, withDevice } from './devices.js'

function lspci(bdf: string, ...options: string[]): string {
  return execFileSync('lspci', ['-s', bdf, ...options], { encoding: 'utf8' })
}

/** `Capabilities: [40] MSI: ...` as [0x40, 'MSI: ...'], the extended ones `[100 v2] ...`. */
function capabilitiesOf(text: string): { offset: number; extended: boolean; text: string }[] {
  return [...text.matchAll(/^\s*Capabilities: \[([0-9a-f]+)(?: v\d+)?\] (.*)$/gm)].map(
    ([, offset = '', rest = '']) => ({
      offset: Number.parseInt(offset, 16),
      extended: offset.length > 2,
      text: rest,
    }),
  )
}

for (const name of ['edu', 'testdev', 'e1000e', 'nvme', 'ivshmem'] as const) {
  test(`${name}: header and capabilities are those of lspci -vvv`, async (t) => {
    await withDevice(name, (device) => {
      const { config } = device
      const text = lspci(devices[name], '-vvv', '-D', '-nn')
      const [, classCode, vendor, id] = /\[([0-9a-f]{4})\].*\[([0-9a-f]{4}):([0-9a-f]{4})\]/.exec(text) ?? []
      t.is(config.classCode.code >> 8, Number.parseInt(classCode ?? '', 16))
      t.is(config.vendorId, Number.parseInt(vendor ?? '', 16))
      t.is(config.deviceId, Number.parseInt(id ?? '', 16))
      const revision = /\(rev ([0-9a-f]+)\)/.exec(text)?.[1] ?? '0'
      t.is(config.revision, Number.parseInt(revision, 16))
      const pin = /Interrupt: pin ([A-D])/.exec(text)?.[1] ?? null
      t.is(config.interruptPin?.toLowerCase().replace('int', '') ?? null, pin?.toLowerCase() ?? null)
      const listed = capabilitiesOf(text)
      const walked = [
        ...config.capabilities().map(({ offset }) => ({ offset, extended: false })),
        ...config.extendedCapabilities().map(({ offset }) => ({ offset, extended: true })),
      ]
      const key = (each: { offset: number; extended: boolean }): string =>
        `${String(each.extended)} ${String(each.offset)}`
      t.deepEqual(walked.map(key).sort(), listed.map(key).sort())
      t.deepEqual(config.problems(), [])

      const msi = config.capability('msi')
      const msiText = listed.find((each) => each.text.startsWith('MSI:'))?.text
      t.is(msi === null, msiText === undefined)
      if (msi !== null) t.is(msi.vectorsCapable, Number(/Count=\d+\/(\d+)/.exec(msiText ?? '')?.[1]))
      const msix = config.capability('msix')
      const msixText = listed.find((each) => each.text.startsWith('MSI-X:'))?.text
      t.is(msix === null, msixText === undefined)
      if (msix !== null) {
        t.is(msix.tableSize, Number(/Count=(\d+)/.exec(msixText ?? '')?.[1]))
        const [, bar, offset] = /Vector table: BAR=(\d) offset=([0-9a-f]+)/.exec(text) ?? []
        t.is(msix.table.bar, Number(bar))
        t.is(msix.table.offset, Number.parseInt(offset ?? '', 16))
      }
      t.is(config.capability('exp') === null, !listed.some((each) => each.text.startsWith('Express')))
      t.is(config.capability('pm') === null, !listed.some((each) => each.text.startsWith('Power Management')))
      t.is(
        config.extendedCapability('err') === null,
        !listed.some((each) => each.text.startsWith('Advanced Error')),
      )
    })
  })
}

test('the command register is set bit by bit', async (t) => {
  await withDevice('edu', (device) => {
    const { command } = device.config
    t.false(command.busMaster, 'off after opening')
    t.true(command.memorySpace)
    command.busMaster = true
    t.true(device.config.command.busMaster)
    t.is(command.raw & 4, 4)
    command.busMaster = false
    t.false(device.config.command.busMaster)
  })
})
