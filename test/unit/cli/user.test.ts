// `user:PATH`: the commands of a device, for one that a process serves over a vfio-user socket.
import { connectServed } from '../vfio-user/served.js'
import { cliTest } from './run.js'

cliTest('show, read, write, irq and watch take user:PATH', async (t, { vfio }) => {
  const { device, path } = await connectServed(t, { mode: 'loop' })
  // A server has one client at a time.
  await device.close()
  const name = `user:${path}`
  const shown = await vfio('show', name)
  t.is(shown.status, 0, shown.err)
  t.regex(shown.out, /bar0 +4 KiB +rw +not mapped/)
  t.regex(shown.out, /msix +8 vectors/)
  const json = JSON.parse((await vfio('show', name, '--json')).out) as {
    device: { regions: unknown[] }
    host: { name: string }
  }
  t.true(json.device.regions.length > 2)
  t.is(json.host.name, name)
  t.is((await vfio('write', name, 'bar0', '0x40', '0x1234')).status, 0)
  t.is((await vfio('read', name, 'bar0', '0x40')).out, '0x00001234\n')
  const irq = await vfio('irq', name, 'msix', '--trigger', '0')
  t.is(irq.status, 0, irq.err)
  const watched = await vfio('watch', name, 'bar0+0x40', '--timeout', '0.1')
  t.regex(watched.out + watched.err, /0x00001234|changes? in/)
})

cliTest('ls lists devices on sockets, those that cannot be reached too', async (t, { vfio }) => {
  const { device, path } = await connectServed(t, { mode: 'loop' })
  await device.close()
  const names = [`user:${path}`, 'user:/nowhere/socket']
  const listed = await vfio('ls', ...names)
  t.is(listed.status, 0, listed.err)
  t.regex(listed.out, /user:\S+ +- +1234:11e8 +yes/)
  t.regex(listed.out, /user:\/nowhere\/socket +- +- +no: /)
  t.regex(listed.out, /start the server first/)
  const { devices } = JSON.parse((await vfio('ls', '--json', ...names)).out) as {
    devices: { name: string; bus: string; open: { possible: boolean; reason: string | null } }[]
  }
  t.deepEqual(
    devices.map(({ name, bus, open }) => [name, bus, open.possible, open.reason]),
    [
      [names[0], 'vfio-user', true, null],
      [names[1], 'vfio-user', false, 'ENOENT'],
    ],
  )
  const wrong = await vfio('ls', '0000:01:00.0')
  t.is(wrong.status, 2)
  t.regex(wrong.err, /user:PATH/)
})

cliTest('a socket that is not there is said so', async (t, { vfio }) => {
  const read = await vfio('read', 'user:/nowhere/socket', 'bar0', '0')
  t.is(read.status, 1)
  t.is(read.out, '')
  t.regex(read.err, /start the server first/)
  const shown = await vfio('show', 'user:/nowhere/socket')
  t.regex(shown.out, /can be opened +no: /)
})
