// What is installed that gives guests a GPU in user space: VMMs, virglrenderer, drivers of Vulkan, nodes of the kernel. It looks where
// distributions put them, and runs nothing. It must not conclude anything from it.

import { accessSync } from 'node:fs'
import { machine } from 'node:os'
import { join } from 'node:path'
import type { Attempts } from '../../host/attempts.js'
import { devRoot, etcRoot, type HostOptions, listNames, usrRoot } from '../../host/sysfs.js'
import { textsIn } from './texts.js'

/** QEMU's device that renders by virglrenderer: a module of its own, or a part of the program. */
export interface QemuGl {
  /** The file that has it. */
  readonly path: string
  /** Whether it has the property `venus`. */
  readonly venus: boolean
  /** Whether it has the property `drm_native_context`. */
  readonly nativeContext: boolean
}

export interface InstalledQemu {
  readonly path: string
  /** Whether it has vfio-user-pci. */
  readonly vfioUser: boolean
  readonly gl: QemuGl | null
}

export interface InstalledVirgl {
  readonly path: string
  readonly venus: boolean
  /** Whether it says that it was built without native contexts. */
  readonly noNativeContext: boolean
  /** Whether it is linked with what the native context of amdgpu calls. */
  readonly amdgpu: boolean
}

export interface Installed {
  readonly qemu: InstalledQemu | null
  /** A cloud-hypervisor that takes devices of vfio-user. */
  readonly cloudHypervisor: string | null
  readonly virgl: InstalledVirgl | null
  /** The process of virglrenderer in which Venus runs. */
  readonly renderServer: string | null
  /** Files that name drivers of Vulkan, such as `radeon_icd.json`. */
  readonly vulkan: readonly string[]
  readonly kvm: boolean
  readonly udmabuf: boolean
}

const first = <T>(candidates: readonly string[], look: (path: string) => T | null): T | null => {
  for (const path of candidates) {
    const found = look(path)
    if (found !== null) return found
  }
  return null
}

function isThere(path: string): boolean {
  try {
    accessSync(path)
    return true
  } catch {
    return false
  }
}

/** `/usr/local` goes before `/usr`, as in every search path. */
const prefixes = (options: HostOptions): string[] => [join(usrRoot(options), 'local'), usrRoot(options)]

/** Where libraries of this machine's kind are: Debian's folder, that of Fedora and openSUSE, that of Arch and Alpine. */
const libraryFolders = (options: HostOptions): string[] =>
  prefixes(options).flatMap((prefix) =>
    [`lib/${machine()}-linux-gnu`, 'lib64', 'lib'].map((folder) => join(prefix, folder)),
  )

const programs = (options: HostOptions, ...names: string[]): string[] =>
  prefixes(options).flatMap((prefix) => names.map((name) => join(prefix, name)))

// Without the module the program itself has the device: it then calls virglrenderer. The device's name proves nothing, since the
// program has a list of what its modules bring.
const CALLS_VIRGL = 'virgl_renderer_init'
const GL_PROPERTIES = ['drm_native_context', 'venus'] as const

function readGl(qemu: string, attempts: Attempts, options: HostOptions): QemuGl | null {
  const modules = libraryFolders(options).map((folder) => join(folder, 'qemu', 'hw-display-virtio-gpu-gl.so'))
  return first([...modules, qemu], (path) => {
    const texts = attempts.run(path, () => textsIn(path, [...GL_PROPERTIES, CALLS_VIRGL]), null)
    if (texts?.has(CALLS_VIRGL) !== true) return null
    return { path, venus: texts.has('venus'), nativeContext: texts.has('drm_native_context') }
  })
}

function readQemu(attempts: Attempts, options: HostOptions): InstalledQemu | null {
  // The second is that of RHEL and its kin.
  const names = programs(options, `bin/qemu-system-${machine()}`, 'libexec/qemu-kvm')
  return first(names, (path) => {
    const texts = attempts.run(path, () => textsIn(path, ['vfio-user-pci']), null)
    return texts === null
      ? null
      : { path, vfioUser: texts.has('vfio-user-pci'), gl: readGl(path, attempts, options) }
  })
}

// What a library says that was built without native contexts; Venus's protocol; the library that the native context of amdgpu calls.
const NO_NATIVE_CONTEXT = 'DRM native context support was not enabled'
const VENUS_PROTOCOL = 'VK_MESA_venus_protocol'
const AMDGPU_LIBRARY = 'libdrm_amdgpu.so'

function readVirgl(attempts: Attempts, options: HostOptions): InstalledVirgl | null {
  const paths = libraryFolders(options).map((folder) => join(folder, 'libvirglrenderer.so.1'))
  return first(paths, (path) => {
    const wanted = [NO_NATIVE_CONTEXT, VENUS_PROTOCOL, AMDGPU_LIBRARY] as const
    const texts = attempts.run(path, () => textsIn(path, wanted), null)
    if (texts === null) return null
    return {
      path,
      venus: texts.has(VENUS_PROTOCOL),
      noNativeContext: texts.has(NO_NATIVE_CONTEXT),
      amdgpu: texts.has(AMDGPU_LIBRARY),
    }
  })
}

function readVulkan(attempts: Attempts, options: HostOptions): string[] {
  const folders = [etcRoot(options), ...prefixes(options).map((prefix) => join(prefix, 'share'))].map(
    (root) => join(root, 'vulkan', 'icd.d'),
  )
  return folders
    .flatMap((folder) => attempts.run(folder, () => listNames(folder), null) ?? [])
    .filter((name) => name.endsWith('.json'))
    .sort()
}

export function readInstalled(attempts: Attempts, options: HostOptions): Installed {
  const cloudHypervisor = first(programs(options, 'bin/cloud-hypervisor'), (path) =>
    attempts.run(path, () => textsIn(path, ['user-device']), null)?.has('user-device') === true ? path : null,
  )
  const servers = programs(options, 'libexec/virgl_render_server', 'lib/virglrenderer/virgl_render_server')
  return {
    qemu: readQemu(attempts, options),
    cloudHypervisor,
    virgl: readVirgl(attempts, options),
    renderServer: first(servers, (path) => (isThere(path) ? path : null)),
    vulkan: readVulkan(attempts, options),
    kvm: isThere(join(devRoot(options), 'kvm')),
    udmabuf: isThere(join(devRoot(options), 'udmabuf')),
  }
}
