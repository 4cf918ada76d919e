// The manifest: what vfio.h, iommufd.h and the eventfd part of kvm.h declare, with every number. manifest.json holds that
// of the series native/uapi is written for; here it is made from headers, and two of them are compared.

import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { measure } from './measure.mjs'
import { readHeader } from './parse.mjs'

export const MANIFEST = new URL('manifest.json', import.meta.url)

/** The series of the manifest. */
export const SERIES = '7.2'

export const readManifest = () => JSON.parse(readFileSync(MANIFEST, 'utf8'))

// What of kvm.h is about eventfds, interrupts that go through them, and VFIO's files. The rest of what native/uapi has
// of KVM is compared too, but is no row of the coverage.
const KVM_ROWS = [
  /IRQFD/,
  /IOEVENTFD(?!.*nr)/,
  /^KVM_(SET_GSI|IRQ)_ROUTING/,
  /^KVM_CAP_(IRQ_ROUTING|SIGNAL_MSI|MSI_DEVID|DEVICE_CTRL|IRQCHIP|SPLIT_IRQCHIP)$/,
  /^KVM_SIGNAL_MSI$|^KVM_MSI_/,
  /^KVM_DEV_VFIO_|^KVM_DEV_TYPE_VFIO$/,
  /^KVM_(CREATE|SET|GET|HAS)_DEVICE/,
]
const KVM_STRUCTURES = /^kvm_(irqfd|ioeventfd|irq_routing(_\w+)?|msi|create_device|device_attr)$/
const KVM_OTHERS = [
  /^KVM_(GET_API_VERSION|CREATE_VM|CHECK_EXTENSION|GET_VCPU_MMAP_SIZE|GET_SUPPORTED_CPUID|CREATE_VCPU|GET_DIRTY_LOG)$/,
  /^KVM_(SET_USER_MEMORY_REGION2?|SET_TSS_ADDR|SET_IDENTITY_MAP_ADDR|CREATE_IRQCHIP|IRQ_LINE\w*|CREATE_PIT2|ENABLE_CAP)$/,
  /^KVM_(RUN|[GS]ET_(S?REGS2?|CPUID2|MP_STATE|IRQCHIP|FPU|MSRS|LAPIC|XSAVE\w*|VCPU_EVENTS)|GET_STATS_FD|INTERRUPT|NMI)$/,
  /^KVM_([GS]ET_(XCRS|DEBUGREGS|CLOCK|PIT2|TSC_KHZ)|SET_GUEST_DEBUG|REINJECT_CONTROL|GET_MSR_\w*INDEX_LIST)$/,
  /^KVM_(X86_SET_MSR_FILTER|RESET_DIRTY_RINGS|CLEAR_DIRTY_LOG|SET_MEMORY_ATTRIBUTES|CREATE_GUEST_MEMFD|PRE_FAULT_MEMORY)$/,
  /^KVM_((UN)?REGISTER_COALESCED_MMIO|MSR_FILTER_\w+|VCPU_TSC_\w+|DIRTY_GFN_\w+|MEMORY_\w+|GUESTDBG_\w+)$/,
  /^KVM_(VCPUEVENT_\w+|CLOCK_\w+|X2APIC_\w+|MSR_EXIT_\w+|SYSTEM_EVENT_\w+|RUN_X86_\w+|NOTIFY_\w+|BUS_LOCK_\w+)$/,
  /^GUEST_MEMFD_FLAG_\w+$|^KVM_(DIRTY_LOG|COALESCED_MMIO|PIO)_PAGE_OFFSET$|^KVM_CAP_\w*(XSAVE2?|MSR\w*|TSC\w*|DIRTY\w*)$/,
  /^KVM_(API_VERSION|MEM_\w+|PIT_\w+|CAP_NR_MEMSLOTS|EXIT_\w+|IRQCHIP_\w+|MP_STATE_\w+|KVM_\w+)$/,
]
const KVM_OTHER_STRUCTURES =
  /^kvm_(userspace_memory_region2?|dirty_log|irq_level|pit_config|enable_cap|cpuid2|cpuid_entry2|regs|sregs|mp_state|run|stats_header|stats_desc|irqchip|lapic_state|fpu|segment|dtable|xsave|xcrs?|vcpu_events|debugregs|guest_debug|clock_data|pit_(channel_)?state2?|reinject_control|msr_entry|msrs|msr_list|msr_filter(_range)?|interrupt|coalesced_mmio(_zone|_ring)?|dirty_gfn|clear_dirty_log|memory_attributes|create_guest_memfd)$/

const matches = (patterns) => (name) => patterns.some((pattern) => pattern.test(name))
const all = () => true

