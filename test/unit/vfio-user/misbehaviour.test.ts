// A client of vfio-user against a server that does it wrong: each fault ends in an error with a name, within the bound, and leaves
// no descriptor behind.
import { closeSync, openSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'

import test, { type ExecutionContext } from 'ava'

import { EventFd, GuestMemory, VfioDevice } from '../../../ts/index.js'
import { COMMAND, COMMAND_NAMES } from '../../../ts/vfio-user/protocol/constants.js'
import { temporaryFolder } from '../../temporary.js'
import { ended, inWorker, message } from '../support.js'
import { connectTo, descriptors, refusal, refusalOf, serve } from './quirky.js'
import { type Misbehaviour, REGISTER } from './quirks.js'

/** The bound of these tests, and what may be added to it on a busy machine. Milliseconds. */
const BOUND = 1000
const SLACK = 4000

/** What each fault is called, and whether the connection is given up for it. */
const FAULTS: Record<Misbehaviour, { code: string; lost: boolean }> = {
  silence: { code: 'ETIMEDOUT', lost: true },
  half: { code: 'ETIMEDOUT', lost: true },
  drip: { code: 'ETIMEDOUT', lost: true },
  flood: { code: 'ETIMEDOUT', lost: true },
  wrongId: { code: 'EBADMSG', lost: true },
  wrongCommand: { code: 'EBADMSG', lost: true },
  notAReply: { code: 'EPROTO', lost: true },
  garbage: { code: 'EMSGSIZE', lost: true },
  tooLong: { code: 'EMSGSIZE', lost: true },
  tooShort: { code: 'EPROTO', lost: true },
  closeInstead: { code: 'ECONNRESET', lost: true },
  closeInside: { code: 'ECONNRESET', lost: true },
  extraFds: { code: 'EPROTO', lost: false },
  short: { code: 'EPROTO', lost: false },
  bare: { code: 'EPROTO', lost: false },
  error: { code: 'EINVAL', lost: false },
  errorWithoutReason: { code: 'EPROTO', lost: false },
  oddError: { code: 'EPROTO', lost: false },
  closeAfter: { code: '', lost: true },
  twice: { code: '', lost: true },
}

/** What is asked for, so that the server does it wrong there. */
const CALLS: Partial<Record<number, (device: VfioDevice) => unknown>> = {
  [COMMAND.deviceGetRegionInfo]: (device) => device.region('bar2'),
  [COMMAND.deviceGetIrqInfo]: (device) => device.irq('msix'),
  [COMMAND.regionRead]: (device) => device.region('bar0').read32(0),
  [COMMAND.regionWrite]: (device) => {
    device.region('bar0').write32(0, 1)
  },
  [COMMAND.regionWriteMulti]: (device) => {
    device.region('bar0').write(0x400, new Uint8Array(64))
  },
  [COMMAND.dmaMap]: (device) => device.addressSpace.allocateSync(4096),
  [COMMAND.deviceReset]: (device) => {
    device.resetSync()
  },
  [COMMAND.deviceFeature]: (device) => device.features.raw(1, 1 << 16, new Uint8Array(8)),
}

/** Replies without a body, of which nothing can be missing. */
const BODILESS: readonly number[] = [COMMAND.dmaMap, COMMAND.deviceReset]
/** The reply to a write is its header where a server saves itself the rest. */
const TOLERANT: readonly number[] = [COMMAND.regionWrite]
/** What asks for more than one thing. */
const SEVERAL: readonly number[] = [COMMAND.deviceGetRegionInfo, COMMAND.regionRead, COMMAND.deviceReset]

test.serial('what is made once in a process is made first', async (t) => {
  const { path, stop } = await serve(t)
  await (await VfioDevice.connect(path)).close()
  await stop()
  t.pass()
})

async function suffer(t: ExecutionContext, how: Misbehaviour, command: number): Promise<void> {
  const { code, lost } = FAULTS[how]
  const name = COMMAND_NAMES[command] ?? ''
  const before = descriptors()
  const { path, stop } = await serve(t, { at: command, how, several: true })
  const device = await VfioDevice.connect(path, { timeoutMs: BOUND, watch: false, guard: false })
  const call = (): unknown => CALLS[command]?.(device)
  const started = performance.now()
  if (code === '') {
    t.notThrows(call, name)
  } else {
    const error = refusal(t, call)
    t.is(error.code, code, `${name}: ${error.message}`)
    t.is(error.syscall, command === COMMAND.deviceFeature ? 'VFIO_DEVICE_FEATURE_MIGRATION' : name)
    // What a server means by an errno, it knows alone.
    if (code !== 'EINVAL') t.truthy(error.remedy, name)
  }
  t.true(performance.now() - started < BOUND + SLACK, name)
  const next = (): unknown => device.region('config').read16(0)
  if (how === 'twice') {
    t.regex(refusal(t, next).code, /EBADMSG|ENOTCONN/)
  } else if (lost && how !== 'closeAfter') {
    const then = refusal(t, next)
    t.is(then.code, 'ENOTCONN', name)
    t.is(then.reason, 'device-lost')
    t.is(device.condition, 'device-lost')
    t.false(device.present)
  } else if (!lost && (command === COMMAND.deviceReset || !SEVERAL.includes(command))) {
    t.is(next(), 0x1234, name)
  }
  await device.close()
  await stop()
  t.is(descriptors(), before, `${name}: descriptors are left`)
}

for (const how of Object.keys(FAULTS) as Misbehaviour[]) {
  test.serial(`a server that answers by ${how} costs an error, and no descriptor`, async (t) => {
    for (const command of Object.keys(CALLS).map(Number)) {
      const body = !BODILESS.includes(command) && !TOLERANT.includes(command)
      if (!body && (how === 'short' || how === 'bare' || how === 'half')) continue
      if (SEVERAL.includes(command) && (how === 'closeAfter' || how === 'twice')) continue
      await suffer(t, how, command)
    }
  })
}

const ON_CONNECTING: Record<string, [Parameters<typeof serve>[1], string]> = {
  'says nothing to VERSION': [{ at: COMMAND.version, how: 'silence' }, 'ETIMEDOUT'],
  'says half of VERSION': [{ at: COMMAND.version, how: 'half' }, 'ETIMEDOUT'],
  'closes at VERSION': [{ at: COMMAND.version, how: 'closeInstead' }, 'ECONNRESET'],
  'refuses VERSION': [{ at: COMMAND.version, how: 'error' }, 'EINVAL'],
  'answers VERSION with a header': [{ at: COMMAND.version, how: 'bare' }, 'EPROTO'],
  'has another major version': [{ major: 1 }, 'EPROTO'],
  'has a minor version above the one offered': [{ minor: 3 }, 'EPROTO'],
  'says what is no JSON': [{ version: '{"capabilities":' }, 'EPROTO'],
  'says what is no object': [{ version: '[]' }, 'EPROTO'],
  'says numbers that are none': [{ version: '{"capabilities":{"max_msg_fds":"many"}}' }, 'EPROTO'],
  'takes less data than a register': [{ version: '{"capabilities":{"max_data_xfer_size":4}}' }, 'EPROTO'],
  'speaks of a second socket that it does not send': [
    { version: '{"capabilities":{"twin_socket":{"supported":true,"fd_index":0}}}' },
    'EPROTO',
  ],
  'says nothing to GET_INFO': [{ at: COMMAND.deviceGetInfo, how: 'silence' }, 'ETIMEDOUT'],
  'answers GET_INFO too shortly': [{ at: COMMAND.deviceGetInfo, how: 'short' }, 'EPROTO'],
  'has a thousand million regions': [{ numRegions: 1e9 }, 'EPROTO'],
  'has a thousand million interrupts': [{ numIrqs: 1e9 }, 'EPROTO'],
}

for (const [what, [quirks, code]] of Object.entries(ON_CONNECTING)) {
  test.serial(`a server that ${what} is not connected to`, async (t) => {
    const before = descriptors()
    const { path, stop } = await serve(t, quirks)
    const started = performance.now()
    const error = await refusalOf(t, () => VfioDevice.connect(path, { timeoutMs: BOUND, name: 'the device' }))
    t.is(error.code, code, error.message)
    t.is(error.subject, 'the device')
    t.true(performance.now() - started < BOUND + SLACK)
    await stop()
    t.is(descriptors(), before, 'descriptors are left')
  })
}

test('servers that say less than they could are taken at their word', async (t) => {
  for (const version of [
    null,
    '{}',
    '{"capabilities":{}}',
    '{"capabilities":{"max_msg_fds":0,"unheard_of":[]}}',
  ]) {
    for (const minor of [0, 1, 2]) {
      const device = await connectTo(t, { version, minor })
      t.is(device.config.vendorId, 0x1234)
      t.is(device.irq('msix').count, 4)
      await device.close()
    }
  }
})

test('where nobody serves, connecting says what to do', async (t) => {
  const folder = temporaryFolder(t, 'nobody')
  const absent = await refusalOf(t, () => VfioDevice.connect(join(folder, 'absent')))
  t.is(absent.code, 'ENOENT')
  t.regex(absent.remedy ?? '', /start the server/)
  const long = await refusalOf(t, () => VfioDevice.connect(join(folder, 'x'.repeat(200))))
  t.is(long.code, 'ENAMETOOLONG')
  const fd = openSync('/dev/null', 'r+')
  const notASocket = await refusalOf(t, () => VfioDevice.connect(fd))
  t.is(notASocket.code, 'ENOTSOCK')
  closeSync(fd) // It is still ours.
  const path = join(folder, 'mute')
  const mute = createServer((socket) => socket.on('close', () => socket.destroy()).resume())
  mute.listen({ path, backlog: 1 })
  await new Promise((resolve) => mute.once('listening', resolve))
  const silent = await refusalOf(t, () => VfioDevice.connect(path, { timeoutMs: 200 }))
  t.is(silent.code, 'ETIMEDOUT')
  await new Promise((resolve) => mute.close(resolve))
  await t.throwsAsync(VfioDevice.connect(''), { instanceOf: RangeError })
  await t.throwsAsync(VfioDevice.connect(-1), { instanceOf: RangeError })
  await t.throwsAsync(VfioDevice.connect({} as string), { instanceOf: TypeError })
  for (const options of [{ timeoutMs: 0 }, { timeoutMs: 1e9 }, { spinMicros: 1e6 }])
    await t.throwsAsync(VfioDevice.connect(path, options), { instanceOf: RangeError })
})

test('regions that lie about their files are refused, and never fault', async (t) => {
  const short = await connectTo(t, { fileBytes: 4096 })
  const error = refusal(t, () => short.region('bar2'))
  t.is(error.code, 'ENXIO')
  t.regex(error.remedy ?? '', /guard: false/)
  t.is((await connectTo(t, { fileBytes: 4096 }, { guard: false })).region('bar2').read32(8192), 0)
  const past = await connectTo(t, { fileBytes: 8192, areas: [[4096, 8192]] })
  t.is(refusal(t, () => past.region('bar2')).code, 'ENXIO')
  const nothing = await connectTo(t, { descriptor: 'none' })
  t.deepEqual(nothing.region('bar2').mmapAreas, [])
  t.is(nothing.region('bar2').read32(0), 0)
  const character = await connectTo(t, { descriptor: 'null' })
  t.is(refusal(t, () => character.region('bar2')).syscall, 'mmap')
})

test('regions that lie about their sizes are refused', async (t) => {
  const huge = await connectTo(t, { barBytes: 2n ** 60n })
  t.is(refusal(t, () => huge.region('bar2')).code, 'EPROTO')
  for (const infoArgsz of [0x7fff_ffff, 0x1_0000 + 1]) {
    const endless = await connectTo(t, { infoArgsz })
    t.is(refusal(t, () => endless.region('bar0')).code, 'EPROTO')
  }
  const growing = await connectTo(t, { infoArgsz: 64 })
  t.is(growing.region('bar0').size, 4096)
  const many = await connectTo(t, {
    areas: Array.from({ length: 300 }, (_, i) => [i * 16384, 4096] as const),
  })
  t.deepEqual(many.region('bar2').mmapAreas, [{ offset: 0, size: 4096 }])
})

test('a device that is lost by the question whether it is there is not', async (t) => {
  for (const how of ['wrongId', 'wrongCommand', 'garbage'] as const) {
    const device = await connectTo(t, { at: COMMAND.regionRead, how, after: 40 }, { watch: false })
    let asked = 0
    while (device.present && asked < 100) asked++
    t.true(asked > 0 && asked < 100, how)
  }
})

test('regions are understood as libvfio-user described them up to 2023', async (t) => {
  const areas = [
    [0, 4096],
    [8192, 4096],
  ] as const
  const device = await connectTo(t, { areas, filePerArea: true, closedConfig: true })
  t.is(device.config.vendorId, 0x1234)
  const bar2 = device.region('bar2')
  t.is(bar2.mmapAreas.length, 2)
  t.true(bar2.isMapped(8192, 4096))
  t.is(bar2.read32(8192), 0)
})

test('an interrupt that cannot be set up leaves the ones before it as they were', async (t) => {
  const device = await connectTo(t, { at: COMMAND.deviceSetIrqs, how: 'error', after: 1 }, { watch: false })
  using one = new EventFd()
  using other = new EventFd()
  const irq = device.irq('msix')
  t.is(refusal(t, () => irq.enable([one, other, one, other])).code, 'EINVAL')
  t.false(irq.enabled)
})

test('a mapping that the server refuses is not there, and its memory is free', async (t) => {
  const device = await connectTo(t, { at: COMMAND.dmaMap, how: 'error' })
  const error = await refusalOf(t, () => device.addressSpace.allocate(4096, { iova: 0x1000n }))
  t.is(error.syscall, 'VFIO_USER_DMA_MAP')
  t.is(device.addressSpace.mappingCount, 0)
  using memory = GuestMemory.create(4096)
  t.is((await refusalOf(t, () => device.addressSpace.map(memory, { iova: 0x1000n }))).code, 'EINVAL')
})

test('memory of a server that is gone is given back all the same', async (t) => {
  const device = await connectTo(t, { at: COMMAND.deviceReset, how: 'closeInstead' })
  const dma = await device.addressSpace.allocate(4096)
  t.is((await refusalOf(t, () => device.reset())).code, 'ECONNRESET')
  await dma.close()
  t.is(device.addressSpace.mappingCount, 0)
  t.is(device.present, false)
  await device.close()
})

test.serial('a Worker that waits for a silent server can be terminated', async (t) => {
  const quirks = { at: COMMAND.regionRead, how: 'silence', after: 20 } as const
  const device = await connectTo(t, quirks, { timeoutMs: 4000, watch: false })
  const bar = device.region('bar0')
  const worker = inWorker(
    `const device = vfio.VfioDevice.claim(data)
     const bar = device.region('bar0')
     port.postMessage('reads')
     for (;;) bar.read32(0)`,
    device.share(),
  )
  await message(worker)
  await new Promise((resolve) => setTimeout(resolve, 300))
  const started = performance.now()
  await worker.terminate()
  await ended(worker)
  t.true(performance.now() - started < 3000)
  bar.write32(REGISTER.window, 1)
  t.is(refusal(t, () => bar.read32(0)).code, 'ETIMEDOUT')
})
