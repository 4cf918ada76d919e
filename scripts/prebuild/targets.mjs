// The binaries that the package carries: for which processor and which C library each is, and what that means to a compiler.

/** The oldest glibc that the binaries load on: RHEL 8's, and so that of every Node.js since 18. */
export const GLIBC_FLOOR = '2.28'

/**
 * @typedef {object} Target
 * @property {string} name its folder below prebuilds/, as ts/native/binaries.ts looks for it
 * @property {string} triple for clang
 * @property {string} gnu where Debian's packages of that processor have their libraries
 * @property {string} debian the processor, as Debian calls it
 * @property {'glibc' | 'musl'} libc
 * @property {string} machine the processor, as ELF calls it
 */

const PROCESSORS = [
  { arch: 'x64', cpu: 'x86_64', debian: 'amd64', machine: 'Advanced Micro Devices X86-64' },
  { arch: 'arm64', cpu: 'aarch64', debian: 'arm64', machine: 'AArch64' },
]

const LIBCS = /** @type {const} */ ([
  { libc: 'glibc', abi: 'gnu' },
  { libc: 'musl', abi: 'musl' },
])

/** @type {Target[]} */
export const TARGETS = PROCESSORS.flatMap(({ arch, cpu, debian, machine }) =>
  LIBCS.map(({ libc, abi }) => ({
    name: `linux-${arch}-${libc}`,
    triple: `${cpu}-linux-${abi}`,
    gnu: `${cpu}-linux-gnu`,
    debian,
    libc,
    machine,
  })),
)
