// Loads a Linux kernel where a boot loader would, and says how to start it: by the kind of its file. Knows bytes only, nothing of KVM.
import { MAX_U64, bigint, bytes, instance, object, string } from '../../validate.js'
import { type GuestLayout, checkedLayout } from '../layout.js'
import { isBzImage, loadBzImage } from './bzimage.js'
import { memoryMap } from './memory-map.js'
import type { Kernel, Start } from './start.js'
import { isVmlinux, loadVmlinux } from './vmlinux.js'

export interface LinuxFiles {
  readonly kernel: Uint8Array
  readonly initrd?: Uint8Array | undefined
  /** Its command line (default: empty). */
  readonly cmdline?: string
  readonly layout: GuestLayout
  /** Where the root pointer of the ACPI tables is; without it the kernel looks for one below 1 MiB. */
  readonly acpi?: bigint | undefined
}

/**
 * Puts a kernel, its initial file system, its command line and its parameters into the guest's memory.
 * @param memory the guest's, from address 0 on: the first of `layout.ram`
 * @throws RangeError for a file that is no kernel which can be started so, and when something has no room
 */
export function loadLinux(memory: Uint8Array, files: LinuxFiles): Start {
  instance(memory, Uint8Array, 'memory', 'Uint8Array of guest memory')
  const { kernel, initrd, cmdline = '', layout, acpi } = object(files, 'files')
  const ready: Kernel = {
    file: bytes(kernel, 'kernel'),
    initrd: initrd === undefined ? undefined : bytes(initrd, 'initrd'),
    cmdline: string(cmdline, 'cmdline'),
    map: memoryMap(checkedLayout(layout)),
    acpi: bigint(acpi ?? 0n, 'acpi', 0n, MAX_U64),
  }
  if (isVmlinux(ready.file)) return loadVmlinux(memory, ready)
  if (isBzImage(ready.file)) return loadBzImage(memory, ready)
  throw new RangeError('the kernel is neither a bzImage nor an ELF vmlinux')
}
