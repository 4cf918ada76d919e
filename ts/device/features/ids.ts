// The ids of VFIO_DEVICE_FEATURE by name. Pure.

const feature = (id: number, uapi: string, since: string): FeatureId => ({ id, uapi, since })

interface FeatureId {
  readonly id: number
  /** The kernel's name. */
  readonly uapi: string
  /** The Linux version that brought it. */
  readonly since: string
}

/** Every feature of Linux 7.2, by the kernel's name in this language's case. */
export const FEATURES = {
  pciVfToken: feature(0, 'VFIO_DEVICE_FEATURE_PCI_VF_TOKEN', '5.7'),
  migration: feature(1, 'VFIO_DEVICE_FEATURE_MIGRATION', '5.18'),
  migDeviceState: feature(2, 'VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE', '5.18'),
  lowPowerEntry: feature(3, 'VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY', '6.1'),
  lowPowerEntryWithWakeup: feature(4, 'VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP', '6.1'),
  lowPowerExit: feature(5, 'VFIO_DEVICE_FEATURE_LOW_POWER_EXIT', '6.1'),
  dmaLoggingStart: feature(6, 'VFIO_DEVICE_FEATURE_DMA_LOGGING_START', '6.1'),
  dmaLoggingStop: feature(7, 'VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP', '6.1'),
  dmaLoggingReport: feature(8, 'VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT', '6.1'),
  migDataSize: feature(9, 'VFIO_DEVICE_FEATURE_MIG_DATA_SIZE', '6.2'),
  busMaster: feature(10, 'VFIO_DEVICE_FEATURE_BUS_MASTER', '6.7'),
  dmaBuf: feature(11, 'VFIO_DEVICE_FEATURE_DMA_BUF', '6.19'),
  migPrecopyInfoV2: feature(12, 'VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2', '7.1'),
} as const

export type FeatureName = keyof typeof FEATURES

export const FEATURE_NAMES = Object.keys(FEATURES) as FeatureName[]

/** VFIO_DEVICE_FEATURE_MASK, VFIO_DEVICE_FEATURE_GET, VFIO_DEVICE_FEATURE_SET and VFIO_DEVICE_FEATURE_PROBE. */
export const FEATURE_FLAG = { mask: 0xffff, get: 1 << 16, set: 1 << 17, probe: 1 << 18 } as const

/**
 * Whether an errno says that a feature is not there: ENOTTY from older kernels and from drivers without features, EINVAL
 * for a direction that the feature has not (and for pre-copy's without pre-copy), EOPNOTSUPP where the driver knows it
 * and the device cannot.
 */
export function isAbsent(code: string): boolean {
  return code === 'ENOTTY' || code === 'EINVAL' || code === 'EOPNOTSUPP'
}
