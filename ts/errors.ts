// VfioError: what the kernel refused, about what, and what to do about it. Knows the causes that recur; knows nothing of
// the objects.
import { constants } from 'node:os'
import { getSystemErrorMap } from 'node:util'

import { kvmRefusal } from './kvm-refusals.js'
import { userRefusal } from './user-refusals.js'

/**
 * Causes that a program may want to tell apart although the kernel gives them one errno, or none.
 */
export type VfioErrorReason =
  | 'closed'
  | 'no-addon'
  | 'no-such-device'
  | 'no-iommu-group'
  | 'no-driver'
  | 'wrong-driver'
  | 'no-vfio-module'
  | 'no-iommufd'
  | 'no-group-node'
  | 'no-cdev'
  | 'no-iommu'
  | 'device-busy'
  | 'unsafe-interrupts'
  | 'permission'
  | 'group-busy'
  | 'group-not-viable'
  | 'other-address-space'
  | 'no-iommu-type'
  | 'device-lost'
  | 'powered-down'
  | 'not-memory-like'
  | 'not-mapped'
  | 'memory-decoding-off'
  | 'peer-memory'
  | 'memlock-limit'
  | 'mapping-limit'
  | 'no-iova'
  | 'eventfd-in-use'
  | 'stale-token'
  | 'timeout'
  | 'no-feature'
  | 'illegal-transition'
  | 'in-use'
  | 'change-refused'
  | 'change-locked'
  | 'change-interrupted'
  | 'unseen'
  | 'host-differs'

/** What is known about a failure beside its errno. */
export interface VfioErrorContext {
  /** What the call was about: a BDF, a path, a region, an IOVA range. */
  subject?: string
  reason?: VfioErrorReason
  /** One sentence on what to do. */
  remedy?: string
  /** How many of what was asked for there are, where the kernel says so. */
  available?: number
}

// Two numbers have two names each on Linux; these are the ones that the kernel's documentation does not use.
const SECOND_NAMES = ['EWOULDBLOCK', 'ENOTSUP']
const errnoNames = new Map(
  Object.entries(constants.errno)
    .filter(([name]) => !SECOND_NAMES.includes(name))
    .map(([name, number]) => [number, name]),
)

/** What the system's texts say of sockets, said of what the kernel means here: devices, memory, files. */
const TEXTS: Record<string, string> = {
  EADDRINUSE: 'address already in use',
  EADDRNOTAVAIL: 'address not available',
  EAFNOSUPPORT: 'family not supported',
  EALREADY: 'already in progress',
  ECONNABORTED: 'aborted',
  ECONNREFUSED: 'refused by the other side',
  ECONNRESET: 'ended by the other side',
  EDESTADDRREQ: 'no destination given',
  EHOSTDOWN: 'the other side is down',
  EHOSTUNREACH: 'cannot be reached',
  EISCONN: 'already connected',
  EMSGSIZE: 'more than there is room for',
  ENETDOWN: 'the link is down',
  ENETUNREACH: 'cannot be reached',
  ENOPROTOOPT: 'option not available',
  ENOTCONN: 'not connected',
  ENOTSOCK: 'not the right kind of file',
  EOPNOTSUPP: 'operation not supported',
  EPROTONOSUPPORT: 'protocol not supported',
  EPROTOTYPE: 'wrong type',
  ESHUTDOWN: 'already shut down',
  ESOCKTNOSUPPORT: 'type not supported',
  ETIMEDOUT: 'timed out',
}

function errnoName(errno: number): string {
  return errnoNames.get(errno) ?? `errno ${String(errno)}`
}

/** Made on first use: each call of getSystemErrorMap makes another. */
let systemErrors: Map<number, [string, string]> | undefined

function errnoText(errno: number): string {
  systemErrors ??= getSystemErrorMap()
  const name = errnoName(errno)
  return TEXTS[name] ?? systemErrors.get(-errno)?.[1] ?? name
}

