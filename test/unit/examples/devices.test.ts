// The example's devices: the serial port as drivers probe and use it, PCI's configuration mechanism, the bus.
import test from 'ava'

import { Bus, type BusDevice } from '../../../examples/vmm/bus.js'
import { HOST_BRIDGE, PciBus } from '../../../examples/vmm/pci.js'
import { Serial } from '../../../examples/vmm/serial.js'

interface Port {
  printed: string
  interrupts: number
  in(offset: number): number
  out(offset: number, value: number): void
}

function serial(): Port {
  const port: Port = {
    printed: '',
    interrupts: 0,
    in: (offset) => Number(device.read(offset)),
    out: (offset, value) => device.write(offset, 1, BigInt(value)),
  }
  const device = new Serial(
    (text) => (port.printed += text),
    () => port.interrupts++,
  )
  return port
}

test('serial: prints what is transmitted, and is always ready for more', (t) => {
  const port = serial()
  for (const character of 'ok\n') {
    t.is(port.in(5) & 0x60, 0x60)
    port.out(0, character.charCodeAt(0))
  }
  t.is(port.printed, 'ok\n')
  t.is(port.interrupts, 0)
})

test('serial: the divisor is behind a bit, and prints nothing', (t) => {
  const port = serial()
  port.out(3, 0x83)
  port.out(0, 0x41)
  port.out(1, 0x01)
  t.deepEqual([port.in(0), port.in(1)], [0x41, 1])
  port.out(3, 0x03)
  t.deepEqual([port.in(0), port.in(1), port.in(3)], [0, 0, 3])
  t.is(port.printed, '')
})

test('serial: an interrupt when the transmitter is empty, for who wants it, until it is identified', (t) => {
  const port = serial()
  t.is(port.in(2), 0x01)
  port.out(1, 0x02)
  t.is(port.interrupts, 1)
  t.is(port.in(2), 0x02)
  t.is(port.in(2), 0x01)
  port.out(0, 0x41)
  t.is(port.interrupts, 2)
  port.out(2, 0x01)
  t.is(port.in(2), 0xc2, 'with the FIFO that a 16550A shows')
})

test('serial: what drivers probe: the scratch register, and loop-back', (t) => {
  const port = serial()
  port.out(7, 0xa5)
  t.is(port.in(7), 0xa5)
  port.out(4, 0x10 | 0x0a)
  t.is(port.in(6) & 0xf0, 0x90)
  port.out(0, 0x41)
  t.is(port.printed, '')
})

test('PCI: an address selects register, slot and function; what is not there reads all ones', (t) => {
  const pci = new PciBus()
  const written: number[][] = []
  pci.plug(1, {
    readConfig: (offset, size) => (offset << 8) | size,
    writeConfig: (...access) => void written.push(access),
  })
  const select = (slot: number, offset: number, enabled = 0x8000_0000): void =>
    pci.write(0, 4, BigInt((enabled | (slot << 11) | offset) >>> 0))
  select(1, 0x10)
  t.is(pci.read(0, 4), 0x8000_0810n)
  t.is(pci.read(4, 4), 0x1004n)
  t.is(pci.read(6, 2), 0x1202n)
  pci.write(5, 1, 0xffn)
  t.deepEqual(written, [[0x11, 1, 0xff]])
  for (const [slot, enabled] of [
    [2, 0x8000_0000],
    [1, 0],
  ] as const) {
    select(slot, 0, enabled)
    t.is(pci.read(4, 4), 0xffff_ffffn)
    pci.write(4, 4, 1n)
  }
  pci.write(0, 4, 0x8000_0900n)
  t.is(pci.read(4, 2), 0xffffn, 'function 1')
  t.is(written.length, 1)
})

test('PCI: the host bridge shows what kernels look for, and cannot be changed', (t) => {
  const pci = new PciBus()
  pci.plug(0, HOST_BRIDGE)
  pci.write(0, 4, 0x8000_0008n)
  t.is(pci.read(4, 4), 0x0600_0002n)
  t.is(pci.read(6, 2), 0x0600n)
  t.is(pci.read(7, 1), 0x06n)
  pci.write(4, 4, 0n)
  t.is(pci.read(4, 4), 0x0600_0002n)
})

test('the bus: a device that moves is asked where nobody else answers', (t) => {
  const bus = new Bus()
  let base = 0x4000n
  bus.attachMovable(({ address }) => (address === base ? 1n : undefined))
  bus.attachMovable(({ address }) => (address === 0x5000n ? 2n : undefined))
  const read = (address: bigint): bigint =>
    bus.access({ space: 'memory', address, size: 1, value: undefined }, 0)
  t.deepEqual([read(0x4000n), read(0x5000n), read(0x6000n)], [1n, 2n, 0xffn])
  base = 0x6000n
  t.deepEqual([read(0x4000n), read(0x6000n)], [0xffn, 1n])
})

test('the bus: finds the device and counts from its start; nobody answers elsewhere', (t) => {
  const bus = new Bus()
  const seen: unknown[] = []
  const device: BusDevice = {
    read: (...access) => {
      seen.push(access)
      return 5n
    },
    write: (...access) => void seen.push(access),
  }
  bus.attach('memory', 0x1000n, 16, device)
  t.is(bus.access({ space: 'memory', address: 0x100fn, size: 1, value: undefined }, 3), 5n)
  bus.access({ space: 'memory', address: 0x1000n, size: 4, value: 7n }, 2)
  t.deepEqual(seen, [
    [15, 1, 3],
    [0, 4, 7n, 2],
  ])
  t.is(bus.access({ space: 'port', address: 0x1000n, size: 2, value: undefined }, 0), 0xffffn)
  t.is(bus.access({ space: 'memory', address: 0x1010n, size: 8, value: undefined }, 0), (1n << 64n) - 1n)
  bus.access({ space: 'port', address: 1n, size: 1, value: 1n }, 0)
  t.is(seen.length, 2)
})
