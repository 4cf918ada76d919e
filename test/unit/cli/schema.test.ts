// The schemas in schema/ are what the types of the output say, and refuse what is not.
import { spawnSync } from 'node:child_process'
import test from 'ava'
import { checkOutput, ROOT } from './schemas.js'
import { cliTest } from './run.js'

test('schema/ is up to date', (t) => {
  const { status, stderr } = spawnSync(process.execPath, ['scripts/schema.mjs', '--check'], {
    cwd: ROOT,
    encoding: 'utf8',
  })
  t.is(stderr, '')
  t.is(status, 0)
})

cliTest('a field that goes, changes or comes is seen', async (t, { tree, vfio }) => {
  tree.pci('0000:00:10.0', { group: 1 })
  const { out } = await vfio('ls', '--json')
  const change = (edit: (device: Record<string, unknown>) => void) => {
    const value = JSON.parse(out) as { devices: Record<string, unknown>[] }
    edit(value.devices[0]!)
    return JSON.stringify(value)
  }
  t.notThrows(() => checkOutput(change(() => undefined)))
  t.throws(() => checkOutput(change((device) => delete device.driver)), {
    message: /required property 'driver'/,
  })
  t.throws(() => checkOutput(change((device) => (device.vendor = '0x1234'))), { message: /vendor must be/ })
  t.throws(() => checkOutput(change((device) => (device.colour = 'red'))), {
    message: /additional properties/,
  })
  t.throws(() => checkOutput('{}'), { message: /no field schema/ })
})
