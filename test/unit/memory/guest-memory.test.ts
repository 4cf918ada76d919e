// GuestMemory: who keeps the bytes, and what becomes of ArrayBuffers that outlive it.
import { constants as bufferConstants } from 'node:buffer'
import { closeSync, existsSync, openSync, readSync, readdirSync, readFileSync } from 'node:fs'
import test from 'ava'

import { EventFd, GuestMemory, VfioError } from '../../../ts/index.js'
import { MAX_WINDOW, originOf } from '../../../ts/memory/guest-memory.js'
import { inChild } from '../support.js'

test('zeroed, rounded up to pages, one buffer at every call', (t) => {
  using memory = GuestMemory.create(5000)
  t.is(memory.pageSize, 4096)
  t.is(memory.size, 8192)
  t.is(memory.buffer, memory.buffer)
  t.is(memory.buffer.byteLength, 8192)
  t.true(new Uint8Array(memory.buffer).every((byte) => byte === 0))
  t.deepEqual(originOf(memory.buffer)?.memory, memory)
  t.is(originOf(new ArrayBuffer(8)), undefined)
})

test('windows show the same bytes at any offset', (t) => {
  using memory = GuestMemory.create(3 * 4096)
  const all = new Uint8Array(memory.buffer)
  for (const [offset, length] of [
    [0, 1],
    [1, 1],
    [4095, 2],
    [4097, 8190],
    [12287, 1],
  ] as const) {
    const window = new Uint8Array(memory.window(offset, length))
    t.is(window.length, length)
    window[0] = 0xa5
    t.is(all[offset], 0xa5)
    all[offset + length - 1] = 0x5a
    t.is(window[length - 1], 0x5a)
  }
})

test('wrong sizes and windows outside', (t) => {
  const create =
    (...args: unknown[]) =>
    () =>
      (GuestMemory.create as (...args: unknown[]) => GuestMemory)(...args)
  for (const size of [0, -1, 1.5, NaN, Infinity, 2 ** 46 + 1])
    t.throws(create(size), { instanceOf: RangeError })
  for (const size of ['1', 1n, null, undefined, {}]) t.throws(create(size), { instanceOf: TypeError })
  t.throws(create(1, null), { instanceOf: TypeError })
  t.throws(create(1, { hugePages: '4K' }), { instanceOf: TypeError, message: /2M, 1G/ })
  using memory = GuestMemory.create(4096)
  const window =
    (...args: unknown[]) =>
    () =>
      (memory.window as (...args: unknown[]) => ArrayBuffer).apply(memory, args)
  for (const args of [
    [4096, 1],
    [0, 4097],
    [4095, 2],
    [-1, 1],
    [0, 0],
    [0.5, 1],
    [0, NaN],
  ]) {
    t.throws(window(...args), { instanceOf: RangeError }, args.join())
  }
  for (const args of [['0', 1], [0n, 1], [0], []]) t.throws(window(...args), { instanceOf: TypeError })
})

test('close detaches every buffer and window; a closed one refuses', (t) => {
  const memory = GuestMemory.create(8192)
  const { buffer } = memory
  const window = memory.window(100, 10)
  const bytes = new Uint8Array(buffer)
  memory.close()
  memory.close()
  t.is(buffer.byteLength, 0)
  t.is(window.byteLength, 0)
  t.is(bytes[0], undefined)
  for (const call of [
    () => memory.buffer,
    () => memory.window(0, 1),
    () => memory.fd,
    () => memory.share(),
  ]) {
    const error = t.throws(call, { instanceOf: VfioError, code: 'EBADF' })
    t.is(error.reason, 'closed')
  }
})

test('a buffer can be copied but not taken away', (t) => {
  using memory = GuestMemory.create(4096)
  new Uint8Array(memory.buffer)[7] = 77
  t.is(new Uint8Array(structuredClone(memory.buffer))[7], 77)
  try {
    // Node 20 copies what may not be transferred, later ones refuse.
    t.is(new Uint8Array(structuredClone(memory.buffer, { transfer: [memory.buffer] }))[7], 77)
  } catch (error) {
    t.is((error as Error).name, 'DataCloneError')
  }
  t.is(memory.buffer.byteLength, 4096)
  t.is(new Uint8Array(memory.buffer)[7], 77)
})

