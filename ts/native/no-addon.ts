// Why the addon is not there, and what to do: each cause has another remedy, and a wrong one costs an afternoon.
import { CARRIED_FOR } from './binaries.js'

/** What is known where loading failed. */
export interface Attempt {
  /** What was thrown. */
  readonly error: unknown
  readonly platform: string
  readonly arch: string
  /** The variable NODE_VFIO_ADDON. */
  readonly chosen: string | undefined
  /** The package's folder, if it was found. */
  readonly root: string | undefined
  /** Whether a binary was compiled on this machine. */
  readonly built: boolean
  /** The version of glibc of this process; undefined with another C library. */
  readonly glibc: string | undefined
}

const BUILD = '`npx vfio build` compiles it (it needs python3, make and a C++20 compiler: gcc 11 or clang 16)'

const OF_PERMISSION = /^(ERR_DLOPEN_DISABLED|ERR_ACCESS_DENIED)$/
const OF_A_BUNDLE =
  /^(ERR_PACKAGE_IMPORT_NOT_DEFINED|ERR_INVALID_ARG_(TYPE|VALUE)|ERR_INVALID_URL|ERR_UNSUPPORTED_RESOLVE_REQUEST)$/

interface Failed {
  readonly name: string
  readonly code: string
  readonly message: string
}

function failed(error: unknown): Failed {
  const { name = '', code = '', message = '' } = error as Partial<Failed>
  return { name, code, message: error instanceof Error ? message : String(error) }
}

function ofLoader(message: string, { arch, built, glibc }: Attempt): string | undefined {
  const again = built
    ? 'remove the folder build of the package, or build it again: `npx vfio build`'
    : `install the package again; ${BUILD}`
  const version = /version [`'](GLIBC_[\d.]+)' not found/.exec(message)?.[1]
  if (version !== undefined)
    return `The binary needs ${version.replace('_', ' ').toLowerCase()} or newer and this system has ${glibc ?? 'none'}: ${BUILD}.`
  if (
    /libc\.musl|ld-musl|libc\.so(\.6)?: cannot open|symbol not found|undefined symbol: __(isoc|memcpy_chk)/i.test(
      message,
    )
  )
    return `The binary is for another C library than this process has (${glibc === undefined ? 'musl' : `glibc ${glibc}`}): ${again}.`
  if (/invalid ELF header|wrong ELF class|file too short|Exec format|not a valid|elf/i.test(message))
    return `The binary is damaged, or not for this processor (${arch}): ${again}.`
  if (/failed to map segment|Operation not permitted/i.test(message))
    return 'The system does not let code be loaded from there: the file system is mounted with noexec, or a security policy forbids it.'
  return undefined
}

/** What to do about it, in sentences that begin with the cause. */
export function whyNoAddon(attempt: Attempt): string {
  const { platform, arch, chosen, root } = attempt
  if (platform !== 'linux')
    return `VFIO exists on Linux only, and this is ${platform}; types and node-vfio/host work here.`
  const { name, code, message } = failed(attempt.error)
  if (OF_PERMISSION.test(code) || /NotCapable|PermissionDenied/.test(name))
    return (
      'The runtime was told to load no addons: Node.js needs --allow-addons (and --allow-fs-read for the package) beside ' +
      '--permission, and no --no-addons; Deno needs --allow-ffi.'
    )
  const [first = ''] = message.split('\n')
  if (chosen !== undefined) {
    const missing =
      code === 'MODULE_NOT_FOUND' ? 'there is no such file' : (ofLoader(message, attempt) ?? first)
    return `NODE_VFIO_ADDON names ${chosen}: ${missing}. Correct the variable, or unset it.`
  }
  if (root === undefined || OF_A_BUNDLE.test(code) || /Cannot find (module|package) 'bindings'/.test(message))
    return (
      'The package was bundled into the program, so its binary is no longer beside it: make node-vfio external to the ' +
      'bundle, or set NODE_VFIO_ADDON to the path of node_vfio.node.'
    )
  if (message.startsWith('Could not locate the bindings file'))
    return CARRIED_FOR.includes(arch)
      ? `No binary is in ${root}: in a clone, \`npm ci\` builds it; else install the package again, or ${BUILD}.`
      : `The package has binaries for ${CARRIED_FOR.join(' and ')} only, and this is ${arch}: ${BUILD}.`
  return ofLoader(message, attempt) ?? `The binary could not be loaded: ${first}`
}
