// The bytes of vfio_pci_hot_reset_info, in both of their meanings; and of vfio_device_gfx_plane_info.
import test from 'ava'

import { decodePlane } from '../../../../ts/uapi/vfio/gfx-plane.js'
import { decodeHotResetInfo } from '../../../../ts/uapi/vfio/hot-reset.js'

const DEV_ID = 1
const DEV_ID_OWNED = 2

function entries(...list: [id: number, segment: number, bus: number, devfn: number][]): Uint8Array {
  const bytes = new Uint8Array(8 * list.length)
  const view = new DataView(bytes.buffer)
  list.forEach(([id, segment, bus, devfn], i) => {
    view.setInt32(8 * i, id, true)
    view.setUint16(8 * i + 4, segment, true)
    view.setUint8(8 * i + 6, bus)
    view.setUint8(8 * i + 7, devfn)
  })
  return bytes
}

test('groups', (t) => {
  t.deepEqual(decodeHotResetInfo(0, entries([8, 0, 1, 0x08], [9, 0xabcd, 0xff, 0xff])), {
    by: 'group',
    devices: [
      { address: '0000:01:01.0', group: 8 },
      { address: 'abcd:ff:1f.7', group: 9 },
    ],
  })
  t.deepEqual(decodeHotResetInfo(0, new Uint8Array()), { by: 'group', devices: [] })
})

test('ids in an iommufd: bound, owned and not owned', (t) => {
  const list = entries([3, 0, 1, 0], [0, 0, 1, 1], [-1, 0, 1, 2])
  t.deepEqual(decodeHotResetInfo(DEV_ID, list), {
    by: 'iommufd',
    owned: false,
    devices: [
      { address: '0000:01:00.0', ownership: 'bound', id: 3 },
      { address: '0000:01:00.1', ownership: 'owned', id: null },
      { address: '0000:01:00.2', ownership: 'not-owned', id: null },
    ],
  })
  t.like(decodeHotResetInfo(DEV_ID | DEV_ID_OWNED, entries()), { by: 'iommufd', owned: true })
})

test('a plane: every field in its place, and none where nothing is shown', (t) => {
  const bytes = new Uint8Array(64)
  const view = new DataView(bytes.buffer)
  t.is(decodePlane('region', 'primary', bytes), null)
  ;[64, 4, 2, 0x3432_5241].forEach((word, i) => {
    view.setUint32(4 * i, word, true)
  })
  view.setBigUint64(16, 0x0100_0000_0000_0001n, true)
  ;[256, 64, 1024, 65_536, 10, 20, 3, 4, 7].forEach((word, i) => {
    view.setUint32(24 + 4 * i, word, true)
  })
  t.deepEqual(decodePlane('dmabuf', 'cursor', bytes), {
    kind: 'dmabuf',
    type: 'cursor',
    format: 0x3432_5241,
    formatName: 'AR24',
    modifier: 0x0100_0000_0000_0001n,
    width: 256,
    height: 64,
    stride: 1024,
    size: 65_536,
    x: 10,
    y: 20,
    hotX: 3,
    hotY: 4,
    dmabufId: 7,
  })
  t.like(decodePlane('region', 'primary', bytes), { kind: 'region', regionIndex: 7 })
})
