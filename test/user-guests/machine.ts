// One guest of Debian's kernel in stock QEMU, in emulation, whose devices are on sockets; what it says, line by line. It must not know
// the devices.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { type ExecutionContext } from 'ava'

import { findQemu } from '../qtest/qemu.js'
import { temporaryFolder } from '../temporary.js'

interface Rig {
  stockGuest(guest: {
    folder: string
    modules: readonly string[]
    script: string
    memory?: number
    append?: string
  }): Promise<string[]>
}

const RIG = new URL('../../../rig/index.mjs', import.meta.url).href

export interface GuestOptions {
  /** Sockets by the address of the device, such as `04.0`. */
  devices: Readonly<Record<string, string>>
  modules: readonly string[]
  /** Run by the guest's shell; the machine ends with it. */
  script: string
  /** Called with each line that the guest says. */
  onLine?: (line: string) => void
  /** A guest that takes longer is ended (default 180). */
  seconds?: number
}

export interface GuestResult {
  status: number | string | null
  lines: readonly string[]
  /** What QEMU itself said. */
  complaints: string
}

/** Boots the guest and waits for its end. */
export async function runGuest(t: ExecutionContext, options: GuestOptions): Promise<GuestResult> {
  const { devices, modules, script, onLine, seconds = 180 } = options
  const { stockGuest } = (await import(RIG)) as Rig
  const qemu = await findQemu()
  const args = await stockGuest({ folder: temporaryFolder(t, 'guest'), modules, script })
  for (const [addr, path] of Object.entries(devices)) {
    const device = { driver: 'vfio-user-pci', addr, socket: { type: 'unix', path } }
    args.push('-device', JSON.stringify(device))
  }
  const child = spawn(qemu.program, [...qemu.args, ...args], {
    env: qemu.env,
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: seconds * 1000,
    killSignal: 'SIGKILL',
  })
  t.teardown(() => child.kill('SIGKILL'))
  const lines: string[] = []
  createInterface({ input: child.stdout, crlfDelay: Infinity }).on('line', (line) => {
    lines.push(line)
    onLine?.(line)
  })
  let complaints = ''
  child.stderr.on('data', (data: Buffer) => (complaints += data.toString()))
  const [status, signal] = (await once(child, 'close')) as [number | null, string | null]
  return { status: status ?? signal, lines, complaints }
}
