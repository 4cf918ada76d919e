// Venus: the guest's Vulkan, which virglrenderer gives to the host's driver, in a process of its own.

import { isAtLeast } from '../knowledge/versions.js'
import { stackOf } from './virgl.js'
import { cannotTell, no, type WayFacts, type WayRules, yes } from './way.js'

/** How the files begin that name the Vulkan driver for a kernel's driver. */
const VULKAN: Readonly<Record<string, string>> = {
  amdgpu: 'radeon_icd',
  i915: 'intel_icd',
  xe: 'intel_icd',
  nvidia: 'nvidia_icd',
  nouveau: 'nouveau_icd',
}

/**
 * From then on KVM gives guests memory that the kernel's driver has not counted, as that of RADV is. Mesa's documentation of Venus
 * says so.
 */
const KERNEL_FOR_AMDGPU = '6.13'

/** Why guests cannot map what the driver allocates. */
function kernelTooOld({ driver, kernelRelease }: WayFacts): ReturnType<typeof no> | null {
  if (driver !== 'amdgpu') return null
  const able = kernelRelease === null ? null : isAtLeast(kernelRelease, KERNEL_FOR_AMDGPU)
  const need = `with amdgpu it takes Linux ${KERNEL_FOR_AMDGPU} or newer`
  if (kernelRelease === null || able === null)
    return cannotTell(`${need}, and the kernel's release could not be read`)
  return able ? null : no(`${need}, and this is ${kernelRelease}`)
}

export const venus: WayRules = {
  name: 'venus',
  judge(facts) {
    const stack = stackOf(facts)
    if ('answer' in stack) return stack
    const { driver, installed } = facts
    if (!stack.gl.venus) return no(`virtio-gpu-gl by ${stack.gl.path} has no property venus`)
    if (!stack.virgl.venus) return no(`${stack.virgl.path} was built without Venus`)
    if (installed.renderServer === null)
      return no('there is no virgl_render_server, in which Venus runs (Debian has it in virgl-server)')
    const old = kernelTooOld(facts)
    if (old !== null) return old
    const { vulkan } = installed
    if (vulkan.length === 0) return no('there is no Vulkan driver (vulkan/icd.d)')
    const begins = driver === null || !Object.hasOwn(VULKAN, driver) ? undefined : VULKAN[driver]
    if (begins === undefined)
      return cannotTell(
        `which of the Vulkan drivers is for ${driver ?? 'it'} is not known: ${vulkan.join(', ')}`,
      )
    const icd = vulkan.find((name) => name.startsWith(begins))
    if (icd === undefined)
      return no(`no Vulkan driver is for ${driver ?? 'it'} (${begins}*.json): there are ${vulkan.join(', ')}`)
    return yes(`virtio-gpu-gl by ${stack.gl.path} with blob, hostmem and venus, and ${icd}`)
  },
}
