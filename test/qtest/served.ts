// A device of ours on a socket, and stock QEMU as its client: what each test of this folder begins with. It must not know what is
// tested.
import { join } from 'node:path'
import { type ExecutionContext } from 'ava'

import { UserDevice, type UserDeviceOptions, UserDeviceServer } from '../../ts/vfio-user/index.js'
import { temporaryFolder } from '../temporary.js'
import { type Guest } from './guest.js'
import { type Msix, PciFunction } from './pci.js'
import { Qemu, type QemuOptions, SLOT } from './qemu.js'

/** Served to stock QEMU, before any BAR has an address. */
export interface Served {
  device: UserDevice
  server: UserDeviceServer
  /** Where it listens. */
  path: string
  qemu: Qemu
  guest: Guest
  pci: PciFunction
  /** What the server told of. */
  errors: string[]
}

export const IDENTITY = { vendorId: 0x1234, deviceId: 0x5678, classCode: 0x00ff00, revision: 3 } as const

/** Another path for a socket; gone with the test. */
export function socketPath(t: ExecutionContext): string {
  return join(temporaryFolder(t, 'socket'), 's')
}

export function deviceOf(options: Partial<UserDeviceOptions>): UserDevice {
  return new UserDevice({ name: 'tested', pci: IDENTITY, ...options })
}

/** Serves a device, without a client. */
export function serve(
  t: ExecutionContext,
  device: UserDevice,
  errors: string[] = [],
): { server: UserDeviceServer; path: string } {
  const path = socketPath(t)
  const onError = ({ message }: Error) => errors.push(message)
  const server = UserDeviceServer.listen(path, device, { onError })
  t.teardown(() => server.close())
  return { server, path }
}

export async function served(
  t: ExecutionContext,
  options: Partial<UserDeviceOptions>,
  qemuOptions?: QemuOptions,
): Promise<Served> {
  const device = deviceOf(options)
  const errors: string[] = []
  const { server, path } = serve(t, device, errors)
  const qemu = await Qemu.start(t, path, qemuOptions)
  return { device, server, path, qemu, guest: qemu.guest, pci: new PciFunction(qemu.guest, SLOT), errors }
}

/** The same, with BAR 0 placed, decoding and bus mastering on. */
export async function running(
  t: ExecutionContext,
  options: Partial<UserDeviceOptions>,
  qemuOptions?: QemuOptions,
): Promise<Served & { bar0: number }> {
  const all = await served(t, options, qemuOptions)
  const bar0 = await all.pci.place(0)
  await all.pci.enable()
  return { ...all, bar0 }
}

/** MSI-X of a device that leaves its table to the library: in the first BAR that is free. */
export async function msixOf({ pci }: Served, bar: number): Promise<Msix> {
  return pci.msix({ [bar]: await pci.place(bar) })
}

/** Waits until a condition holds, `milliseconds` at most; whether it did. */
export async function eventually(
  condition: () => boolean | Promise<boolean>,
  milliseconds = 3000,
): Promise<boolean> {
  const end = performance.now() + milliseconds
  while (!(await condition())) {
    if (performance.now() > end) return false
    await new Promise((resolve) => setTimeout(resolve, 2))
  }
  return true
}
