// Owns the kernel: Debian's own, as most users have it, with the modules and the static busybox that boot it.
// It knows packages and module files, and nothing of the machine they will run on.

import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { cached, digest } from './cache.mjs'
import { Apt, DEBIAN_LIBRARIES, osRelease } from './packages.mjs'
import { RigError, say } from './say.mjs'
import { extractVmlinux } from './vmlinux.mjs'

const KERNEL = 'linux-image-amd64'

// From 7.x on the image package is empty and its dependencies hold the files, so all of the kernel's own
// packages are followed; what else it asks for (an initramfs tool, a boot loader) makes no difference here.
const OF_THE_KERNEL = /^linux-(image|binary|modules|base)-/

// depmod comes along because the packages leave modules.dep to the installation that never happens, xz because
// Node cannot unpack the kernel; both with their libraries, which the host may lack.
const TOOLS = ['busybox-static', 'kmod', 'xz-utils']

const distribution = () => `${osRelease('ID') ?? 'unknown'}-${osRelease('VERSION_ID') ?? 'unknown'}`

const first = (...paths) => paths.find((path) => existsSync(path))

const describeTree = (tree) => {
  const moduleFolder = first(join(tree, 'usr/lib/modules'), join(tree, 'lib/modules'))
  const release = moduleFolder && readdirSync(moduleFolder)[0]
  const compressed =
    release && first(join(tree, `boot/vmlinuz-${release}`), join(moduleFolder, release, 'vmlinuz'))
  const busybox = first(join(tree, 'usr/bin/busybox'), join(tree, 'bin/busybox'))
  if (!compressed || !busybox) throw new RigError(`no kernel or no busybox in what was unpacked at ${tree}`)
  return {
    release,
    compressed,
    image: first(join(tree, 'vmlinux')) ?? compressed,
    busybox,
    modules: join(moduleFolder, release),
  }
}

/** Runs a program of the unpacked packages with the libraries unpacked beside it. */
const runTool = (tree, name, args, options) => {
  const libraries = ['usr/lib', 'lib'].flatMap((folder) => [folder, join(folder, 'x86_64-linux-gnu')])
  try {
    return execFileSync(first(join(tree, 'usr/bin', name), join(tree, 'bin', name)), args, {
      env: { ...process.env, LD_LIBRARY_PATH: libraries.map((folder) => join(tree, folder)).join(':') },
      stdio: ['pipe', 'pipe', 'inherit'],
      maxBuffer: 1 << 30,
      ...options,
    })
  } catch (error) {
    throw new RigError(`the unpacked ${name} does not run here: ${error.message}`)
  }
}

const prepare = (tree) => {
  const { release, compressed, modules } = describeTree(tree)
  const base = modules.slice(0, -`/lib/modules/${release}`.length)
  runTool(tree, 'kmod', ['-b', base, release], { argv0: 'depmod' })
  const vmlinux = extractVmlinux(readFileSync(compressed), (input) =>
    runTool(tree, 'xz', ['--decompress', '--stdout', '--single-stream'], { input }),
  )
  if (vmlinux) writeFileSync(join(tree, 'vmlinux'), vmlinux)
}

/** The kernel's release, image, busybox and module folder, downloaded at the first run. */
export const stockKernel = async () => {
  const tree = await cached(`stock-${distribution()}-${digest(KERNEL, ...TOOLS)}`, async (folder) => {
    say('no kernel in the cache yet: asking the package sources which one is current')
    const apt = new Apt(join(folder, 'apt'))
    await apt.update()
    const packages = [...apt.closure([KERNEL], OF_THE_KERNEL), ...apt.closure(TOOLS, DEBIAN_LIBRARIES)]
    await apt.unpack(packages, folder)
    say('preparing the kernel')
    prepare(folder)
    for (const bulk of ['apt', 'usr/share']) rmSync(join(folder, bulk), { recursive: true, force: true })
  })
  return describeTree(tree)
}

const moduleName = (path) =>
  path
    .replace(/.*\//, '')
    .replace(/\.ko(\.\w+)?$/, '')
    .replaceAll('-', '_')

/** Paths below the kernel's module folder that load `names`, each after everything it depends on. */
export const modulesInOrder = (kernel, names) => {
  if (kernel.modules === null) return []
  const dependencies = new Map()
  const paths = new Map()
  for (const line of readFileSync(join(kernel.modules, 'modules.dep'), 'utf8').split('\n').filter(Boolean)) {
    const [path, needed] = line.split(':')
    paths.set(moduleName(path), path)
    dependencies.set(path, needed.split(' ').filter(Boolean))
  }
  const builtin = new Set(
    readFileSync(join(kernel.modules, 'modules.builtin'), 'utf8').split('\n').filter(Boolean).map(moduleName),
  )

  const ordered = new Set()
  const add = (path) => {
    if (ordered.has(path)) return
    for (const needed of dependencies.get(path)) add(needed)
    ordered.add(path)
  }
  for (const name of names.map(moduleName).filter((wanted) => !builtin.has(wanted))) {
    if (!paths.has(name)) throw new RigError(`kernel ${kernel.release} has no module ${name}`)
    add(paths.get(name))
  }
  return [...ordered]
}
