// The serial port as drivers probe and use it: what it prints, what it receives, when its line is up.
import test from 'ava'

import { Serial, type SerialState } from '../../../ts/vmm/index.js'

interface Port {
  printed: string
  /** Each change of the line. */
  line: boolean[]
  state: SerialState
  device: Serial
  in(offset: number): number
  out(offset: number, value: number): void
}

function serial(state = Serial.state()): Port {
  const port: Port = {
    printed: '',
    line: [],
    state,
    device: new Serial(state, {
      transmit: (byte) => (port.printed += String.fromCharCode(byte)),
      line: (level) => port.line.push(level),
    }),
    in: (offset) => port.device.read(offset),
    out: (offset, value) => {
      port.device.write(offset, 1, value)
    },
  }
  return port
}

const text = (characters: string): Uint8Array => Buffer.from(characters)

test('serial: prints what is transmitted, and is always ready for more', (t) => {
  const port = serial()
  for (const character of 'ok\n') {
    t.is(port.in(5) & 0x60, 0x60)
    port.out(0, character.charCodeAt(0))
  }
  t.is(port.printed, 'ok\n')
  t.deepEqual(port.line, [])
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

test('serial: the line is up while the transmitter is empty and not yet identified', (t) => {
  const port = serial()
  t.is(port.in(2), 0x01)
  port.out(1, 0x02)
  t.deepEqual(port.line, [true])
  t.is(port.in(2), 0x02)
  t.deepEqual(port.line, [true, false])
  t.is(port.in(2), 0x01)
  port.out(0, 0x41)
  t.deepEqual(port.line, [true, false, true])
  port.out(2, 0x01)
  t.is(port.in(2), 0xc2, 'with the FIFO that a 16550A shows')
  port.out(1, 0)
  t.deepEqual(port.line, [true, false, true, false])
})

test('serial: what is sent to the guest raises the line until all of it is read', (t) => {
  const port = serial()
  t.is(port.device.send(text('a')), 1)
  t.deepEqual(port.line, [], 'nobody asked for an interrupt')
  port.out(1, 0x01)
  t.deepEqual(port.line, [true])
  t.is(port.in(2), 0x04)
  t.is(port.in(5) & 1, 1)
  t.is(port.in(0), 0x61)
  t.deepEqual(port.line, [true, false])
  t.is(port.in(5) & 1, 0)
  t.is(port.in(0), 0)
})

test('serial: with the FIFO on, fewer bytes than its trigger count as having waited', (t) => {
  const port = serial()
  port.out(2, 0x81) // 8 bytes
  port.out(1, 0x01)
  port.device.send(text('seven b'))
  t.is(port.in(2), 0xcc)
  port.device.send(text('y'))
  t.is(port.in(2), 0xc4)
  port.out(2, 0x83)
  t.is(port.in(2), 0xc1, 'the FIFO was cleared')
})

test('serial: a guest that does not read is sent no more than fits', (t) => {
  const port = serial()
  t.is(port.device.send(new Uint8Array(5000)), 4096)
  t.is(port.device.send(new Uint8Array(1)), 0)
  port.in(0)
  t.is(port.device.send(new Uint8Array(2)), 1)
})

test('serial: what drivers probe: interrupts, the scratch register, and loop-back', (t) => {
  const port = serial()
  port.out(1, 0xff)
  t.is(port.in(1), 0x0f)
  port.out(1, 0)
  port.out(7, 0xa5)
  t.is(port.in(7), 0xa5)
  port.out(4, 0x10 | 0x0a)
  t.is(port.in(6) & 0xf0, 0x90)
  port.out(0, 0x41)
  t.is(port.printed, '')
  t.is(port.in(0), 0x41, 'what is sent comes back')
  for (let i = 0; i <= 4096; i++) port.out(0, i & 0xff)
  t.is(port.in(5) & 0x02, 0x02, 'one too many')
  t.is(port.in(5) & 0x02, 0, 'told once')
})

test('serial: two objects over the same state are one port', (t) => {
  const [one, other] = [serial(), serial()]
  const twin = serial(one.state)
  one.out(1, 0x01)
  twin.device.send(text('z'))
  t.deepEqual([one.line, twin.line], [[], [true]])
  t.is(one.in(0), 0x7a)
  t.deepEqual([one.line, twin.line], [[false], [true]])
  t.is(other.in(5) & 1, 0)
})
