// Which processor of how many a vCPU is, in the CPUID that its guest reads. Pure: what else a guest is told stays as it was.
import { array, integer, object } from '../validate.js'
import type { CpuidEntry } from '../uapi/kvm/cpuid.js'

/** A vCPU's place: cores of one package, each with one thread. */
export interface Topology {
  /** The number of its local APIC, 0 to `vcpus` - 1: the id that it was created with. */
  apicId: number
  /** How many vCPUs the machine has, 1 to 4096. */
  vcpus: number
}

const SIGNIFICANT_INDEX = 1
const HTT = 1 << 28
const LEVEL = { smt: 1 << 8, core: 2 << 8 } as const
/** Cache leaves: bits 25 to 14 say how many share it, less one; 7 to 5 the level; 4 to 0 are 0 behind the last cache. */
const SHARED = { shift: 14, mask: 0xfff } as const
const CORES = { shift: 26, mask: 0x3f } as const

/**
 * CPUID entries, such as `kvm.supportedCpuid()`, with the vCPU's own number and the machine's size in every leaf that has
 * them (1, 4, 0xb, 0x1f, 0x80000008, 0x8000001d, 0x8000001e). KVM fills in those of the host's processor that happens to
 * run the call, which a guest with several processors cannot start by.
 * @throws RangeError when `apicId` is not below `vcpus`
 */
export function withTopology(entries: readonly CpuidEntry[], topology: Topology): CpuidEntry[] {
  array(entries, 'entries')
  const { vcpus, apicId } = object(topology, 'topology')
  integer(vcpus, 'vcpus', 1, 4096)
  integer(apicId, 'apicId', 0, vcpus - 1)
  const place: Place = { apicId, vcpus, bits: Math.ceil(Math.log2(vcpus)) }
  return entries.flatMap((entry) => LEAVES.get(entry.function)?.(entry, place) ?? [{ ...entry }])
}

interface Place extends Topology {
  /** How many bits of an APIC's number tell cores apart. */
  bits: number
}

/** A leaf for a vCPU: nothing where another entry brings it already. */
type Leaf = (entry: CpuidEntry, place: Place) => CpuidEntry[]

function field(register: number, { shift, mask }: { shift: number; mask: number }, value: number): number {
  return ((register & ~(mask << shift)) | (Math.min(value, mask) << shift)) >>> 0
}

function features(entry: CpuidEntry, { apicId, vcpus }: Place): CpuidEntry[] {
  const ebx = field(entry.ebx, { shift: 24, mask: 0xff }, apicId & 0xff)
  const edx = vcpus > 1 ? entry.edx | HTT : entry.edx & ~HTT
  return [{ ...entry, ebx: field(ebx, { shift: 16, mask: 0xff }, vcpus), edx: edx >>> 0 }]
}

function caches(entry: CpuidEntry, vcpus: number): CpuidEntry {
  if ((entry.eax & 0x1f) === 0) return { ...entry }
  const level = (entry.eax >>> 5) & 7
  return { ...entry, eax: field(entry.eax, SHARED, level >= 3 ? vcpus - 1 : 0) }
}

/** Threads, then cores, then the end of the list; each with the APIC's number. */
function levels(entry: CpuidEntry, { apicId, vcpus, bits }: Place): CpuidEntry[] {
  if (entry.index !== 0) return []
  const level = (index: number, eax: number, ebx: number, type: number): CpuidEntry => ({
    function: entry.function,
    index,
    flags: SIGNIFICANT_INDEX,
    eax,
    ebx,
    ecx: type | index,
    edx: apicId,
  })
  return [level(0, 0, 1, LEVEL.smt), level(1, bits, vcpus, LEVEL.core), level(2, 0, 0, 0)]
}

const LEAVES = new Map<number, Leaf>([
  [0x1, features],
  [
    0x4,
    (entry, { vcpus }) => {
      const cache = caches(entry, vcpus)
      return [(cache.eax & 0x1f) === 0 ? cache : { ...cache, eax: field(cache.eax, CORES, vcpus - 1) }]
    },
  ],
  [0xb, levels],
  [0x1f, levels],
  [
    0x8000_0008,
    (entry, { vcpus, bits }) => [
      { ...entry, ecx: ((entry.ecx & ~0xf0ff) | (bits << 12) | ((vcpus - 1) & 0xff)) >>> 0 },
    ],
  ],
  [0x8000_001d, (entry, { vcpus }) => [caches(entry, vcpus)]],
  [0x8000_001e, (entry, { apicId }) => [{ ...entry, eax: apicId, ebx: apicId & 0xff, ecx: 0 }]],
])
