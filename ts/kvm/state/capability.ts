// Extensions of KVM that are turned on. Says of one that is not there that it is not, where KVM would say EINVAL to
// everything.
import { EOPNOTSUPP, VfioError, attempt } from '../../errors.js'
import { addon, type NativeHandle } from '../../native/index.js'
import { MAX_U64, array, bigint } from '../../validate.js'
import { type Capability, capabilityNumber } from '../../uapi/kvm/capabilities.js'

const MOST_ARGS = 4

/** An extension as an error names it. */
function nameOf(capability: Capability | number): string {
  return typeof capability === 'number' ? `extension ${String(capability)}` : `KVM_CAP_${capability}`
}

/** Throws EOPNOTSUPP where KVM says 0 of an extension. Gives what it says. @internal */
export function needCapability(handle: NativeHandle, capability: Capability | number, call: string): number {
  const answer = addon().kvmCheckExtension(handle, capabilityNumber(capability))
  if (answer > 0) return answer
  throw new VfioError(EOPNOTSUPP, call, {
    subject: nameOf(capability),
    remedy:
      'The kernel, its configuration or this processor does not have it: kvm.checkExtension() says 0. A newer kernel may.',
  })
}

/** KVM_ENABLE_CAP on a machine or a vCPU. @internal */
export function enableCapability(
  handle: NativeHandle,
  capability: Capability | number,
  args: readonly bigint[],
): void {
  const number = capabilityNumber(capability)
  if (array(args, 'args').length > MOST_ARGS) {
    throw new RangeError(`args must be at most ${String(MOST_ARGS)}, not ${String(args.length)}`)
  }
  for (const [i, arg] of args.entries()) bigint(arg, `args[${String(i)}]`, 0n, MAX_U64)
  needCapability(handle, capability, 'KVM_ENABLE_CAP')
  attempt(
    (error) =>
      error.code === 'EINVAL'
        ? {
            subject: nameOf(capability),
            remedy:
              'It does not take these arguments, is of the other kind (machine or vCPU), or comes too late: most are turned on before the first vCPU.',
          }
        : { subject: nameOf(capability) },
    () => {
      addon().kvmEnableCap(handle, number, args)
    },
  )
}
