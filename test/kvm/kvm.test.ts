// /dev/kvm and the machines that it makes.
import { openSync } from 'node:fs'

import { Kvm, Vm } from '../../ts/kvm/index.js'
import { EventFd, VfioError } from '../../ts/index.js'
import test from 'ava'

import { kvmTest, machine } from './support.js'

kvmTest(
  'the version, extensions by name and by number, and what a guest may be told of its processor',
  (t) => {
    using kvm = Kvm.open()
    t.is(kvm.apiVersion, 12)
    t.true(kvm.checkExtension('IRQFD') > 0)
    t.is(kvm.checkExtension('NR_MEMSLOTS'), kvm.checkExtension(10))
    t.true(kvm.extensions().IMMEDIATE_EXIT > 0)
    t.is(kvm.checkExtension(0xffff_ffff), 0)
    t.throws(() => kvm.checkExtension('NO_SUCH' as never), { instanceOf: TypeError })
    t.throws(() => kvm.checkExtension(-1), { instanceOf: RangeError })
    const entries = kvm.supportedCpuid()
    const vendor = entries.find((entry) => entry.function === 0)
    t.truthy(vendor && vendor.ebx !== 0)
  },
)

kvmTest('from descriptors that another opened', (t) => {
  using kvm = Kvm.fromFd(openSync('/dev/kvm', 'r+'))
  t.is(kvm.apiVersion, 12)
  const fd = openSync('/dev/null', 'r')
  const refused = t.throws(() => Kvm.fromFd(fd), { instanceOf: VfioError })
  t.is(refused.syscall, 'KVM_GET_VCPU_MMAP_SIZE')
  using eventfd = new EventFd()
  t.throws(() => Vm.fromFd(eventfd.fd, { irqchip: 'full' }), { instanceOf: VfioError })
})

test('a machine without KVM says how to get it', (t) => {
  const error = t.throws(() => Kvm.open('/dev/no-such-kvm'), { instanceOf: VfioError })
  t.is(error.code, 'ENOENT')
  t.regex(error.remedy ?? '', /kvm_intel or kvm_amd/)
})

kvmTest('options of a machine are checked', (t) => {
  using kvm = Kvm.open()
  t.throws(() => kvm.createVm({ irqchip: 'half' as never }), { instanceOf: TypeError })
  t.throws(() => kvm.createVm({ irqchip: 'split', pit: true }), { instanceOf: TypeError })
  t.throws(() => kvm.createVm({ tssAddress: 1n << 40n }), { instanceOf: RangeError })
  for (const irqchip of ['full', 'split', 'none'] as const) {
    using vm = kvm.createVm({ irqchip, pit: irqchip === 'full' })
    t.is(vm.irqchip, irqchip)
    using again = Vm.claim(vm.share())
    t.is(again.irqchip, irqchip)
  }
})

kvmTest('memory: overlaps, bounds and alignment are named', (t) => {
  using made = machine([0xf4])
  const { vm, memory } = made
  const overlap = t.throws(() => vm.addMemory({ guestAddress: 0x8000n, memory }), { instanceOf: VfioError })
  t.is(overlap.code, 'EEXIST')
  t.regex(overlap.message, /0x8000-0x17fff/)
  t.throws(() => vm.addMemory({ guestAddress: 1n, memory }), { instanceOf: RangeError })
  t.throws(() => vm.addMemory({ guestAddress: 0x100000n, memory, offset: 0x1000, size: 0x10000 }), {
    instanceOf: RangeError,
  })
  t.throws(() => vm.addMemory({ guestAddress: 0x100000n, memory: {} as never }), { instanceOf: TypeError })
})

kvmTest('memory: listeners hear of slots, and one that refuses takes the slot back', (t) => {
  using made = machine([0xf4])
  const { vm, memory } = made
  const heard: string[] = []
  const listening = vm.onMemoryChange(({ kind, slot }) =>
    heard.push(`${kind} ${slot.guestAddress.toString(16)}`),
  )
  const second = vm.addMemory({ guestAddress: 0x100000n, memory, offset: 0x1000, size: 0x1000 })
  t.deepEqual(
    vm.memorySlots.map((slot) => slot.guestAddress),
    [0n, 0x100000n],
  )
  second.close()
  second.close()
  listening.close()
  t.deepEqual(heard, ['added 100000', 'removing 100000'])
  const refusing = vm.onMemoryChange(({ kind }) => {
    if (kind === 'added') throw new Error('no')
  })
  t.throws(() => vm.addMemory({ guestAddress: 0x200000n, memory }), { message: 'no' })
  t.is(vm.memorySlots.length, 1)
  refusing.close()
})

kvmTest('statistics are there by name', (t) => {
  using made = machine([0xf4], { irqchip: 'none' })
  made.vcpu.run()
  t.true((made.vcpu.stats().exits ?? 0n) > 0n)
  t.true('remote_tlb_flush' in made.vm.stats())
})