test('more than one ArrayBuffer holds: windows only', (t) => {
  using memory = GuestMemory.create(5 * 2 ** 30)
  const error = t.throws(() => memory.buffer, { instanceOf: VfioError, code: 'EOPNOTSUPP' })
  t.regex(error.remedy ?? '', /window/)
  const far = new Uint8Array(memory.window(memory.size - 4096, 4096))
  far[4095] = 9
  t.is(new Uint8Array(memory.window(memory.size - 1, 1))[0], 9)
  t.throws(() => memory.window(0, MAX_WINDOW + 1), { instanceOf: RangeError })
  t.true(MAX_WINDOW <= bufferConstants.MAX_LENGTH)
  // The widest there is, sparse: it costs addresses, not memory.
  t.is(memory.window(0, MAX_WINDOW).byteLength, MAX_WINDOW)
})

test('fromFd takes over a memfd; other descriptors are refused and stay open', (t) => {
  using memory = GuestMemory.create(8192)
  new Uint8Array(memory.buffer)[4096] = 5
  const fd = openSync(`/proc/self/fd/${String(memory.fd)}`, 'r+')
  using adopted = GuestMemory.fromFd(fd)
  t.is(adopted.size, 8192)
  t.is(new Uint8Array(adopted.buffer)[4096], 5)

  const readOnly = openSync(`/proc/self/fd/${String(memory.fd)}`, 'r')
  using unwritable = GuestMemory.fromFd(readOnly)
  t.throws(() => unwritable.buffer, { instanceOf: VfioError, code: 'EACCES', message: /reading and writing/ })

  const device = openSync('/dev/null', 'r')
  t.throws(() => GuestMemory.fromFd(device), { instanceOf: VfioError, code: 'ENODEV' })
  t.is(readSync(device, Buffer.alloc(1)), 0)
  closeSync(device)
  t.throws(() => GuestMemory.fromFd(device), { instanceOf: VfioError, code: 'EBADF' })
  t.throws(() => GuestMemory.fromFd(-1), { instanceOf: RangeError })
  t.throws(() => GuestMemory.fromFd('3' as never), { instanceOf: TypeError })
})

function hugePagesFree(): boolean {
  const folder = '/sys/kernel/mm/hugepages/hugepages-2048kB'
  return existsSync(folder) && Number(readFileSync(`${folder}/free_hugepages`, 'utf8')) > 0
}

test('huge pages: there, or an error that says where they come from', (t) => {
  if (hugePagesFree()) {
    using memory = GuestMemory.create(1, { hugePages: '2M' })
    t.is(memory.size, 2 ** 21)
    t.is(memory.pageSize, 2 ** 21)
    new Uint8Array(memory.window(2 ** 20, 4096)).fill(1)
    return
  }
  const before = readdirSync('/proc/self/fd').length
  for (const hugePages of ['2M', '1G'] as const) {
    const error = t.throws(() => GuestMemory.create(1, { hugePages }), { instanceOf: VfioError })
    t.is(error.syscall, 'memfd_create')
    t.regex(error.remedy ?? '', /huge page|hugepages/)
    t.regex(error.message, new RegExp(`in ${hugePages} pages`))
  }
  t.is(readdirSync('/proc/self/fd').length, before)
})

test('share and claim: a token for another kind is refused', (t) => {
  using memory = GuestMemory.create(1)
  using eventfd = new EventFd()
  t.throws(() => GuestMemory.claim(eventfd.share()), { instanceOf: TypeError })
  t.throws(() => GuestMemory.claim({ ...eventfd.share(), vfio: 'GuestMemory' }), { instanceOf: TypeError })
  using other = GuestMemory.claim(memory.share())
  new Uint8Array(memory.buffer)[1] = 3
  t.is(new Uint8Array(other.buffer)[1], 3)
})

const COLLECT = `const collect = async (until) => {
    for (let i = 0; i < 100 && !until(); i++) {
      gc()
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
  }
  const warnings = []
  process.on('warning', (warning) => warnings.push(warning.name))
  const mappings = () => support.held().mappings
  const memfds = () => support.held().descriptors.filter((name) => name.includes('memfd')).length\n`

test('an ArrayBuffer keeps its memory when the wrapper is out of reach', async (t) => {
  const { status, stdout, stderr } = await inChild(
    `${COLLECT}
    let buffer = (() => vfio.GuestMemory.create(1 << 16).buffer)()
    let window = (() => vfio.GuestMemory.create(1 << 16).window(5000, 10))()
    new Uint8Array(buffer).fill(7)
    new Uint8Array(window).fill(8)
    await collect(() => warnings.length > 0)
    console.log(warnings.length, memfds(), new Uint8Array(buffer).every((byte) => byte === 7), new Uint8Array(window)[9])
    buffer = window = undefined
    await collect(() => mappings() === 0)
    console.log(warnings.join(), memfds(), mappings())`,
    { args: ['--expose-gc'] },
  )
  t.is(status, 0, stderr)
  t.is(stdout, '0 2 true 8\nVfioLeakWarning,VfioLeakWarning 0 0\n')
})

