// DeviceFeatures: VFIO_DEVICE_FEATURE of an open device, typed where the data has a meaning. Migration, which is a feature
// too, has an object of its own.
import { attempt } from '../../errors.js'
import { DmaBufFile } from '../../memory/dma-buf-file.js'
import { pageSize } from '../../memory/page.js'
import { array, boolean, bytes as bytesOf, integer, object, string } from '../../validate.js'
import { type DeviceCore, kernelOf } from '../core.js'
import type { RegionArea } from '../info.js'
import { PCI_REGIONS, type PciRegionName, regionIndex } from '../names.js'
import type { Region } from '../region.js'
import { asFeature, callFeature, probeFeature } from './call.js'
import { DmaLogging } from './dma-logging.js'
import { FEATURES, FEATURE_FLAG, FEATURE_NAMES, type FeatureName } from './ids.js'
import { LowPower } from './low-power.js'

/** In which directions a device has a feature. */
export interface FeatureSupport {
  /** VFIO_DEVICE_FEATURE_GET. */
  readonly get: boolean
  /** VFIO_DEVICE_FEATURE_SET. */
  readonly set: boolean
}

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i

/** What raw() does not take: their data has addresses of this process in it, or they give descriptors. */
const NOT_RAW: readonly (readonly [name: FeatureName, flag: number, instead: string])[] = [
  ['migDeviceState', FEATURE_FLAG.set, 'device.migration.setState()'],
  ['lowPowerEntryWithWakeup', FEATURE_FLAG.set, 'lowPower.enterWithWakeup()'],
  ['dmaLoggingStart', FEATURE_FLAG.set, 'dmaLogging.start()'],
  ['dmaLoggingReport', FEATURE_FLAG.get, 'dmaLogging.report()'],
  ['dmaBuf', FEATURE_FLAG.get, 'dmaBuf()'],
]

const LAST_BAR = 5
const MOST_RANGES = 4096

/** The optional features of a device (VFIO_DEVICE_FEATURE). */
export class DeviceFeatures {
  /** Low power (Linux 6.1). */
  readonly lowPower: LowPower
  /** The device's own log of its DMA writes (Linux 6.1). */
  readonly dmaLogging: DmaLogging
  readonly #device: DeviceCore

  /** @internal */
  constructor(device: DeviceCore) {
    this.#device = device
    this.lowPower = new LowPower(device)
    this.dmaLogging = new DmaLogging(device)
  }

