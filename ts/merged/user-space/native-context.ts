// Native context: the guest's own driver of the GPU makes its commands, and virglrenderer gives them to the kernel's.

import { stackOf } from './virgl.js'
import { cannotTell, no, type WayRules, yes } from './way.js'

export const nativeContext: WayRules = {
  name: 'native-context',
  judge(facts) {
    const stack = stackOf(facts)
    if ('answer' in stack) return stack
    const { gl, virgl } = stack
    if (!gl.nativeContext) return no(`virtio-gpu-gl by ${gl.path} has no property drm_native_context`)
    if (virgl.noNativeContext) return no(`${virgl.path} says that it was built without native contexts`)
    if (facts.driver !== 'amdgpu')
      return cannotTell(
        `whether ${virgl.path} has one for ${facts.driver ?? 'it'} shows only when a guest asks`,
      )
    if (!virgl.amdgpu)
      return no(`${virgl.path} is not linked with libdrm_amdgpu, which its native context of amdgpu calls`)
    return yes(
      `virtio-gpu-gl by ${gl.path} with blob, hostmem and drm_native_context; the guest's Mesa must have it too`,
    )
  },
}
