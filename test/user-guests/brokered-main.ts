// Runs in the rig: has `vfio serve` give devices of the rig's to a stock QEMU that has no privileges, and says what the guest in it and
// the brokers say. What the guest is, it is told.
import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdirSync, statSync } from 'node:fs'
import { dirname } from 'node:path'
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import { fileURLToPath } from 'node:url'

/** What is to be run. */
export interface BrokeredGuest {
  readonly program: string
  /** Of QEMU, all but the devices. */
  readonly args: readonly string[]
  readonly env: Readonly<Record<string, string>>
  /** The rig's devices by their address in the guest. */
  readonly devices: Readonly<Record<string, string>>
}

/** nobody, and nogroup. */
const NOBODY = 65534
const FOLDER = '/run/brokers'
const MAIN = fileURLToPath(new URL('../../ts/cli/main.js', import.meta.url))

type Child = ChildProcessByStdio<null, Readable, null>

/** Resolves once it listens. Its events come out as lines, but for accesses: there are thousands. */
async function broker(name: string, id: string): Promise<{ child: Child; path: string }> {
  const path = `${FOLDER}/${name}`
  const args = [
    'serve',
    id,
    '--socket',
    path,
    '--group',
    String(NOBODY),
    '--mode',
    '660',
    '--trace',
    '--json',
  ]
  const child = spawn(process.execPath, [MAIN, ...args], { stdio: ['ignore', 'pipe', 'inherit'] })
  const counts = { read: 0, write: 0 }
  await new Promise<void>((resolve) => {
    createInterface({ input: child.stdout }).on('line', (line) => {
      const { event } = JSON.parse(line) as { event: string }
      if (event === 'read' || event === 'write') counts[event]++
      else console.log(`broker ${name} ${line}`)
      if (event === 'listening') resolve()
      if (event === 'gone') console.log(`accesses ${name} ${counts.read} ${counts.write}`)
    })
  })
  return { child, path }
}

/** Lets everybody to a file of the host's: here that changes the rig's layer of RAM only. */
function show(file: string): void {
  chmodSync(file, statSync(file).mode | 0o444)
  for (let folder = dirname(file); folder !== '/'; folder = dirname(folder))
    chmodSync(folder, statSync(folder).mode | 0o011)
}

const { program, args, env, devices } = JSON.parse(process.argv[2] ?? '') as BrokeredGuest
const rig = JSON.parse(process.env.NODE_VFIO_RIG ?? '') as { devices: Record<string, string> }
mkdirSync(FOLDER, { mode: 0o755 })
chmodSync('/dev/kvm', 0o666)
for (const file of [program, ...args]) if (file.startsWith('/') && statSync(file).isFile()) show(file)
const brokers: Child[] = []
const given: string[] = []
for (const [addr, name] of Object.entries(devices)) {
  const { child, path } = await broker(name, rig.devices[name] ?? name)
  brokers.push(child)
  given.push('-device', JSON.stringify({ driver: 'vfio-user-pci', addr, socket: { type: 'unix', path } }))
}
const guest = spawn(program, [...args, ...given], {
  env: { ...process.env, ...env },
  stdio: ['ignore', 'pipe', 'inherit'],
  uid: NOBODY,
  gid: NOBODY,
})
createInterface({ input: guest.stdout, crlfDelay: Infinity }).on('line', (line) => {
  console.log(`guest ${line}`)
})
const [status, signal] = (await once(guest, 'close')) as [number | null, string | null]
console.log(`qemu ${String(status ?? signal)}`)
// Those that may serve another client are told to end; the others have said why they did.
await new Promise((resolve) => setTimeout(resolve, 3000))
for (const child of brokers) {
  if (child.exitCode === null && child.signalCode === null) {
    child.kill('SIGTERM')
    await once(child, 'exit')
  }
  console.log(`served ${String(child.exitCode ?? child.signalCode)}`)
}
