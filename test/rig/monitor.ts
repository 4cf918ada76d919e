// QEMU's monitor as a test in the guest reaches it, and what tests do with it: take a device out of its slot as a hand would,
// and put it back. Knows the rig's machine; knows nothing of the package.
import { closeSync, existsSync, openSync, readFileSync, readSync, readdirSync, writeSync } from 'node:fs'

import { devices, rebind, until, writeSysfs } from './devices.js'

const PORTS = '/sys/class/virtio-ports'
/** `rig.monitor` of machine.mjs. */
const PORT = 'rig.monitor'

interface Answer {
  readonly id?: number
  readonly return?: unknown
  readonly error?: { readonly desc: string }
}

let asked = 0

/** Asks the monitor one thing (QMP) and gives its answer. It answers at once: the thread waits for it. */
export function askMonitor(command: string, args: Record<string, unknown> = {}): unknown {
  const name = readdirSync(PORTS).find(
    (each) => readFileSync(`${PORTS}/${each}/name`, 'utf8').trim() === PORT,
  )
  const fd = openSync(`/dev/${name ?? PORT}`, 'r+')
  try {
    // Refused from the second time on, which changes nothing.
    exchange(fd, 'qmp_capabilities', {})
    const answer = exchange(fd, command, args)
    if (answer.error !== undefined) throw new Error(`${command}: ${answer.error.desc}`)
    return answer.return
  } finally {
    closeSync(fd)
  }
}

function exchange(fd: number, execute: string, args: Record<string, unknown>): Answer {
  const id = ++asked
  writeSync(fd, `${JSON.stringify({ execute, arguments: args, id })}\n`)
  let text = ''
  for (;;) {
    const chunk = Buffer.alloc(4096)
    text += chunk.toString('utf8', 0, readSync(fd, chunk))
    const lines = text.split('\n')
    text = lines.pop() ?? ''
    // Among them the greeting, and events.
    const answer = lines.map((line) => JSON.parse(line) as Answer).find((each) => each.id === id)
    if (answer !== undefined) return answer
  }
}

const PLUGGABLE = `/sys/bus/pci/devices/${devices.pluggable}`
/** The root port above it. */
const SLOT = '/sys/bus/pci/devices/0000:00:1d.0'
const EXPRESS = 0x10
const SLOT_CONTROL = 0x18
/** Slot Control with the power indicator off, and the power controller on or off. */
const POWER = { on: 0x03c0, off: 0x07c0 }

function setSlotPower(state: keyof typeof POWER): void {
  const fd = openSync(`${SLOT}/config`, 'r+')
  try {
    const bytes = new Uint8Array(256)
    readSync(fd, bytes, 0, bytes.length, 0)
    let at = bytes[0x34] ?? 0
    while (bytes[at] !== EXPRESS) at = bytes[at + 1] ?? 0
    writeSync(fd, new Uint8Array([POWER[state] & 0xff, POWER[state] >> 8]), 0, 2, at + SLOT_CONTROL)
  } finally {
    closeSync(fd)
  }
}

/**
 * Takes the pluggable device away without asking anybody: without its slot's power it answers to nothing, and the kernel, which
 * left the slot to the firmware, does not notice.
 */
export function pullOut(): void {
  setSlotPower('off')
}

/** Has the kernel asked for the pluggable device, as an operator does who unplugs it. */
export function askToUnplug(): void {
  askMonitor('device_del', { id: 'pluggable' })
}

/** Whether the kernel has let go of the pluggable device. */
export function unplugged(): boolean {
  return !existsSync(PLUGGABLE)
}

/**
 * Puts the pluggable device in again, on vfio-pci; the old one is to be closed by then.
 * @param another where the old one was not only pulled out: QEMU has none any more
 */
export async function putBack(another = false): Promise<void> {
  if (!unplugged()) await writeSysfs(`${PLUGGABLE}/remove`, '1')
  setSlotPower('on')
  if (another) {
    const device = { driver: 'e1000e', romfile: '', id: 'pluggable', bus: 'root-port', addr: '0' }
    askMonitor('device_add', device)
  }
  await writeSysfs('/sys/bus/pci/rescan', '1')
  await until(() => !unplugged(), 'the pluggable device')
  await rebind('pluggable', 'vfio-pci')
}
