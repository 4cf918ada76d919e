// VirGL: the guest's OpenGL, which virglrenderer gives to the host's driver. QEMU's virtio-gpu-gl does it.

import type { InstalledVirgl, QemuGl } from './installed.js'
import type { UserSpaceAnswer } from '../types.js'
import { no, type WayFacts, type WayRules, yes } from './way.js'

/** What all ways of virtio-gpu in 3D need. */
export interface Stack {
  readonly render: string
  readonly gl: QemuGl
  readonly virgl: InstalledVirgl
}

/** The parts that are there, or the answer for the first that is not. */
export function stackOf({ hostNodes, installed }: WayFacts): Stack | UserSpaceAnswer {
  const { qemu, virgl: library } = installed
  const render = hostNodes.renders[0]
  if (render === undefined)
    return no('the host has no render node of it (/dev/dri/renderDN), by which it could render')
  if (qemu === null) return no('there is no QEMU')
  if (qemu.gl === null)
    return no(
      `${qemu.path} has no virtio-gpu-gl: it neither calls virglrenderer nor has a module hw-display-virtio-gpu-gl`,
    )
  if (library === null) return no('there is no libvirglrenderer.so.1')
  return { render, gl: qemu.gl, virgl: library }
}

export const virgl: WayRules = {
  name: 'virgl',
  judge(facts) {
    const stack = stackOf(facts)
    if ('answer' in stack) return stack
    return yes(`virtio-gpu-gl by ${stack.gl.path}, with ${stack.virgl.path}, on ${stack.render}`)
  },
}
