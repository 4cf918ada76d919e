// NVIDIA's vendor VFIO (vGPU 17 and later, Linux 6.8 and later): virtual functions that stay with the driver nvidia and become
// a vGPU when its type is written to them. It must not do the steps, nor decide whether they may be done.

import { join } from 'node:path'
import { string } from '../validate.js'
import type { HostStep } from './step.js'
import { readText, readUnsigned } from './sysfs.js'

/** A type that a virtual function of NVIDIA's can become. */
export interface VgpuType {
  readonly id: number
  readonly name: string
}

/** A virtual function of NVIDIA's. */
export interface VgpuFunction {
  /** `nvidia/current_vgpu_type`: 0 for none. */
  readonly current: number
  /** `nvidia/creatable_vgpu_types`: shrinks as the siblings fill, so it holds for the moment when it is read. */
  readonly creatable: readonly VgpuType[]
}

/** Lines `<id> : <name>` under a heading; others are left out. */
export function parseVgpuTypes(text: string): VgpuType[] {
  return text.split('\n').flatMap((line) => {
    const match = /^\s*(\d{1,9})\s*:\s*(\S.*?)\s*$/.exec(line)
    return match === null ? [] : [{ id: Number(match[1]), name: match[2] ?? '' }]
  })
}

/** The virtual function in directory `path`; null if it has not these files. */
export function readVgpu(path: string): VgpuFunction | null {
  string(path, 'path')
  const current = readUnsigned(0xffff_ffff, path, 'nvidia', 'current_vgpu_type')
  const creatable = readText(path, 'nvidia', 'creatable_vgpu_types')
  return current === null || creatable === null ? null : { current, creatable: parseVgpuTypes(creatable) }
}

function typeStep(path: string, from: number, to: number, why: string): HostStep {
  const file = join(path, 'nvidia', 'current_vgpu_type')
  const step: HostStep = {
    write: { file, text: String(to) },
    look: { how: 'text', path: file },
    old: String(from),
    new: String(to),
    why,
    undo: { file, text: String(from) },
  }
  return to === 0
    ? step
    : { ...step, needs: { path: join(path, 'nvidia', 'creatable_vgpu_types'), entry: String(to) } }
}

/** From one type to another, through none: a vGPU is destroyed before there is another. 0 is none. */
export function vgpuSteps(path: string, from: number, to: number): HostStep[] {
  if (from === to) return []
  return [
    ...(from === 0 ? [] : [typeStep(path, from, 0, `the vGPU of type ${from} is destroyed`)]),
    ...(to === 0 ? [] : [typeStep(path, 0, to, `it becomes a vGPU of type ${to}`)]),
  ]
}