/** Remedies that follow from the call and the errno alone, whoever made the call. */
const KNOWN: Record<string, VfioErrorContext> = {
  'closed EBADF': { reason: 'closed', remedy: 'The object was closed; open it again.' },
  'claim ENOENT': {
    reason: 'stale-token',
    remedy:
      'A token is good in its own process while a holder of the object lives: keep it open until the receiver has claimed it.',
  },
  'epoll_ctl EBUSY': {
    reason: 'eventfd-in-use',
    remedy:
      'An eventfd has one consumer: take it from the poller, waiter or loop that watches it, or close the wire that it feeds, first.',
  },
  'epoll_wait EBUSY': {
    remedy: 'Another thread waits with this SignalWaiter: give each thread one of its own, or wake it first.',
  },
  'eventfd write EAGAIN': {
    remedy: 'The counter is at its maximum, 2^64 - 2: read it before signalling again.',
  },
  'eventfd EINVAL': { remedy: 'The descriptor is not an eventfd.' },
  'mmap EACCES': { remedy: 'The descriptor must be open for reading and writing.' },
  'mmap EINVAL': { remedy: 'The range cannot be mapped; access the region through read and write.' },
  'memfd_create ENOMEM': {
    remedy:
      'Too little free memory, or too few huge pages in the pool: see /sys/kernel/mm/hugepages/*/nr_hugepages.',
  },
  'memfd_create ENODEV': {
    remedy: 'This machine has no huge pages of that size; see /sys/kernel/mm/hugepages.',
  },
  'memfd_create EINVAL': {
    remedy: 'This machine has no huge pages of that size; see /sys/kernel/mm/hugepages.',
  },
  'memfd_create ENOSPC': {
    remedy: 'The huge page pool is empty: reserve more in /sys/kernel/mm/hugepages/*/nr_hugepages.',
  },
  'mbind EINVAL': { remedy: 'This machine has no memory on that NUMA node; see /sys/devices/system/node.' },
  'mbind ENOSYS': { remedy: 'The kernel has no NUMA (CONFIG_NUMA): leave numaNode out.' },
  'mbind EPERM': { remedy: 'A container does not permit mbind: give it CAP_SYS_NICE.' },
  'memfd_create EMFILE': {
    remedy: 'The process is out of file descriptors; raise RLIMIT_NOFILE (ulimit -n).',
  },
  'eventfd EMFILE': { remedy: 'The process is out of file descriptors; raise RLIMIT_NOFILE (ulimit -n).' },
  'open EMFILE': { remedy: 'The process is out of file descriptors; raise RLIMIT_NOFILE (ulimit -n).' },
  'scandir EMFILE': { remedy: 'The process is out of file descriptors; raise RLIMIT_NOFILE (ulimit -n).' },
  'VFIO_IOMMU_MAP_DMA EEXIST': {
    remedy: 'Part of the range is mapped already; unmap it or choose another iova.',
  },
  'VFIO_IOMMU_MAP_DMA ENOSPC': {
    reason: 'mapping-limit',
    remedy:
      'The address space has no mapping entries left (vfio_iommu_type1.dma_entry_limit, 65535 by default): map larger pieces.',
  },
  'VFIO_IOMMU_MAP_DMA EFAULT': {
    remedy: 'The memory cannot be pinned: it may be read-only, or its file truncated.',
  },
  'VFIO_IOMMU_UNMAP_DMA EINVAL': {
    remedy: 'The range cuts a mapping in two, which type1v2 refuses: unmap whole mappings.',
  },
  'VFIO_IOMMU_UNMAP_DMA ENOENT': { remedy: 'Nothing is mapped there.' },
  'IOMMU_IOAS_MAP EEXIST': {
    remedy: 'Part of the range is mapped already; unmap it or choose another iova.',
  },
  'IOMMU_IOAS_MAP EFAULT': {
    remedy:
      'The memory cannot be pinned: it may be read-only, its file truncated, or a BAR (export it as a dma-buf and use mapFile).',
  },
  'IOMMU_IOAS_MAP ENOSPC': { remedy: 'The kernel has no room for the mapping.' },
  'IOMMU_IOAS_UNMAP EINVAL': {
    remedy: 'The range cuts a mapping in two, which iommufd refuses: unmap whole mappings.',
  },
  'IOMMU_OPTION EBUSY': {
    remedy: 'Something is in the iommufd already: set it on a new one, before the first address space.',
  },
  'IOMMU_OPTION EPERM': { reason: 'permission', remedy: 'Only with CAP_SYS_RESOURCE.' },
  'IOMMU_IOAS_CHANGE_PROCESS EINVAL': {
    remedy: 'Something is mapped by address: only what mapFile mapped can change its process.',
  },
  'IOMMU_IOAS_ALLOW_IOVAS EADDRINUSE': {
    remedy: 'A mapping lies outside the new ranges, or a device keeps an address inside them for itself.',
  },
  'VFIO_IOMMU_DIRTY_PAGES EACCES': { remedy: 'Dirty tracking needs type1v2; this address space is type1.' },
  'VFIO_DEVICE_RESET EINVAL': {
    remedy: 'The device has no reset of its own (info.resettable is false).',
  },
  'VFIO_DEVICE_RESET ENOTTY': { remedy: 'The device has no reset of its own (info.resettable is false).' },
  'eventfd read EBUSY': {
    reason: 'eventfd-in-use',
    remedy: 'The kernel takes what is signalled there (the eventfd is wired): close the wire, then read.',
  },
  'VFIO_DEVICE_IOEVENTFD EBUSY': {
    reason: 'eventfd-in-use',
    remedy: 'An eventfd has one consumer: take it from its poller, loop or wire first.',
  },
  'VFIO_DEVICE_IOEVENTFD EEXIST': {
    remedy: 'The same write (offset, width, data) is set up already: close that one, or use its eventfd.',
  },
  'VFIO_DEVICE_IOEVENTFD ENOSPC': { remedy: 'A device takes 1000 of them at most: close some.' },
  'VFIO_DEVICE_IOEVENTFD EINVAL': {
    remedy: 'The device does not take it here: not in an MSI-X table, and 8 bytes only on some kernels.',
  },
  'VFIO_DEVICE_IOEVENTFD ENOTTY': {
    remedy: 'Only vfio-pci has it, from Linux 4.17 on: listen to the doorbell and write the register.',
  },
  'VFIO_DEVICE_SET_IRQS ENOSPC': {
    remedy: 'The host has not that many interrupt vectors to spare: enable fewer.',
  },
  'pread EINVAL': { remedy: 'The device does not take an access of this width here.' },
  'pwrite EINVAL': { remedy: 'The device does not take an access of this width here.' },
  'region read EACCES': {
    remedy:
      'The region cannot be read: it is write-only (region.flags), or the device has none there (region.size).',
  },
  'region write EACCES': {
    remedy:
      'The region cannot be written: it is read-only (region.flags), or the device has none there (region.size).',
  },
}

