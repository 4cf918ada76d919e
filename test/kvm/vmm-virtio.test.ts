// Virtio devices in the slots of a guest's bus: the disk and the network card by what their drivers do, requests as the specification
// has them, and what no driver may do.
import { closeSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import type { ExecutionContext } from 'ava'
import { GuestMemory, SignalPoller } from 'node-vfio'
import { Kvm } from 'node-vfio/kvm'
import { Bus, layOutGuest, lineOf, PciHost, placeBars, PluggedDevice } from 'node-vfio/vmm'

import type { VirtioDevice } from '../../examples/devices/virtio/device.js'
import { AREA, STATUS } from '../../examples/devices/virtio/registers.js'
import { VirtioDisk } from '../../examples/devices/virtio-blk.js'
import { VirtioNet } from '../../examples/devices/virtio-net.js'
import { VirtioRng } from '../../examples/devices/virtio-rng.js'
import { accesses } from './accesses.js'
import { kvmTest } from './support.js'
import { Driver } from './virtio-driver.js'

const MEMORY = 4 << 20
const SLOT = 3

// The examples know the package by its name, as users do: so must who plugs them in.
function drive(t: ExecutionContext, virtio: VirtioDevice): Driver {
  const layout = layOutGuest(MEMORY)
  const kvm = Kvm.open()
  const vm = kvm.createVm()
  kvm.close()
  const memory = GuestMemory.create(MEMORY)
  vm.addMemory({ guestAddress: 0n, memory })
  const errors: unknown[] = []
  const onError = (error: unknown): void => void errors.push(error)
  const bus = new Bus({ onError })
  const pci = new PciHost()
  bus.attachMemory(layout.ecam.start, Number(layout.ecam.size), pci.ecam)
  const poller = new SignalPoller()
  const device = new PluggedDevice(vm, bus, virtio.device, { gsi: lineOf(SLOT, 1), poller, onError })
  pci.plug(SLOT, device)
  placeBars(pci.functions, layout)
  t.teardown(() => {
    device.close()
    poller.close()
    vm.close()
    memory.close()
    // Neither the bus nor the kernel had anything to refuse.
    if (errors.length > 0) throw errors[0]
  })
  const { bar, config } = accesses(bus, layout.ecam.start)
  config(SLOT, 4, 2, 6)
  return new Driver(
    {
      read: (offset, width) => bar(SLOT, 0, offset, width),
      write: (offset, width, value) => void bar(SLOT, 0, offset, width, value),
    },
    new Uint8Array(memory.buffer),
  )
}

kvmTest('random numbers: they come, and the cause of the interrupt is read from its register', (t) => {
  const virtio = new VirtioRng()
  const driver = drive(t, virtio)
  driver.start(1)
  const [at = 0] = driver.send(0, 64)
  t.is(driver.used(0)?.written, 64)
  t.true(new Set(driver.bytes(at, 64)).size > 8)
  t.true(virtio.device.line)
  t.is(driver.register(AREA.isr.at, 1), 1)
  t.false(virtio.device.line)
})

const SECTORS = 8

function disk(
  t: ExecutionContext,
  options: { readOnly?: boolean } = {},
): { driver: Driver; path: string; errors: Error[] } {
  const path = join(tmpdir(), `disk-${process.pid}-${t.title.replace(/\W+/g, '-').slice(-40)}`)
  writeFileSync(
    path,
    Uint8Array.from({ length: SECTORS * 512 + 100 }, (_, i) => Math.floor(i / 512) + 1),
  )
  const fd = openSync(path, 'r+')
  const errors: Error[] = []
  const virtio = new VirtioDisk({ fd, id: 'a disk', onError: (error) => errors.push(error), ...options })
  const driver = drive(t, virtio)
  t.teardown(() => {
    closeSync(fd)
    rmSync(path)
  })
  driver.start(1)
  return { driver, path, errors }
}

function request(type: number, sector: number | bigint): Uint8Array {
  const bytes = new Uint8Array(16)
  new DataView(bytes.buffer).setUint32(0, type, true)
  new DataView(bytes.buffer).setBigUint64(8, BigInt(sector), true)
  return bytes
}

kvmTest('disk: reads sectors into the buffers of the chain, and its status behind them', async (t) => {
  const { driver } = disk(t)
  const [, first = 0, second = 0, status = 0] = driver.send(0, request(0, 2), 512, 1024, 1)
  t.is((await driver.comes(0)).written, 512 + 1024 + 1)
  t.is(driver.bytes(status, 1)[0], 0)
  t.true(driver.bytes(first, 512).every((byte) => byte === 3))
  t.deepEqual([...new Set(driver.bytes(second, 1024))], [4, 5])
})

kvmTest('disk: writes sectors to the file, and flushes it', async (t) => {
  const { driver, path } = disk(t)
  const [, , status = 0] = driver.send(0, request(1, 7), new Uint8Array(512).fill(0xaa), 1)
  await driver.comes(0)
  t.is(driver.bytes(status, 1)[0], 0)
  const [, flushed = 0] = driver.send(0, request(4, 0), 1)
  await driver.comes(0)
  t.is(driver.bytes(flushed, 1)[0], 0)
  const file = readFileSync(path)
  t.true(file.subarray(7 * 512, 8 * 512).every((byte) => byte === 0xaa))
  t.is(file[7 * 512 - 1], 7)
  t.is(file[8 * 512], 9, 'what is no whole sector is not on the disk')
})

kvmTest('disk: tells its capacity and its name', async (t) => {
  const { driver } = disk(t)
  const [, name = 0, status = 0] = driver.send(0, request(8, 0), 20, 1)
  await driver.comes(0)
  t.is(Buffer.from(driver.bytes(name, 6)).toString(), 'a disk')
  t.deepEqual([...driver.bytes(status, 1), ...driver.bytes(name + 6, 14)], new Array(15).fill(0))
})

kvmTest('disk: what is not on it fails, and the guest goes on', async (t) => {
  const { driver, errors } = disk(t)
  for (const [header, ...buffers] of [
    [request(0, SECTORS), 512, 1],
    [request(0, (1n << 64n) - 1n), 512, 1],
    [request(0, SECTORS - 1), 1024, 1],
    [request(0, 0), 100, 1],
    [request(1, SECTORS), new Uint8Array(512), 1],
    [request(77, 0), 1],
  ] as const) {
    const status = driver.send(0, header, ...buffers).at(-1) ?? 0
    await driver.comes(0)
    t.is(driver.bytes(status, 1)[0], header[0] === 77 ? 2 : 1)
  }
  t.deepEqual(errors, [])
})

kvmTest('disk: one that is read-only says so and takes no writes', async (t) => {
  const { driver, path } = disk(t, { readOnly: true })
  t.true((driver.offered & (1n << 5n)) !== 0n)
  const [, , status = 0] = driver.send(0, request(1, 0), new Uint8Array(512), 1)
  await driver.comes(0)
  t.is(driver.bytes(status, 1)[0], 1)
  t.is(readFileSync(path)[0], 1)
})

kvmTest('disk: a request without a header stops the device until its reset', async (t) => {
  const { driver, errors } = disk(t)
  driver.send(0, new Uint8Array(4), 1)
  t.is(errors.length, 1)
  t.is(driver.common('status', 1) & STATUS.needsReset, STATUS.needsReset)
  driver.start(1)
  const [, , status = 0] = driver.send(0, request(0, 0), 512, 1)
  await driver.comes(0)
  t.is(driver.bytes(status, 1)[0], 0)
})

kvmTest('disk: what was asked for before a reset is not answered after it', async (t) => {
  const { driver } = disk(t)
  driver.send(0, request(0, 0), 512, 1)
  driver.start(1)
  await new Promise((resolve) => setTimeout(resolve, 50))
  t.is(driver.used(0), undefined)
})

function card(t: ExecutionContext): { driver: Driver; card: VirtioNet; sent: Uint8Array[]; errors: Error[] } {
  const sent: Uint8Array[] = []
  const errors: Error[] = []
  const made = new VirtioNet({
    mac: Uint8Array.of(2, 0, 0, 0, 0, 1),
    transmit: (frame) => sent.push(frame),
    onError: (error) => errors.push(error),
  })
  const driver = drive(t, made)
  driver.start(2)
  return { driver, card: made, sent, errors }
}

kvmTest('network: sends what stands behind the header', (t) => {
  const { driver, sent } = card(t)
  driver.send(1, new Uint8Array(12), Uint8Array.of(1, 2, 3))
  driver.send(1, Uint8Array.of(...new Uint8Array(12), 4, 5))
  t.deepEqual(
    sent.map((frame) => [...frame]),
    [
      [1, 2, 3],
      [4, 5],
    ],
  )
  t.is(driver.used(1)?.written, 0)
})

kvmTest('network: what comes waits for a buffer, behind a header that counts it as one', (t) => {
  const { driver, card: made } = card(t)
  t.true(made.receive(Uint8Array.of(7, 8, 9)))
  t.is(driver.used(0), undefined)
  const [at = 0] = driver.send(0, 100)
  t.is(driver.used(0)?.written, 15)
  t.deepEqual([...driver.bytes(at, 15)], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 7, 8, 9])
})

kvmTest('network: drops what has no room, and holds a bounded number of frames', (t) => {
  const { driver, card: made } = card(t)
  t.false(made.receive(new Uint8Array(9019)))
  const kept = Array.from({ length: 300 }, () => made.receive(new Uint8Array(60)))
  t.is(kept.filter(Boolean).length, 256)
  t.is(made.dropped, 45)
  driver.send(0, 20)
  t.is(driver.used(0)?.written, 0, 'a buffer that is too short')
  t.is(made.dropped, 46)
  driver.common('status', 1, 0)
  t.false(made.receive(new Uint8Array(60)), 'nobody drives it')
})

kvmTest('network: a frame without its header stops the device', (t) => {
  const { driver, errors } = card(t)
  driver.send(1, new Uint8Array(3))
  t.is(errors.length, 1)
})
