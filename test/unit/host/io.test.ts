// The process that writes: what it writes and sees, its errors, and one that sleeps. Ordinary files stand for attributes.

import { execFileSync } from 'node:child_process'
import { closeSync, constants, openSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { VfioError } from '../../../ts/errors.js'
import { KernelIo } from '../../../ts/host/io.js'
import { temporaryFolder } from '../../temporary.js'

const linuxTest = process.platform === 'linux' ? test.serial : test.skip

linuxTest('a line is written in one write, and nothing is created', async (t) => {
  const path = temporaryFolder(t, 'io')
  const file = join(path, 'attribute')
  writeFileSync(file, 'before, and longer\n')
  const io = new KernelIo()
  await io.write(file, 'after')
  // As an attribute: nothing is truncated first.
  t.is(readFileSync(file, 'utf8'), 'after\n, and longer\n')
  const missing = await t.throwsAsync(io.write(join(path, 'none'), 'x'), { instanceOf: VfioError })
  t.like(missing, { code: 'ENOENT', syscall: 'open', subject: join(path, 'none') })
  await io.write(file, '')
  t.is(readFileSync(file, 'utf8').slice(0, 1), '\n')
  await io.close()
})

linuxTest('what is there is seen, and what is not is nothing', async (t) => {
  const path = temporaryFolder(t, 'io')
  writeFileSync(join(path, 'text'), ' (null)\n')
  symlinkSync('../../drivers/vfio-pci', join(path, 'driver'))
  const io = new KernelIo()
  t.is(await io.look({ how: 'text', path: join(path, 'text') }), '(null)')
  t.is(await io.look({ how: 'link', path: join(path, 'driver') }), 'vfio-pci')
  t.is(await io.look({ how: 'link', path: join(path, 'text') }), null)
  t.is(await io.look({ how: 'presence', path }), 'present')
  for (const how of ['text', 'link', 'presence'] as const)
    t.is(await io.look({ how, path: join(path, 'none') }), null)
  await io.close()
  // It can be used again: another process is started.
  t.is(await io.look({ how: 'presence', path }), 'present')
  await io.close()
})

linuxTest('a write that sleeps is given up, and others go on', async (t) => {
  const path = temporaryFolder(t, 'io')
  const pipe = join(path, 'pipe')
  execFileSync('mkfifo', [pipe])
  const io = new KernelIo({ timeout: 400 })
  // Opening a FIFO for writing sleeps until somebody reads.
  const error = await t.throwsAsync(io.write(pipe, 'x'), { instanceOf: VfioError })
  t.like(error, { code: 'ETIMEDOUT', syscall: 'write', subject: pipe, reason: 'timeout' })
  t.regex(error.remedy!, /^Process \d+ still sleeps/)
  t.is(await io.look({ how: 'presence', path }), 'present')
  const fd = openSync(pipe, constants.O_RDONLY | constants.O_NONBLOCK)
  await io.write(pipe, 'y')
  closeSync(fd)
  await io.close()
})
