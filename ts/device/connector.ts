// The door for devices that are reached by a connection: who opens one, above this folder, says so here. Owns what may be asked
// for; knows no protocol.
import { ENOSYS, VfioError } from '../errors.js'
import type { OpenedSpace } from '../iommu/backend.js'
import { boolean, integer, options as optionsOf, string } from '../validate.js'
import type { OpenedDevice } from './backend.js'

/** How `VfioDevice.connect` is to treat a server. */
export interface ConnectOptions {
  /** What errors call the device (default: `user:` and the path, or its file descriptor). */
  name?: string
  /**
   * The bound of every wait for the server, 1 to 600,000 ms (default 5000). One that does not answer in time has lost the
   * device: what it says later could not be told from an answer to something else.
   */
  timeoutMs?: number
  /**
   * How long an access looks for its answer before the thread sleeps, 0 to 10,000 microseconds (default 0): faster where both
   * sides have a processor each, a waste elsewhere.
   */
  spinMicros?: number
  /**
   * Writes to BARs do not wait for an answer (default false). They keep their order with everything else on the connection, as
   * posted writes on a bus do, and are not told when the server refuses them. A region that is mapped in part is never written so.
   * Posted or not, a copy into registers (`region.write`) is one message where the server takes several writes in one.
   */
  postedWrites?: boolean
  /** Map and guard what the server gives descriptors for, as for `open` (default true). Without, every access is a message. */
  guard?: boolean
  /** As for `open`: watch the request and error interrupts and answer them (default true). */
  watch?: boolean
}

export type CheckedConnect = Required<ConnectOptions>

/** A device that was connected to, with the address space that comes with it: what the server sees as memory. */
export interface ConnectedDevice {
  readonly device: OpenedDevice
  readonly space: OpenedSpace
}

/** @param target a path, or a connected socket's descriptor, which is taken over */
export type Connector = (target: string | number, options: CheckedConnect) => Promise<ConnectedDevice>

let connector: Connector | undefined

/** Says who connects. */
export function setConnector(own: Connector): void {
  connector = own
}

export function checkConnect(target: string | number, options: ConnectOptions | undefined): CheckedConnect {
  if (typeof target === 'number') integer(target, 'target', 0, 0x7fff_ffff)
  else if (string(target, 'target') === '') throw new RangeError('target must be a path or a descriptor')
  const {
    name = typeof target === 'number' ? `user:fd ${String(target)}` : `user:${target}`,
    timeoutMs = 5000,
    spinMicros = 0,
    postedWrites = false,
    guard = true,
    watch = true,
  } = optionsOf(options, 'options')
  return {
    name: string(name, 'name'),
    timeoutMs: integer(timeoutMs, 'timeoutMs', 1, 600_000),
    spinMicros: integer(spinMicros, 'spinMicros', 0, 10_000),
    postedWrites: boolean(postedWrites, 'postedWrites'),
    guard: boolean(guard, 'guard'),
    watch: boolean(watch, 'watch'),
  }
}

export function connectTo(target: string | number, options: CheckedConnect): Promise<ConnectedDevice> {
  if (connector !== undefined) return connector(target, options)
  throw new VfioError(ENOSYS, 'connect', {
    subject: options.name,
    remedy: 'Import the package by its entry point.',
  })
}