function known(syscall: string, code: string): VfioErrorContext | undefined {
  const found = KNOWN[`${syscall} ${code}`]
  if (found !== undefined) return found
  if (syscall.startsWith('KVM_')) return kvmRefusal(syscall, code)
  return syscall.startsWith('VFIO_USER_') ? userRefusal(syscall, code) : undefined
}

/**
 * A refusal by the kernel, or a condition of the host that makes a call pointless. `code`, `errno` and `syscall` are as
 * in Node's own system errors; `syscall` is the uAPI name of the call (`VFIO_GROUP_SET_CONTAINER`).
 */
export class VfioError extends Error {
  override readonly name = 'VfioError'
  /** The errno's name, for example `EBUSY`. */
  readonly code: string
  /** The errno, a positive number. */
  readonly errno: number
  /** The kernel call that failed, by its uAPI name. */
  readonly syscall: string
  /** What it was about: a BDF, a path, a region, an IOVA range. */
  readonly subject: string | undefined
  /** The cause, where it is one of the known ones. */
  readonly reason: VfioErrorReason | undefined
  /** What to do about it, where that is known. */
  readonly remedy: string | undefined
  /** How many of what was asked for there are, where the kernel says so: interrupt vectors that the host can spare. */
  readonly available: number | undefined

  constructor(errno: number, syscall: string, context: VfioErrorContext = {}) {
    if (typeof errno !== 'number') throw new TypeError(`errno must be a number, not ${typeof errno}`)
    if (typeof syscall !== 'string') throw new TypeError(`syscall must be a string, not ${typeof syscall}`)
    const code = errnoName(errno)
    const { subject, reason, remedy, available } = { ...known(syscall, code), ...context }
    const about = subject === undefined ? syscall : `${syscall} on ${subject}`
    super(`${about}: ${errnoText(errno)} (${code})${remedy === undefined ? '' : `. ${remedy}`}`)
    this.code = code
    this.errno = errno
    this.syscall = syscall
    this.subject = subject
    this.reason = reason
    this.remedy = remedy
    this.available = available
  }

  /** The same failure with more known about it. */
  with(context: VfioErrorContext): VfioError {
    const own: VfioErrorContext = {}
    if (this.subject !== undefined) own.subject = this.subject
    if (this.reason !== undefined) own.reason = this.reason
    if (this.remedy !== undefined) own.remedy = this.remedy
    if (this.available !== undefined) own.available = this.available
    const error = new VfioError(this.errno, this.syscall, { ...own, ...context })
    error.cause = this
    return error
  }
}

/** The numbers of the errnos that this package makes itself. */
export const {
  EACCES,
  EBADF,
  EBUSY,
  EEXIST,
  EINVAL,
  EIO,
  ENODEV,
  ENOENT,
  ENOMEM,
  ENOSPC,
  ENOSYS,
  ENOTTY,
  EOPNOTSUPP,
  EPERM,
  EPROTO,
  ETIMEDOUT,
} = constants.errno

/** What Node.js refused, a file of sysfs for example, as a VfioError; any other error as it is. */
export function ofNode(error: unknown, context: VfioErrorContext): unknown {
  if (!(error instanceof Error) || error instanceof VfioError) return error
  const { errno, syscall } = error as NodeJS.ErrnoException
  return errno === undefined || syscall === undefined
    ? error
    : new VfioError(Math.abs(errno), syscall, context)
}

type Explain = VfioErrorContext | ((error: VfioError) => VfioErrorContext)

/** What is to be thrown for what was caught: a VfioError with the context, anything else as it is. */
export function explained(error: unknown, explain: Explain): unknown {
  if (!(error instanceof VfioError)) return error
  return error.with(typeof explain === 'function' ? explain(error) : explain)
}

/** Runs a call; a VfioError that comes out of it gets the context. */
export function attempt<T>(explain: Explain, call: () => T): T {
  try {
    return call()
  } catch (error) {
    throw explained(error, explain)
  }
}

/** The same for a call that gives a promise. */
export async function attemptAsync<T>(explain: Explain, call: () => Promise<T>): Promise<T> {
  try {
    return await call()
  } catch (error) {
    throw explained(error, explain)
  }
}
