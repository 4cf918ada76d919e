// Calls of VFIO_DEVICE_FEATURE by the feature's name, and what their refusals mean.
import { VfioError, type VfioErrorContext } from '../../errors.js'
import type { DeviceCore } from '../core.js'
import { FEATURES, FEATURE_FLAG, type FeatureName, isAbsent } from './ids.js'

function contextOf(name: FeatureName, subject: string, error: VfioError): VfioErrorContext {
  const { code, reason, remedy } = error
  if (code !== 'ENOTTY' && code !== 'EOPNOTSUPP') {
    return {
      subject,
      ...(reason === undefined ? {} : { reason }),
      ...(remedy === undefined ? {} : { remedy }),
    }
  }
  const { uapi, since } = FEATURES[name]
  return {
    subject,
    reason: 'no-feature',
    remedy: `The device or its driver has no ${uapi}, or the kernel is older than Linux ${since}; see features.supported().`,
  }
}

/** Runs a call; its VfioError comes out under the feature's own name, with what is known about it. */
export function asFeature<T>(name: FeatureName, subject: string, call: () => T): T {
  try {
    return call()
  } catch (error) {
    if (!(error instanceof VfioError)) throw error
    const { uapi } = FEATURES[name]
    const own = new VfioError(error.errno, uapi, contextOf(name, subject, error))
    own.cause = error
    throw own
  }
}

/** One direction of a feature; the data as the kernel left it. */
export function callFeature(
  { backend, label }: DeviceCore,
  name: FeatureName,
  direction: 'get' | 'set',
  data: Uint8Array,
): Uint8Array {
  return asFeature(name, label, () => backend.feature(FEATURES[name].id | FEATURE_FLAG[direction], data))
}

/** Whether a feature is there in a direction. */
export function probeFeature(
  { backend, label }: DeviceCore,
  name: FeatureName,
  direction: 'get' | 'set',
): boolean {
  const flags = FEATURES[name].id | FEATURE_FLAG[direction] | FEATURE_FLAG.probe
  try {
    asFeature(name, label, () => backend.feature(flags, new Uint8Array()))
    return true
  } catch (error) {
    if (error instanceof VfioError && isAbsent(error.code)) return false
    throw error
  }
}
