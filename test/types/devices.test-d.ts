// The types of features, migration, hot reset and display.

import { expectTypeOf } from 'expect-type'
import {
  type DirtyBitmap,
  DmaBufFile,
  type DmabufPlane,
  type EventFd,
  type FeatureName,
  type FeatureSupport,
  type GfxPlane,
  HotReset,
  type HotResetInfo,
  type InterruptIndex,
  type MigrationState,
  type MigrationStream,
  type RegionPlane,
  type VfioDevice,
} from '../../ts/index.js'

declare const device: VfioDevice
const { features } = device
expectTypeOf(features.supported()).toEqualTypeOf<Record<FeatureName, FeatureSupport>>()
expectTypeOf(features.supported().dmaBuf.get).toBeBoolean()
expectTypeOf(features.lowPower.enterWithWakeup).returns.toEqualTypeOf<EventFd>()
expectTypeOf(features.dmaLogging.start({ ranges: [{ iova: 0n, size: 4096 }] })).toBeNumber()
expectTypeOf(features.dmaLogging.report).returns.toEqualTypeOf<DirtyBitmap>()
expectTypeOf(features.dmaBuf('bar2', [{ offset: 0, size: 4096 }])).toEqualTypeOf<DmaBufFile>()
expectTypeOf(features.raw).returns.toEqualTypeOf<Uint8Array>()
// @ts-expect-error: addresses are bigints
features.dmaLogging.start({ ranges: [{ iova: 0, size: 4096 }] })
// @ts-expect-error: a BAR goes by its name
features.dmaBuf('bar7')
// @ts-expect-error: there is no such feature
features.supported().teleport.get.valueOf()

const { migration } = device
// @ts-expect-error: not every device has it
migration.state.valueOf()
if (migration !== undefined) {
  expectTypeOf(migration.state).toEqualTypeOf<MigrationState>()
  expectTypeOf(migration.setState).returns.resolves.toEqualTypeOf<MigrationStream | null>()
  for await (const chunk of migration.save({ preCopy: { until: (info) => info.initialBytes === 0 } }))
    expectTypeOf(chunk).toEqualTypeOf<Uint8Array>()
  await migration.restore(migration.save())
  await migration.restore([new Uint8Array(1)])
  // @ts-expect-error: states have the kernel's names
  await migration.setState('paused')
  // @ts-expect-error: bytes, not text
  await migration.restore(['text'])
}

expectTypeOf(device.hotReset).toEqualTypeOf<HotReset>()
expectTypeOf(device.hotReset.run([device])).resolves.toBeVoid()
declare const info: HotResetInfo
if (info.by === 'group') expectTypeOf(info.devices[0]?.group).toEqualTypeOf<number | undefined>()
else expectTypeOf(info.devices[0]?.id).toEqualTypeOf<number | null | undefined>()
// @ts-expect-error: devices, not addresses
await device.hotReset.run(['0000:01:00.0'])

const plane = device.gfx?.plane('cursor')
expectTypeOf(plane).toEqualTypeOf<GfxPlane | null | undefined>()
if (plane?.kind === 'region') expectTypeOf(plane).toEqualTypeOf<RegionPlane>()
if (plane?.kind === 'dmabuf') expectTypeOf(plane).toEqualTypeOf<DmabufPlane>()
declare const buffered: DmabufPlane
// @ts-expect-error: only region planes have pixels to read
device.gfx?.frame(buffered)
expectTypeOf(DmaBufFile.fromFd).returns.toEqualTypeOf<DmaBufFile>()
expectTypeOf<DmaBufFile>().toExtend<Disposable>()
// @ts-expect-error: it is made by a device
new HotReset()

expectTypeOf(device.irq('cfgChg')).toEqualTypeOf<InterruptIndex>()
