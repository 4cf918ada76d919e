// What CPUID tells a guest of its place among the processors.
import test from 'ava'

import { type CpuidEntry, withTopology } from '../../../ts/kvm/index.js'

const entry = (leaf: number, registers: Partial<CpuidEntry> = {}): CpuidEntry => ({
  function: leaf,
  index: 0,
  flags: 0,
  eax: 0,
  ebx: 0,
  ecx: 0,
  edx: 0,
  ...registers,
})

/** As KVM gives them on some host: with the numbers of the processor that ran the call. */
const HOST = [
  entry(0x0, { eax: 0x1f, ebx: 0x756e_6547 }),
  entry(0x1, { eax: 0x306f2, ebx: 0x4410_0800, ecx: 0x8000_0000, edx: 0x1fab_fbff }),
  entry(0x4, { eax: 0xfc00_4121, ebx: 0x01c0_003f, flags: 1 }),
  entry(0x4, { index: 3, eax: 0xfc03_c163, flags: 1 }),
  entry(0x4, { index: 4, flags: 1 }),
  entry(0xb, { eax: 1, ebx: 2, ecx: 0x100, edx: 0x44, flags: 1 }),
  entry(0xb, { index: 1, eax: 6, ebx: 0x20, ecx: 0x201, edx: 0x44, flags: 1 }),
  entry(0x8000_0008, { eax: 0x3030, ecx: 0x703f }),
  entry(0x8000_001d, { index: 3, eax: 0x3c163, flags: 1 }),
  entry(0x8000_001e, { eax: 0x44, ebx: 0x0122, ecx: 0x0101 }),
]

function leaf(entries: readonly CpuidEntry[], number: number, index = 0): CpuidEntry {
  const found = entries.filter((each) => each.function === number && each.index === index)
  if (found.length !== 1) throw new Error(`${found.length} entries for ${number.toString(16)}.${index}`)
  return found[0]!
}

test("each processor is told its own number, and nothing of the host's", (t) => {
  for (const apicId of [0, 1, 5]) {
    const entries = withTopology(HOST, { apicId, vcpus: 6 })
    const features = leaf(entries, 1)
    t.is(features.ebx >>> 24, apicId)
    t.is((features.ebx >>> 16) & 0xff, 6)
    t.is(features.ebx & 0xffff, 0x0800)
    t.is((features.edx >>> 28) & 1, 1)
    for (const index of [0, 1, 2]) t.is(leaf(entries, 0xb, index).edx, apicId)
    t.is(leaf(entries, 0x8000_001e).eax, apicId)
    t.is(leaf(entries, 0x8000_001e).ebx, apicId)
  }
})

test('threads, cores and caches: one thread a core, the last cache shared by all', (t) => {
  const entries = withTopology(HOST, { apicId: 2, vcpus: 6 })
  const [threads, cores, end] = [0, 1, 2].map((index) => leaf(entries, 0xb, index))
  t.like(threads, { eax: 0, ebx: 1, ecx: 0x100 })
  t.like(cores, { eax: 3, ebx: 6, ecx: 0x201 })
  t.like(end, { eax: 0, ebx: 0, ecx: 2 })
  const shared = ({ eax }: CpuidEntry): number => ((eax >>> 14) & 0xfff) + 1
  t.is(shared(leaf(entries, 4)), 1)
  t.is(shared(leaf(entries, 4, 3)), 6)
  t.is((leaf(entries, 4).eax >>> 26) + 1, 6)
  t.is(shared(leaf(entries, 0x8000_001d, 3)), 6)
  t.is(leaf(entries, 4, 4).eax, 0)
  t.is(leaf(entries, 0x8000_0008).ecx, 0x3005)
})

test('one processor alone, and what stays: everything else, and the list that was given', (t) => {
  const before = structuredClone(HOST)
  const entries = withTopology(HOST, { apicId: 0, vcpus: 1 })
  t.deepEqual(HOST, before)
  t.is((leaf(entries, 1).edx >>> 28) & 1, 0)
  t.like(leaf(entries, 0xb, 1), { eax: 0, ebx: 1 })
  t.deepEqual(leaf(entries, 0), HOST[0])
  t.is(leaf(entries, 0x8000_0008).ecx, 0)
})

test('what it refuses', (t) => {
  const range = { instanceOf: RangeError }
  const type = { instanceOf: TypeError }
  t.throws(() => withTopology(HOST, { apicId: 2, vcpus: 2 }), { ...range, message: /apicId .*0 to 1/ })
  t.throws(() => withTopology(HOST, { apicId: 0, vcpus: 0 }), { ...range, message: /vcpus .*1 to 4096/ })
  t.throws(() => withTopology(HOST, undefined as never), type)
  t.throws(() => withTopology({} as never, { apicId: 0, vcpus: 1 }), type)
})
