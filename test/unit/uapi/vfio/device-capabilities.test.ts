// The capabilities of devices and regions that no machine at hand has, from bytes as the kernel lays them out.
import test from 'ava'

import { type DeviceCapability, type RegionCapability } from '../../../../ts/uapi/vfio/device-capabilities.js'
import { decodeDeviceInfo, decodeRegionInfo } from '../../../../ts/uapi/vfio/device-info.js'

/** Bytes in hexadecimal, spaces between. */
const hex = (text: string): number[] => text.split(' ').map((byte) => parseInt(byte, 16))

function device(capability: readonly number[]): DeviceCapability | undefined {
  // vfio_device_info: PCI with capabilities, the first behind it.
  const head = hex('00 00 00 00 82 00 00 00 09 00 00 00 05 00 00 00 18 00 00 00 00 00 00 00')
  return decodeDeviceInfo(Uint8Array.from([...head, ...capability])).capabilities[0]
}

function region(capability: readonly number[]): RegionCapability | undefined {
  // vfio_region_info: region 9 with capabilities, readable.
  const head = hex(
    '00 00 00 00 09 00 00 00 09 00 00 00 20 00 00 00 00 10 00 00 00 00 00 00 00 00 00 00 00 09 00 00',
  )
  return decodeRegionInfo(Uint8Array.from([...head, ...capability])).capabilities[0]
}

const ZPCI_BASE = hex(
  '01 00 02 00 00 00 00 00 00 00 00 00 01 00 00 00 ff ff ff ff 03 00 00 00 00 01 05 00 80 00 0a 10 21 43 65 87',
)
const ZPCI_GROUP = hex(
  '02 00 02 00 00 00 00 00 ff ff ff ff ff ff 0f 00 00 00 00 fe 00 00 00 00 01 00 00 00 00 00 00 00 a0 0f 40 00 80 00 01 00 00 10',
)

test('zPCI: the function, in both versions', (t) => {
  const base = {
    name: 'zpciBase',
    startDma: 0x1_0000_0000n,
    endDma: 0x3_ffff_ffffn,
    pchid: 0x100,
    vfn: 5,
    fmbLength: 128,
    pft: 10,
    gid: 16,
  } as const
  t.deepEqual(device(ZPCI_BASE), { ...base, fh: 0x8765_4321 })
  const first = ZPCI_BASE.slice(0, 32)
  first[2] = 1
  t.deepEqual(device(first), { ...base, fh: null })
})

test('zPCI: its group, in both versions', (t) => {
  const group = {
    name: 'zpciGroup',
    dasm: 0xf_ffff_ffff_ffffn,
    msiAddress: 0xfe00_0000n,
    refresh: true,
    flags: 1n,
    mui: 4000,
    noi: 64,
    maxStoreBlock: 128,
    pciVersion: 1,
  } as const
  t.deepEqual(device(ZPCI_GROUP), { ...group, maxInterpretedStoreBlock: 4096 })
  const first = ZPCI_GROUP.slice(0, 39)
  first[2] = 1
  t.deepEqual(device(first), { ...group, maxInterpretedStoreBlock: null })
  const still = [...ZPCI_GROUP]
  still[24] = 0
  t.like(device(still), { refresh: false, flags: 0n })
})

test('zPCI: utility string and function path, as long as they say and as there are bytes', (t) => {
  t.deepEqual(device(hex('03 00 01 00 00 00 00 00 04 00 00 00 c1 c2 c3 c4')), {
    name: 'zpciUtil',
    bytes: Uint8Array.of(0xc1, 0xc2, 0xc3, 0xc4),
  })
  t.deepEqual(device(hex('04 00 01 00 00 00 00 00 03 00 00 00 01 02 03 00')), {
    name: 'zpciPfip',
    bytes: Uint8Array.of(1, 2, 3),
  })
  t.deepEqual(device(hex('04 00 01 00 00 00 00 00 ff 00 00 00 01 02')), {
    name: 'zpciPfip',
    bytes: Uint8Array.of(1, 2),
  })
})

test('NVLink2: target address and link speed', (t) => {
  t.deepEqual(region(hex('04 00 01 00 00 00 00 00 00 00 00 00 00 40 00 00')), {
    name: 'nvlink2SsaTarget',
    target: 0x4000_0000_0000n,
  })
  t.deepEqual(region(hex('05 00 01 00 00 00 00 00 09 00 00 00 00 00 00 00')), {
    name: 'nvlink2LinkSpeed',
    speed: 9,
  })
})

test('every device-specific region that Linux names', (t) => {
  const kinds: [number, number, string][] = [
    [0x8000_8086, 1, 'intelIgdOpregion'],
    [0x8000_8086, 2, 'intelIgdHostCfg'],
    [0x8000_8086, 3, 'intelIgdLpcCfg'],
    [0x8000_10de, 1, 'nvidiaNvlink2Ram'],
    [0x8000_1014, 1, 'ibmNvlink2Atsd'],
    [1, 1, 'gfxEdid'],
    [2, 1, 'ccwAsyncCmd'],
    [2, 2, 'ccwSchib'],
    [2, 3, 'ccwCrw'],
    [3, 1, 'migrationDeprecated'],
  ]
  for (const [type, subtype, kind] of kinds) {
    const bytes = new Uint8Array(16)
    const view = new DataView(bytes.buffer)
    view.setUint16(0, 2, true)
    view.setUint32(8, type, true)
    view.setUint32(12, subtype, true)
    t.like(region([...bytes]), { name: 'type', type, subtype, kind })
  }
})

test('a capability that is cut short is not read', (t) => {
  for (const [bytes, least] of [
    [ZPCI_BASE, 32],
    [ZPCI_GROUP, 39],
  ] as const)
    t.like(device(bytes.slice(0, least - 1)), { name: 'unknown', id: bytes[0] })
  t.like(device(hex('05 00 01 00 00 00 00 00 07 00')), { name: 'unknown', id: 5 })
  t.like(region(hex('04 00 01 00 00 00 00 00 01 00')), { name: 'unknown', id: 4 })
})
