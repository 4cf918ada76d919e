// Compares native/uapi with the manifest: each structure's size, each member's offset and size, each number. A name of
// ours is the kernel's in C++'s case; where it is not, a comment behind the declaration has the kernel's.

import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { measure } from './measure.mjs'
import { readOurHeader } from './parse.mjs'

const ROOT = new URL('../../', import.meta.url).pathname
const FOLDER = join(ROOT, 'native/uapi')

const squash = (name) => name.replaceAll('_', '').toLowerCase()

/** The kernel's names that a name of ours may stand for, by its letters. */
const index = (names, prefixes) => {
  const found = new Map()
  for (const name of names) {
    for (const prefix of ['', ...prefixes]) {
      if (!name.startsWith(prefix)) continue
      const key = squash(name.slice(prefix.length))
      found.set(key, (found.get(key) ?? new Set()).add(name))
    }
  }
  return found
}

// What a header of ours leaves out of the kernel's names, by file.
const PREFIXES = {
  'vfio.h': {
    constants: ['VFIO_', 'VFIO_IOMMU_'],
    structures: ['vfio_', 'vfio_iommu_'],
  },
  'iommufd.h': {
    constants: ['IOMMU_', 'IOMMUFD_', 'IOMMU_IOAS_'],
    structures: ['iommu_', 'iommufd_'],
  },
  'kvm.h': { constants: ['', 'KVM_'], structures: [''] },
}

// Helpers that stand for nothing of the kernel's.
const OWN = /^kKvmType$|^kIommufdType$/

const only = (candidates, name, problems) => {
  if (candidates.length === 1) return candidates[0]
  problems.push(
    candidates.length === 0
      ? `${name} is no name of the manifest: put the kernel's behind the declaration, as in '// VFIO_DEVICE_RESET'`
      : `${name} may be ${candidates.join(' or ')}: put the right one behind the declaration`,
  )
  return undefined
}

const compareMembers = (name, kernel, { start, ...ours }, theirs, problems) => {
  if (start ? ours.size > theirs.size : ours.size !== theirs.size)
    problems.push(`${name}: ${ours.size} bytes, ${kernel} has ${theirs.size}`)
  for (const [member, [offset, size]] of Object.entries(ours.members)) {
    // Padding, and bytes that are read elsewhere, have names of our own; members that are named alike must lie alike.
    const twin = theirs.members[member]
    if (twin === undefined) {
      const inside = Object.values(theirs.members).some(
        ([at, length]) => offset >= at && offset <= at + length,
      )
      if (!inside && offset >= theirs.size)
        problems.push(`${name}.${member} lies behind the end of ${kernel}`)
      continue
    }
    if (twin[0] !== offset || twin[1] !== size)
      problems.push(
        `${name}.${member}: ${size} bytes at ${offset}, ${kernel} has ${twin[1]} bytes at ${twin[0]}`,
      )
  }
}

/**
 * Returns { problems, constants, structures }: what differs or has no name, and maps of the kernel's names to ours.
 */
export const checkLayout = (manifest) => {
  const problems = []
  const constants = new Map()
  const structures = new Map()
  for (const file of readdirSync(FOLDER).filter((name) => name.endsWith('.h'))) {
    const parts = Object.entries(manifest.headers)
      .filter(([key]) => key.startsWith(file))
      .map(([, part]) => part)
    if (parts.length === 0) {
      problems.push(`native/uapi/${file} stands for no header of the manifest`)
      continue
    }
    const numbersOf = (list) =>
      Object.assign({}, ...list.map((part) => ({ ...part.ioctls, ...part.constants })))
    const layoutsOf = (list) => Object.assign({}, ...list.map((part) => part.structures))
    const prefixes = PREFIXES[file]
    const byConstant = index(Object.keys(numbersOf(parts)), prefixes.constants)
    const byStructure = index(Object.keys(layoutsOf(parts)), prefixes.structures)
    // What a comment names may be of any header.
    const values = numbersOf(Object.values(manifest.headers))
    const layouts = layoutsOf(Object.values(manifest.headers))

    const declared = readOurHeader(readFileSync(join(FOLDER, file), 'utf8'))
    const used = declared.constants.filter(({ name }) => !OWN.test(name))
    const scoped = (name) => `nodevfio::uapi::${name}`
    const measured = measure({
      includes: [`"uapi/${file}"`],
      constants: used.map(({ name }) => ({ name, expression: scoped(name) })),
      structures: declared.structures.map(({ name, members }) => ({ name, type: scoped(name), members })),
      flags: ['-I', join(ROOT, 'native')],
    })

    for (const { name, kernel: said } of used) {
      const known = said !== undefined && Object.hasOwn(values, said)
      const candidates = known ? [said] : [...(byConstant.get(squash(name.slice(1))) ?? [])]
      const kernel = only(candidates, `native/uapi/${file}: ${name}`, problems)
      if (kernel === undefined) continue
      constants.set(kernel, name)
      // Sign and width are C++'s choice, the bits are the kernel's.
      const bits = (value) => BigInt.asUintN(32, BigInt(value))
      if (bits(values[kernel]) !== bits(measured.constants.get(name)))
        problems.push(
          `native/uapi/${file}: ${name} is ${measured.constants.get(name)}, ${kernel} is ${values[kernel]}`,
        )
    }
    for (const { name, kernel: said, start } of declared.structures) {
      const candidates = said !== undefined ? [said] : [...(byStructure.get(squash(name)) ?? [])]
      const kernel = only(candidates, `native/uapi/${file}: struct ${name}`, problems)
      if (kernel === undefined) continue
      if (layouts[kernel] === undefined) {
        problems.push(`native/uapi/${file}: ${kernel} is no structure of the manifest`)
        continue
      }
      structures.set(kernel, name)
      compareMembers(
        `native/uapi/${file}: ${name}`,
        kernel,
        { ...measured.structures.get(name), start },
        layouts[kernel],
        problems,
      )
    }
  }
  return { problems, constants, structures }
}