const PARTS = [
  { header: 'vfio.h', constants: all, structures: all, rows: true },
  { header: 'iommufd.h', constants: all, structures: all, rows: true },
  {
    header: 'kvm.h',
    constants: matches(KVM_ROWS),
    structures: (name) => KVM_STRUCTURES.test(name),
    rows: true,
  },
  {
    header: 'kvm.h',
    key: 'kvm.h, beside the eventfds',
    constants: (name) => matches(KVM_OTHERS)(name) && !matches(KVM_ROWS)(name),
    structures: (name) => KVM_OTHER_STRUCTURES.test(name),
    rows: false,
  },
]

// Macros that are no number, or only names for the reader of the header.
const NO_NUMBER = /_H$|_STRING$|^__\w+_user$|_SIZE_MASK_UNUSED$/

const isRequest = (source, name) =>
  new RegExp(`define[ \\t]+${name}\\b(?:[ \\t]|\\\\\\n)+_IO[WR]*\\(`).test(source)

const number = (value) =>
  value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : `0x${value.toString(16)}`
const hexadecimal = (value) => `0x${value.toString(16)}`

/** The version that headers below an include folder belong to, as in `7.2`. */
export const versionOf = (include) => {
  const path = join(include, 'linux/version.h')
  if (!existsSync(path)) return undefined
  const text = readFileSync(path, 'utf8')
  const part = (name) => new RegExp(`LINUX_VERSION_${name} (\\d+)`).exec(text)?.[1]
  return part('MAJOR') === undefined ? undefined : `${part('MAJOR')}.${part('PATCHLEVEL')}`
}

/** The manifest of the headers below an include folder; undefined when one of them is not there. */
export const manifestOf = (include, arch = 'x86_64-linux-gnu') => {
  const path = (header) => join(include, 'linux', header)
  if (PARTS.some(({ header }) => !existsSync(path(header)))) return undefined
  const flags = ['-isystem', include, '-isystem', join(include, arch)]
  const parts = PARTS.map(({ header, key = header, constants, structures, rows }) => {
    const source = readFileSync(path(header), 'utf8')
    const declared = readHeader(source)
    // The registers and the sregs of a vCPU are declared by the architecture.
    const extra =
      header === 'kvm.h' ? readHeader(readFileSync(join(include, arch, 'asm/kvm.h'), 'utf8')) : undefined
    const names = [...declared.constants, ...(extra?.constants ?? [])].filter(
      (name) => !NO_NUMBER.test(name) && !name.startsWith('_') && constants(name),
    )
    const wanted = [...declared.structures, ...(extra?.structures ?? [])].filter(({ name }) =>
      structures(name),
    )
    const measured = measure({
      includes: [`<linux/${header}>`],
      constants: names.map((name) => ({ name })),
      structures: wanted.map(({ name, members }) => ({ name, type: `struct ${name}`, members })),
      flags,
    })
    const requests = names.filter((name) => isRequest(source, name))
    const rest = names.filter((name) => !requests.includes(name))
    const table = (list, format) =>
      Object.fromEntries(list.map((name) => [name, format(measured.constants.get(name))]))
    return [
      key,
      {
        rows,
        ioctls: table(requests, hexadecimal),
        constants: table(rest, number),
        structures: Object.fromEntries(measured.structures),
      },
    ]
  })
  return { linux: versionOf(include), headers: Object.fromEntries(parts) }
}

const flatten = (manifest) => {
  const flat = new Map()
  for (const { ioctls, constants, structures } of Object.values(manifest.headers)) {
    for (const [name, value] of Object.entries({ ...ioctls, ...constants })) flat.set(name, String(value))
    for (const [name, { size, members }] of Object.entries(structures)) {
      flat.set(`struct ${name}`, `size ${size}`)
      for (const [member, [offset, length]] of Object.entries(members))
        flat.set(`struct ${name}.${member}`, `offset ${offset}, size ${length}`)
    }
  }
  return flat
}

/**
 * What `other` says differently from `manifest`, and what it has besides. Numbers that count the others (the number of an
 * enumeration's values) change with every addition and are left out.
 */
export const compareManifests = (manifest, other) => {
  const [ours, theirs] = [flatten(manifest), flatten(other)]
  const counts = /_NR$|_NUM_|_nr_max$|VALID_FLAG_MASK$|_MAX$/
  return {
    differences: [...ours]
      .filter(([name, value]) => !counts.test(name) && theirs.get(name) !== value)
      .map(
        ([name, value]) =>
          `${name}: ${value} in the manifest, ${theirs.get(name) ?? 'absent'} in the headers`,
      ),
    added: [...theirs.keys()].filter((name) => !ours.has(name)),
  }
}
