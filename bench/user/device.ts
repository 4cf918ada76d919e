// The device that the rows of user.* read, ring and are interrupted by; the same in whichever thread it is served.
import { UserDevice, UserDeviceServer } from '../../ts/vfio-user/index.js'

/** Where in BAR 0 its doorbell is. */
export const DOORBELL = 0x100

export interface BenchDevice {
  readonly device: UserDevice
  readonly server: UserDeviceServer
  close(): void
}

/** @param onRing called with how often the doorbell rang; without it there is none, and no interrupt either */
export function serveDevice(
  path: string,
  mode: 'loop' | 'thread',
  onRing?: (count: number) => void,
): BenchDevice {
  let value = 1
  const device = new UserDevice({
    name: 'bench',
    pci: { vendorId: 0x1234, deviceId: 0xbe4c, classCode: 0xff0000 },
    regions: {
      bar0: {
        size: 4096,
        read: () => value,
        write: (_offset, _width, written) => {
          value = written
        },
        ...(onRing === undefined ? {} : { doorbells: [{ offset: DOORBELL, width: 4, onRing }] }),
      },
    },
    irqs: onRing === undefined ? {} : { msix: 1 },
  })
  const server = UserDeviceServer.listen(path, device, { mode })
  return { device, server, close: () => server.close() }
}
