// The arguments of `vfio`, its exit statuses, and how it tells what went wrong.
import { rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { byteSize, errorText, table } from '../../../ts/cli/format.js'
import { VfioError } from '../../../ts/errors.js'
import { cliTest } from './run.js'

cliTest('--help and --version are no errors', async (t, { vfio }) => {
  const help = await vfio('--help')
  t.is(help.status, 0)
  for (const command of ['ls', 'doctor', 'merged', 'show', 'config', 'read', 'write', 'irq'])
    t.regex(help.out, new RegExp(`^ +${command} `, 'm'))
  const version = await vfio('--version')
  t.is(version.status, 0)
  t.regex(version.out, /^\d+\.\d+\.\d+\n$/)
})

const WRONG: [string, string[], RegExp][] = [
  ['an unknown command', ['frobnicate'], /unknown command 'frobnicate'/],
  ['an unknown option', ['ls', '--frobnicate'], /unknown option '--frobnicate'/],
  ['a missing argument', ['read', '0000:00:10.0', 'bar0'], /missing required argument 'offset'/],
  ['one argument too many', ['doctor', 'more'], /too many arguments/],
  ['a device to list that is on no socket', ['ls', 'more'], /must be user:PATH/],
  ['an unknown region', ['read', '0000:00:10.0', 'bar9', '0'], /one of bar0, bar1/],
  ['an offset that is no number', ['read', '0000:00:10.0', 'bar0', 'ten'], /a number such as 16 or 0x10/],
  ['an offset beyond 2^53', ['read', '0000:00:10.0', 'bar0', '0x20000000000000'], /too large/],
  ['an unknown width', ['read', '0000:00:10.0', 'bar0', '0', '--width', '3'], /choices are 1, 2, 4, 8/],
  ['an unknown interrupt', ['irq', '0000:00:10.0', 'apic'], /choices are intx, msi, msix, err, req/],
  ['a target that is none', ['watch', '0000:00:10.0', 'bar0'], /REGION\+OFFSET such as bar0\+0x10/],
  ['a width of 3', ['watch', '0000:00:10.0', 'bar0+0/3'], /REGION\+OFFSET/],
  ['an interval of 0', ['watch', '0000:00:10.0', 'msi', '--interval', '0'], /seconds from 0.001 to 86400/],
  ['a length of 0', ['dump', '0000:00:10.0', 'bar0', '0', '0'], /at least 1/],
  ['a count of 0', ['irq', '0000:00:10.0', 'msi', '--count', '0'], /at least 1/],
]

for (const [what, args, message] of WRONG) {
  cliTest(`${what} is told, with status 2`, async (t, { vfio }) => {
    const { status, out, err } = await vfio(...args)
    t.is(status, 2)
    t.is(out, '')
    t.regex(err, message)
    t.regex(err, /--help shows how/)
    t.notRegex(err, /\bat .*:\d+:\d+/)
  })
}

cliTest('a refusal is told with its remedy below, without a stack', async (t, { tree, vfio }) => {
  tree.pci('0000:00:13.0', { driver: 'e1000e', group: 5 })
  for (const args of [
    ['read', '0000:00:13.0', 'bar0', '0x10'],
    ['write', '0000:00:13.0', 'bar0', '0x10', '1'],
    ['irq', '0000:00:13.0', 'msix', '--trigger', '0'],
    ['dump', '0000:00:13.0', 'config'],
    ['watch', '0000:00:13.0', 'bar0+0', 'msix'],
    ['config', '0000:00:13.0', '--vfio'],
  ]) {
    const { status, out, err } = await vfio(...args)
    t.is(status, 1)
    t.is(out, '')
    t.deepEqual(err.split('\n'), [
      'vfio: open on 0000:00:13.0: resource busy or locked (EBUSY)',
      '  The device is bound to e1000e: unbind it and bind the device to vfio-pci.',
      '',
    ])
  }
})

const NO_PLAN = join(tmpdir(), `node-vfio-no-plan-${process.pid}.json`)

cliTest('what only the library can judge is a wrong argument too', async (t, { tree, vfio }) => {
  t.teardown(() => rmSync(NO_PLAN, { force: true }))
  tree.pci('0000:00:10.0')
  for (const args of [
    ['show', '00:20.0'],
    ['config', 'eth0'],
    ['read', 'eth0', 'bar0', '0'],
    ['write', '00:00.8', 'bar0', '0', '0'],
    ['dump', 'eth0', 'config'],
    ['watch', 'eth0', 'msix'],
    ['irq', 'eth0', 'msix'],
    ['bind', 'eth0'],
    ['bind', '0000:00:10.0', '--driver', '../x'],
    ['unbind', '00:20.0'],
    ['sriov', 'set', '0000:00:10.0', '65536'],
    ['sriov', 'show', 'eth0'],
    ['mdev', 'rm', 'x'],
    ['vgpu', 'eth0', '1'],
    ['plan', 'bind', 'eth0'],
    ['undo', '0'],
  ]) {
    const { status, out, err } = await vfio(...args)
    t.is(status, 2, `${args.join(' ')}: ${err}`)
    t.is(out, '')
    t.notRegex(err, /fault of vfio/)
  }
  for (const plan of ['null', '5', '{}', '{"steps":5}', '{"steps":[],"change":{"kind":"x"}}']) {
    writeFileSync(NO_PLAN, plan)
    const { status, err } = await vfio('apply', NO_PLAN)
    t.is(status, 2, `${plan}: ${err}`)
    t.notRegex(err, /Cannot read/)
  }
})

for (const error of [
  new TypeError('x is not a function'),
  new RangeError('Invalid array length'),
  new ReferenceError('y'),
]) {
  cliTest(
    `a ${error.name} of no argument's is a fault of ours, with status 1`,
    async (t, { vfio }) => {
      const { status, err } = await vfio('ls')
      t.is(status, 1)
      t.is(err, `vfio: ${error.message}\n  This is a bug in vfio: please report it, with the command line.\n`)
    },
    {
      out: () => {
        throw error
      },
    },
  )
}

cliTest('each command has a help with examples', async (t, { vfio }) => {
  const { out } = await vfio('--help')
  t.regex(out, /Exit status: 0 done; 1 refused or failed/)
  const names = [...out.matchAll(/^ {2}([a-z]+) /gm)].map(([, name]) => name!)
  t.true(names.length > 10)
  const others = ['help', 'vfio']
  for (const name of names.filter((each) => !others.includes(each))) {
    const help = await vfio('help', name)
    t.is(help.status, 0)
    t.regex(help.out, /\nExamples:\n {2}\S/, name)
  }
})

cliTest('a name that is no device is told', async (t, { vfio }) => {
  const { status, err } = await vfio('show', 'eth0')
  t.is(status, 2)
  t.regex(err, /^vfio: "eth0" is not a device: use a PCI address/)
})

test('an error without a remedy is one line', (t) => {
  t.is(errorText(new VfioError(5, 'pread')), 'vfio: pread: i/o error (EIO)\n')
  t.is(errorText(new Error('why')), 'vfio: why\n')
  t.is(errorText('why'), 'vfio: why\n')
})

test('sizes take the largest unit that divides them', (t) => {
  t.is(byteSize(0), '0 bytes')
  t.is(byteSize(100), '100 bytes')
  t.is(byteSize(4096), '4 KiB')
  t.is(byteSize(1536), '1536 bytes')
  t.is(byteSize(1n << 50n), '1024 TiB')
})

test('columns are as wide as their widest cell, without blanks at the end', (t) => {
  t.is(
    table(
      [
        ['a', 'bbb'],
        ['cc', ''],
      ],
      '  ',
    ),
    '  a   bbb\n  cc\n',
  )
})