  /** What the device has, probed per direction (VFIO_DEVICE_FEATURE_PROBE); every feature by its name. */
  supported(): Record<FeatureName, FeatureSupport> {
    const entries = FEATURE_NAMES.map((name) => [
      name,
      { get: probeFeature(this.#device, name, 'get'), set: probeFeature(this.#device, name, 'set') },
    ])
    return Object.fromEntries(entries) as Record<FeatureName, FeatureSupport>
  }

  /**
   * Sets the token that openers of the virtual functions must give (`vfToken` of `VfioDevice.open`), on a physical
   * function with SR-IOV (VFIO_DEVICE_FEATURE_PCI_VF_TOKEN, Linux 5.7). Until then it is random. It is a secret between
   * the users of both functions; the physical function's next opener must know it too while a virtual one is open.
   * @param uuid a UUID
   * @throws VfioError `no-feature` where the device is no physical function
   */
  vfToken(uuid: string): void {
    if (!UUID.test(string(uuid, 'uuid'))) throw new RangeError('uuid must be a UUID')
    callFeature(
      this.#device,
      'pciVfToken',
      'set',
      Uint8Array.from(Buffer.from(uuid.replaceAll('-', ''), 'hex')),
    )
  }

  /**
   * Lets a device do DMA, or not, where its bus has no register for it (VFIO_DEVICE_FEATURE_BUS_MASTER, Linux 6.7, CDX).
   * On PCI it is `config.command.busMaster`.
   * @throws VfioError `no-feature` on every other bus
   */
  busMaster(enabled: boolean): void {
    // VFIO_DEVICE_FEATURE_CLEAR_MASTER, VFIO_DEVICE_FEATURE_SET_MASTER
    const data = Uint8Array.of(boolean(enabled, 'enabled') ? 1 : 0, 0, 0, 0)
    callFeature(this.#device, 'busMaster', 'set', data)
  }

  /**
   * Exports parts of a BAR as a dma-buf (VFIO_DEVICE_FEATURE_DMA_BUF, Linux 6.19), which another device can be given.
   * Needs CONFIG_VFIO_PCI_DMABUF. Memory decoding must be on when it is used.
   * @param region `bar0` to `bar5`, by name, index or object
   * @param ranges bytes from the region's start, in whole pages (default: all of it)
   * @throws VfioError `no-feature`; ENODEV for a BAR that is not memory; EINVAL for ranges that overlap or lie outside
   */
  dmaBuf(region: PciRegionName | number | Region, ranges?: readonly RegionArea[]): DmaBufFile {
    const index = typeof region === 'object' ? object(region, 'region').index : regionIndex(region)
    const name = PCI_REGIONS[integer(index, 'region', 0, LAST_BAR)] ?? 'bar0'
    const label = `${name} of ${this.#device.label}`
    const { size } = attempt({ subject: label }, () => this.#device.backend.regionInfo(index))
    const areas = ranges === undefined ? [{ offset: 0, size }] : array(ranges, 'ranges')
    if (areas.length === 0) throw new RangeError('ranges must not be empty')
    if (areas.length > MOST_RANGES)
      throw new RangeError(`ranges must have at most ${String(MOST_RANGES)} entries`)
    const page = pageSize()
    const flat = areas.flatMap((area, i) => checkArea(area, `ranges[${String(i)}]`, size, page))
    const kernel = kernelOf(this.#device, FEATURES.dmaBuf.uapi)
    const native = asFeature('dmaBuf', label, () => kernel.exportDmaBuf(index, flat))
    return new DmaBufFile(native, `dma-buf of ${label}`)
  }

  /**
   * VFIO_DEVICE_FEATURE as it is, for ids to come.
   * @param id 0 to 65535
   * @param flags `VFIO_DEVICE_FEATURE_GET`, `_SET` and `_PROBE`: bits 16, 17 and 18
   * @param data the feature's structure, at most 64 KiB; what comes back is as long
   * @throws RangeError for features whose data holds addresses or descriptors, which have typed forms
   */
  raw(id: number, flags: number, data: ArrayBufferView): Uint8Array {
    integer(id, 'id', 0, FEATURE_FLAG.mask)
    integer(flags, 'flags', 0, 0xffff_ffff)
    if ((flags & FEATURE_FLAG.mask) !== 0) throw new RangeError('flags must not have any of the bits 0 to 15')
    const bytes = bytesOf(data, 'data')
    integer(bytes.byteLength, 'data.byteLength', 0, 65536)
    for (const [name, flag, instead] of NOT_RAW) {
      if (FEATURES[name].id === id && (flags & flag) !== 0 && (flags & FEATURE_FLAG.probe) === 0)
        throw new RangeError(`id ${String(id)} (${FEATURES[name].uapi}) is called through ${instead}`)
    }
    const known = FEATURE_NAMES.find((name) => FEATURES[name].id === id)
    const call = (): Uint8Array => this.#device.backend.feature((flags | id) >>> 0, bytes)
    return known === undefined ? call() : asFeature(known, this.#device.label, call)
  }

  /** What does not end with the device's file. @internal */
  closeWithDevice(): void {
    this.dmaLogging.stopWithDevice()
  }
}

function checkArea(area: RegionArea, name: string, regionSize: number, page: number): [bigint, bigint] {
  const { offset, size } = object(area, name)
  integer(offset, `${name}.offset`, 0, Math.max(0, regionSize - 1))
  integer(size, `${name}.size`, 1, regionSize - offset)
  if (offset % page !== 0 || size % page !== 0)
    throw new RangeError(`${name} must be whole pages of ${String(page)} bytes`)
  return [BigInt(offset), BigInt(size)]
}
