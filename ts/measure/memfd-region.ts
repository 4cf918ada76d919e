// A Region on a machine without VFIO: a memfd stands behind it as a device's file would.
import { KernelRegisters } from '../device/kernel/registers.js'
import { Region } from '../device/region.js'
import { GuestMemory } from '../memory/guest-memory.js'

const SIZE = 4096

/** A BAR of one page, mapped and guarded as a real one. The memory keeps it alive. */
export function memfdRegion(): { region: Region; memory: GuestMemory } {
  const memory = GuestMemory.create(SIZE)
  const flags = { read: true, write: true, mmap: true, raw: 7 }
  const region = new Region(
    { index: 0, size: SIZE, flags, fileOffset: 0, capabilities: [] },
    {
      label: 'memfd',
      name: 'bar0',
      backend: { openRegion: (info, areas) => new KernelRegisters(() => memory.native, info, areas) },
      msixTable: null,
      memoryLike: true,
      guard: true,
      decodes: () => true,
      owner: memory,
    },
  )
  return { region, memory }
}
