// The example devices, each in a process of its own, driven by this package's own client: edu by the driver that the rig's edu is
// driven by, mtty written to in one process and read from in another, to which it was migrated.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import test, { type ExecutionContext } from 'ava'

import { Edu } from '../../examples/edu/driver.js'
import { type Region, VfioDevice } from '../../ts/index.js'
import { eventually, socketPath } from './served.js'

const PROGRAM = fileURLToPath(new URL('../../examples/devices/main.js', import.meta.url))

/** Serves an example as its users do, and connects to it. */
async function connected(t: ExecutionContext, kind: string): Promise<VfioDevice> {
  const path = socketPath(t)
  const child = spawn(process.execPath, [PROGRAM, kind, '--socket-path', path], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const ended = once(child, 'close')
  t.teardown(async () => {
    child.kill('SIGTERM')
    const [status] = (await ended) as [number | null]
    if (status !== 0) throw new Error(`${kind} ended with ${String(status)}`)
  })
  const [line] = (await once(createInterface({ input: child.stdout }), 'line')) as [string]
  t.is(line, `serving ${kind} on ${path}`)
  const device = await VfioDevice.connect(path)
  t.teardown(() => device.close())
  return device
}

test('edu in TypeScript is driven by the driver of the other edu: registers, DMA, interrupts', async (t) => {
  const device = await connected(t, 'edu')
  const edu = await Edu.attach(device, 8192)
  t.is(edu.identification, 0x0100_00ed)
  t.is(edu.factorial(12), 479_001_600)
  const memory = new Uint8Array(edu.dma.buffer)
  for (let i = 0; i < 2048; i++) memory[i] = i * 3
  await edu.toDevice(0, 2048)
  await edu.fromDevice(4096, 2048)
  t.true(Buffer.from(memory.subarray(0, 2048)).equals(memory.subarray(4096, 4096 + 2048)))

  let causes = 0
  const listener = edu.msi.listen(() => {
    causes |= edu.acknowledge()
  })
  edu.raise(0x21)
  t.true(await eventually(() => causes === 0x21))
  listener.close()
  edu.msi.disable()
  const line = device.irq('intx')
  let heard = 0
  const lines = line.listen(() => {
    heard++
    edu.acknowledge()
  })
  edu.raise(1)
  t.true(await eventually(() => heard === 1))
  lines.close()
})

/** Registers of a 16550. */
const UART = { data: 0, enable: 1, fifo: 2, modem: 4, status: 5, scratch: 7 } as const

function send(port: Region, text: string): void {
  port.write8(UART.fifo, 1)
  for (const byte of Buffer.from(text)) port.write8(UART.data, byte)
}

function receive(port: Region): string {
  const bytes: number[] = []
  while ((port.read8(UART.status) & 1) !== 0 && bytes.length < 100) bytes.push(port.read8(UART.data))
  return Buffer.from(bytes).toString()
}

test('mtty in TypeScript loops back what is sent, and interrupts while there is something to read', async (t) => {
  const device = await connected(t, 'mtty')
  device.config.command.ioSpace = true
  const port = device.region('bar0')
  send(port, 'hello')
  t.is(receive(port), 'hello')
  send(port, 'more than the queue of sixteen')
  t.is(port.read8(UART.status) & 3, 3, 'data, and an overrun')
  t.is(receive(port), 'more than the qu')
  let heard = 0
  const listener = device.irq('intx').listen(() => {
    heard++
    receive(port)
  })
  port.write8(UART.modem, 8)
  port.write8(UART.enable, 1)
  send(port, 'x')
  t.true(await eventually(() => heard > 0))
  listener.close()
})

test('mtty in TypeScript is migrated to another process, with what waits in its queue', async (t) => {
  const source = await connected(t, 'mtty')
  const target = await connected(t, 'mtty')
  const from = source.region('bar0')
  const to = target.region('bar0')
  source.config.command.ioSpace = true
  target.config.command.ioSpace = true
  send(from, 'on its way')
  from.write8(UART.scratch, 0x5a)
  t.is(receive(to), '')
  const chunks: Uint8Array[] = []
  for await (const chunk of source.migration?.save() ?? []) chunks.push(chunk)
  t.is(source.migration?.state, 'stop')
  await target.migration?.restore(chunks)
  await target.migration?.setState('running')
  t.is(receive(to), 'on its way')
  t.is(to.read8(UART.scratch), 0x5a)
})

test('a state that no mtty can have is refused, and the device says so', async (t) => {
  const device = await connected(t, 'mtty')
  await t.throwsAsync(async () => device.migration?.restore([Buffer.from('{"received":[1,2,300]}')]))
})
