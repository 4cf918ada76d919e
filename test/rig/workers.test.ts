// Devices in Workers: shared by token, each with one of its own, and terminated in the middle of a call.
import { setTimeout as sleep } from 'node:timers/promises'
import type { Worker } from 'node:worker_threads'
import test, { type ExecutionContext } from 'ava'

import { AddressSpace, type EventFd, VfioDevice } from '../../ts/index.js'
import { ended, inWorker, message } from '../unit/support.js'
// Loads KVM.
import './guest.js'
import {
  devices,
  EDU_ID,
  EDU_MASK,
  eduDma,
  type Holdings,
  holdings,
  nextCount,
  open,
  withDevice,
} from './devices.js'

const ROUNDS = 5

/** What there is once libuv's and V8's threads exist and the guard's page is made. */
async function baseline(): Promise<Holdings> {
  await withDevice('edu', async (device) => {
    device.region('bar0').read32(0)
    await device.addressSpace.allocate(4096)
  })
  const worker = inWorker('port.postMessage(1)')
  await message(worker)
  await worker.terminate()
  await sleep(50)
  return holdings()
}

async function sameAs(t: ExecutionContext, before: Holdings): Promise<void> {
  const end = performance.now() + 10_000
  while (JSON.stringify(holdings()) !== JSON.stringify(before) && performance.now() < end) await sleep(10)
  t.deepEqual(holdings(), before)
}

/** Terminates a Worker that has edu open: soon, and the device is there for others at once, as nobody had used it. */
async function endsAndGivesBack(t: ExecutionContext, worker: Worker, milliseconds: number): Promise<void> {
  const started = performance.now()
  await worker.terminate()
  const took = performance.now() - started
  t.true(took < milliseconds, `terminate() took ${String(took)} ms`)
  const device = VfioDevice.openSync(devices.edu)
  t.is(device.region('bar0').read32(0), EDU_ID)
  t.false(device.config.command.busMaster)
  t.is(device.addressSpace.mappingCount, 0)
  await device.close()
}

test.serial('a device, its space, a buffer and an interrupt shared with a Worker', async (t) => {
  const before = await baseline()
  const device = await open('edu')
  device.config.command.busMaster = true
  const buffer = await device.addressSpace.allocate(8192, { below: EDU_MASK })
  const [msi] = device.irq('msi').enable(1) as [EventFd]
  const bytes = new Uint8Array(buffer.buffer)
  bytes.fill(0x5a, 0, 256)
  const worker = inWorker(
    `const device = vfio.VfioDevice.claim(data.device)
    const buffer = vfio.DmaBuffer.claim(data.buffer)
    const space = vfio.AddressSpace.claim(data.space)
    const msi = vfio.EventFd.claim(data.msi)
    const bar0 = device.region('bar0')
    const bytes = new Uint8Array(buffer.buffer)
    port.on('message', async (what) => {
      if (what === 'raise') { bar0.write32(0x60, 1); port.postMessage('raised') }
      else if (what === 'own') {
        const own = await space.allocate(4096)
        const apart = own.iova >= buffer.iova + BigInt(buffer.size) || own.iova + 4096n <= buffer.iova
        await own.close()
        port.postMessage(apart)
      } else {
        await device.close(); await buffer.close(); await space.close(); msi.close()
        port.postMessage(bytes.length)
        port.close()
      }
    })
    port.postMessage([device.name, bar0.read32(0), buffer.iova, buffer.size, bytes[255], space.type, device.info.bus])
    bytes[0] = 0x11`,
    { device: device.share(), buffer: buffer.share(), space: device.addressSpace.share(), msi: msi.share() },
  )
  t.deepEqual(await message(worker), [
    devices.edu,
    EDU_ID,
    buffer.iova,
    8192,
    0x5a,
    device.addressSpace.type,
    'pci',
  ])
  worker.postMessage('raise')
  t.is(await message(worker), 'raised')
  t.is(await nextCount(msi), 1)
  device.region('bar0').write32(0x64, 1)
  worker.postMessage('own')
  t.is(await message(worker), true, 'the Worker sees what is mapped here')
  t.is(bytes[0], 0x11)
  worker.postMessage('close')
  t.is(await message(worker), 0)
  await ended(worker)
  // The Worker's close leaves the device, its mapping and its interrupt to the holder here.
  t.true(device.config.command.busMaster)
  const bar0 = device.region('bar0')
  eduDma(bar0, buffer.iova, 256, 'toDevice')
  eduDma(bar0, buffer.iova + 4096n, 256, 'fromDevice')
  t.deepEqual(bytes.slice(4096, 4352), bytes.slice(0, 256))
  bar0.write32(0x60, 2)
  t.is(await nextCount(msi), 1)
  await device.close()
  await sameAs(t, before)
})

test.serial('the Worker keeps a shared device after the one that opened it has closed it', async (t) => {
  const before = await baseline()
  const device = await open('edu')
  const worker = inWorker(
    `const device = vfio.VfioDevice.claim(data)
    port.on('message', async () => {
      const value = device.region('bar0').read32(0)
      await device.close()
      port.postMessage(value)
      port.close()
    })
    port.postMessage('claimed')`,
    device.share(),
  )
  t.is(await message(worker), 'claimed')
  await device.close()
  worker.postMessage('read')
  t.is(await message(worker), EDU_ID)
  await ended(worker)
  await sameAs(t, before)
  await (await open('edu')).close()
})

