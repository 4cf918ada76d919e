// Starts stock QEMU as the client of a device on a socket, and ends it. Without a guest (`-accel qtest`) the test is the guest, by
// the socket that it gets. It must not know what the device is.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { type Socket, createServer } from 'node:net'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { type ExecutionContext } from 'ava'

import { temporaryFolder } from '../temporary.js'
import { Guest } from './guest.js'
import { Monitor } from './monitor.js'

/** How a QEMU is started, as the rig finds it. */
interface Program {
  program: string
  args: readonly string[]
  env: NodeJS.ProcessEnv
}

interface Rig {
  findVfioUserQemu(): Promise<Program>
}

const RIG = new URL('../../../rig/index.mjs', import.meta.url).href

export async function findQemu(): Promise<Program> {
  const { findVfioUserQemu } = (await import(RIG)) as Rig
  return findVfioUserQemu()
}

export interface QemuOptions {
  /** Further properties of the device, such as `{ 'x-msg-timeout': 300 }`. */
  properties?: Record<string, unknown>
  /** Whether the guest's memory is in a file that the device is given (default true). */
  shared?: boolean
  /** What drives the guest (default `qtest`): with `kvm` there is one, which does not start. */
  accel?: 'qtest' | 'kvm'
  /** Further arguments. */
  args?: readonly string[]
  /** Start without the device, for `monitor.plug()`. */
  withoutDevice?: boolean
}

export const MEMORY_BYTES = 64 << 20
/** Where the device is: its slot on bus 0. */
export const SLOT = 4

/** The argument of -device, and what device_add takes. */
export function deviceAt(path: string, properties: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    driver: 'vfio-user-pci',
    id: 'user',
    addr: `${SLOT.toString(16).padStart(2, '0')}.0`,
    socket: { path, type: 'unix' },
    ...properties,
  }
}

/** One socket that QEMU connects to. */
async function awaited(path: string): Promise<{ socket: Promise<Socket>; close: () => void }> {
  const server = createServer()
  const socket = new Promise<Socket>((resolve, reject) => {
    server.once('connection', resolve).once('close', () => reject(new Error('QEMU never connected')))
  })
  // Who closes before QEMU connected asks for no socket.
  socket.catch(() => undefined)
  server.listen(path)
  await once(server, 'listening')
  return { socket, close: () => server.close() }
}

/** A running QEMU without a guest. */
export class Qemu {
  readonly guest: Guest
  readonly monitor: Monitor
  readonly #child: ChildProcess
  readonly #lines: string[]

  private constructor(child: ChildProcess, lines: string[], guest: Guest, monitor: Monitor) {
    this.#child = child
    this.#lines = lines
    this.guest = guest
    this.monitor = monitor
  }

  /** Starts one whose device is at the socket `path`; the test's end ends it. */
  static async start(t: ExecutionContext, path: string, options: QemuOptions = {}): Promise<Qemu> {
    const started = await Qemu.#launch(t, path, options)
    const begin = async (): Promise<Qemu> => {
      const [qtest, monitor] = await started.sockets
      const qemu = new Qemu(started.child, started.lines, new Guest(qtest), new Monitor(monitor))
      await qemu.monitor.greet()
      return qemu
    }
    const gaveUp = async (): Promise<never> => {
      const status = await started.ended
      throw new Error(`QEMU ended with ${String(status)} as it started:\n${started.lines.join('\n')}`)
    }
    // Both are told of its end: what it said is worth more.
    return Promise.race([begin().catch(gaveUp), gaveUp()])
  }

  /** Starts one that is expected to give up: how it ended, and what it said. */
  static async refusing(
    t: ExecutionContext,
    path: string,
    options: QemuOptions = {},
  ): Promise<{ status: number | string | null; said: string }> {
    const { ended, lines } = await Qemu.#launch(t, path, options)
    return { status: await ended, said: lines.join('\n') }
  }

  static async #launch(t: ExecutionContext, path: string, options: QemuOptions) {
    const { properties, shared = true, accel = 'qtest', args = [], withoutDevice = false } = options
    const qemu = await findQemu()
    const folder = temporaryFolder(t, 'qtest')
    const qtest = await awaited(join(folder, 'qtest'))
    const monitor = await awaited(join(folder, 'monitor'))
    const child = spawn(
      qemu.program,
      [
        ...qemu.args,
        ...['-nodefaults', '-no-user-config', '-display', 'none'],
        ...['-machine', 'q35,memory-backend=mem', '-m', '64M', '-accel', accel],
        ...(accel === 'kvm' ? ['-S'] : []),
        // A memfd with share=off would be worse than none: QEMU hands out its descriptor, and itself has a copy.
        ...['-object', `memory-backend-${shared ? 'memfd,share=on' : 'ram'},id=mem,size=64M`],
        ...['-qtest', `unix:${join(folder, 'qtest')}`, '-qtest-log', 'none'],
        ...['-qmp', `unix:${join(folder, 'monitor')}`],
        ...(withoutDevice ? [] : ['-device', JSON.stringify(deviceAt(path, properties))]),
        ...args,
      ],
      { env: qemu.env, stdio: ['ignore', 'ignore', 'pipe'] },
    )
    const lines: string[] = []
    createInterface({ input: child.stderr }).on('line', (line) => lines.push(line))
    const ended = new Promise<number | string | null>((resolve, reject) => {
      child.once('error', reject)
      child.once('close', (status, signal) => resolve(status ?? signal))
    })
    t.teardown(async () => {
      child.kill('SIGKILL')
      qtest.close()
      monitor.close()
      await ended
    })
    return { child, lines, ended, sockets: Promise.all([qtest.socket, monitor.socket]) }
  }

  /** What it has said on its standard error so far. */
  get said(): string {
    return this.#lines.join('\n')
  }

  get pid(): number {
    return this.#child.pid ?? 0
  }

  get running(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null
  }
}