test('closed, then collected: the ranges are unmapped by the buffer’s end and by nothing earlier', async (t) => {
  const { status, stdout, stderr } = await inChild(
    `${COLLECT}
    const { readFileSync } = await import('node:fs')
    const size = () => Number(/VmSize:\\s+(\\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1])
    const round = () => {
      for (let i = 0; i < 200; i++) {
        const memory = vfio.GuestMemory.create(1 << 20)
        new Uint8Array(memory.buffer)[0] = 1
        memory.window(4096, 4096)
        memory.close()
      }
    }
    round()
    await collect(() => false)
    const before = size()
    for (let i = 0; i < 5; i++) { round(); await new Promise(setImmediate) }
    await collect(() => size() < before + 100_000)
    console.log(warnings.length, memfds(), mappings(), size() < before + 100_000)`,
    { args: ['--expose-gc'] },
  )
  t.is(status, 0, stderr)
  t.is(stdout, '0 0 0 true\n')
})

// ArrayBuffer.prototype.transfer() came with Node 21: the copy lives on at the same address.
const TRANSFER = `${COLLECT}
  if (ArrayBuffer.prototype.transfer === undefined) { console.log('absent'); process.exit(0) }
  const memory = vfio.GuestMemory.create(1 << 16)
  new Uint8Array(memory.buffer).fill(9)
  let moved = memory.buffer.transfer()
  const bytes = new Uint8Array(moved)
  const was = bytes[100]
  memory.close()
  await collect(() => false)
  bytes[100] = 1
  console.log(was, moved.byteLength, bytes[99], bytes[100], mappings(), memfds())`

test('a transferred buffer stays readable after close, with zeros', async (t) => {
  const { status, stdout, stderr } = await inChild(TRANSFER, { args: ['--expose-gc'] })
  t.is(status, 0, stderr)
  t.true(['absent\n', '9 65536 0 1 0 0\n'].includes(stdout), stdout)
})

test('memory of a NUMA node: every mapping of it is bound there', (t) => {
  let memory: GuestMemory
  try {
    memory = GuestMemory.create(1 << 16, { numaNode: 0 })
  } catch (error) {
    // A kernel without NUMA says so.
    t.is((error as VfioError).code, 'ENOSYS')
    return
  }
  const bytes = new Uint8Array(memory.buffer).fill(1)
  const maps = readFileSync('/proc/self/numa_maps', 'utf8').split('\n')
  t.true(
    maps.some((line) => / bind:0 .*memfd:node-vfio/.test(line)),
    maps.filter((line) => line.includes('memfd')).join('\n'),
  )
  t.is(bytes.length, 1 << 16)
  memory.close()
  const error = t.throws(() => GuestMemory.create(4096, { numaNode: 1023 }), { instanceOf: VfioError })
  t.is(error.syscall, 'mbind')
  t.regex(error.remedy ?? '', /no memory on that NUMA node/)
  t.throws(() => GuestMemory.create(4096, { numaNode: 1024 }), { instanceOf: RangeError })
  t.throws(() => GuestMemory.create(4096, { numaNode: '0' as never }), { instanceOf: TypeError })
})

test('memory made here cannot be cut short by whoever has its descriptor', async (t) => {
  const { status, signal, stdout, stderr } = await inChild(`
    const fs = await import('node:fs')
    const memory = vfio.GuestMemory.create(8192)
    const bytes = new Uint8Array(memory.buffer)
    bytes[5000] = 7
    for (const size of [0, 4096, 16384]) {
      try { fs.ftruncateSync(memory.fd, size); console.log('resized') } catch (error) { console.log(error.code) }
    }
    console.log(bytes[5000], memory.sealed)`)
  t.is(status, 0, `${String(signal)} ${stderr}`)
  t.is(stdout, 'EPERM\nEPERM\nEPERM\n7 true\n')
})

test('memory of others that is cut short reads as all ones, and does not end the process', async (t) => {
  const { status, signal, stdout, stderr } = await inChild(`
    const fs = await import('node:fs')
    const memory = support.shrinkableMemory(8192)
    const bytes = new Uint8Array(memory.buffer)
    bytes[0] = 1
    bytes[4096] = 2
    fs.ftruncateSync(memory.fd, 4096)
    bytes[5000] = 3
    console.log(bytes[0], bytes[4096], memory.sealed)
    memory.close()`)
  t.is(status, 0, `${String(signal)} ${stderr}`)
  t.is(stdout, '1 255 false\n')
})