const OPEN = `const device = await vfio.VfioDevice.open(data)
  const bar0 = device.region('bar0')
  bar0.read32(0)
  const buffer = await device.addressSpace.allocate(1 << 16)
  new Uint8Array(buffer.buffer).fill(1)
  device.config.command.busMaster = true
  device.irq('msi').listen(() => undefined)
  `

for (const [what, code] of [
  [
    'while it polls a register',
    `${OPEN} port.postMessage(1); bar0.poll32(0, { equals: 1, timeoutMicros: 3_600_000_000 })`,
  ],
  ['while it waits in a poller', `${OPEN} port.postMessage(1); setInterval(() => undefined, 1000)`],
  [
    'while it waits for an interrupt',
    `${OPEN} device.irq('msi').disable()
    const [msi] = device.irq('msi').enable(1); port.postMessage(1); for await (const count of msi) void count`,
  ],
  [
    'while it maps',
    `${OPEN} port.postMessage(1); for (;;) {
      const all = await Promise.all(Array.from({ length: 8 }, () => device.addressSpace.allocate(1 << 20)))
      await Promise.all(all.map((each) => each.close())) }`,
  ],
  [
    'while it opens and closes',
    `port.postMessage(1); for (;;) {
      const device = await vfio.VfioDevice.open(data)
      device.region('bar0').read32(0)
      await device.close() }`,
  ],
] as const) {
  test.serial(`a Worker terminated ${what} leaves nothing, and the device opens at once`, async (t) => {
    const before = await baseline()
    for (let round = 0; round < ROUNDS; round++) {
      const worker = inWorker(code, devices.edu)
      await message(worker)
      await sleep(round * 7)
      await endsAndGivesBack(t, worker, 5000)
    }
    await sameAs(t, before)
  })
}

/** A VMM in a Worker: a guest with the device passed through, whose processor runs what is in `data.code` for ever. */
const VMM = `const { Kvm } = await import(new URL('./kvm/index.js', data.module))
  const vm = Kvm.open().createVm({ irqchip: 'full' })
  const memory = vfio.GuestMemory.create(1 << 20)
  vm.addMemory({ guestAddress: 0n, memory })
  new Uint8Array(memory.buffer).set(data.code)
  const device = await vfio.VfioDevice.open(data.bdf, { vm })
  const passthrough = new vfio.PciPassthrough(vm, device)
  await passthrough.start()
  passthrough.setBar(0, 0xe0000000n)
  passthrough.writeConfig(4, 2, 6)
  const vcpu = vm.createVcpu(0)
  const { cs } = vcpu.specialRegisters
  vcpu.specialRegisters = { cs: { ...cs, base: 0n, selector: 0 } }
  vcpu.registers = { rip: 0n, rflags: 2n }
  port.postMessage(vm.memorySlots.length)
  for (;;) {
    const { reason } = vcpu.run()
    if (reason !== 'interrupted') throw new Error(reason)
  }`

for (const [what, code] of [
  ['spins', [0xeb, 0xfe]],
  ['is halted', [0xfa, 0xf4]],
] as const) {
  test.serial(`a Worker terminated while its guest ${what}, with a device passed through`, async (t) => {
    const before = await baseline()
    for (let round = 0; round < ROUNDS; round++) {
      const module = new URL('../../ts/index.js', import.meta.url).href
      const worker = inWorker(VMM, { bdf: devices.edu, code, module })
      t.is(await message(worker), 2, 'memory, and the BAR')
      await sleep(20 + round * 30)
      // 200 ms on a processor; this one is emulated.
      await endsAndGivesBack(t, worker, 1000)
    }
    await sameAs(t, before)
  })
}

test.serial('several Workers with a device each, at once', async (t) => {
  const before = await baseline()
  const code = `const device = await vfio.VfioDevice.open(data)
    const vectors = device.irq(device.irq('msix').count > 0 ? 'msix' : 'msi')
    const [first] = vectors.enable(1)
    let sum = 0
    for (let i = 0; i < 200; i++) { vectors.trigger(0); sum += first.read(); device.region('bar0').read32(0) }
    const buffer = await device.addressSpace.allocate(1 << 16)
    const { iova } = buffer
    await device.close()
    port.postMessage([device.name, sum, iova > 0n])`
  const names = ['edu', 'edu2', 'e1000e', 'nvme'] as const
  const workers = names.map((name) => inWorker(code, devices[name]))
  t.deepEqual(
    await Promise.all(workers.map(message)),
    names.map((name) => [devices[name], 200, true]),
  )
  await Promise.all(workers.map((worker) => worker.terminate()))
  await sameAs(t, before)
})

test.serial('two devices of different Workers in one address space', async (t) => {
  const before = await baseline()
  const space = AddressSpace.open()
  const first = await open('edu', { iommu: space })
  const worker = inWorker(
    `const space = vfio.AddressSpace.claim(data.space)
    const device = await vfio.VfioDevice.open(data.bdf, { iommu: space })
    const buffer = await space.allocate(4096)
    port.postMessage([device.addressSpace === space, space.mappingCount])
    port.once('message', async () => { await device.close(); await space.close(); port.postMessage('closed'); port.close() })`,
    { space: space.share(), bdf: devices.edu2 },
  )
  t.deepEqual(await message(worker), [true, 1])
  t.is(space.mappingCount, 1)
  const own = await space.allocate(4096)
  t.is(space.mappingCount, 2)
  worker.postMessage('close')
  t.is(await message(worker), 'closed')
  await ended(worker)
  t.is(space.mappingCount, 1)
  t.is(own.buffer.byteLength, 4096)
  await first.close()
  await space.close()
  await sameAs(t, before)
})
