// The types of node-vfio/host: what a reader may rely on, and what the compiler must refuse.

import { expectTypeOf } from 'expect-type'
import {
  formatBdf,
  parseBdf,
  type PciAddress,
  type ResolvedDevice,
  resolveDevice,
  type VfioDev,
} from '../../ts/host/index.js'

expectTypeOf(formatBdf).parameter(0).toExtend<PciAddress>()
expectTypeOf(formatBdf).returns.toBeString()
expectTypeOf(parseBdf).parameter(0).toBeString()

expectTypeOf(resolveDevice).returns.toExtend<ResolvedDevice | null>()
expectTypeOf<ResolvedDevice['kind']>().toEqualTypeOf<'pci' | 'mdev' | 'platform' | 'other'>()
expectTypeOf<ResolvedDevice['iommuGroup']>().toEqualTypeOf<number | null>()
expectTypeOf<ResolvedDevice['vfioDev']>().toEqualTypeOf<VfioDev | null>()

// @ts-expect-error: an address is text or its four parts, never a number
parseBdf(0x10)

declare const device: ResolvedDevice
// @ts-expect-error: what was read from sysfs is read-only
device.driver = 'vfio-pci'
