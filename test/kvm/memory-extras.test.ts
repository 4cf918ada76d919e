// Guest memory beside slots and bitmaps: dirty rings, writes that wait, memory of the machine's own, and limits explained.
import { GuestMemory, VfioError } from '../../ts/index.js'
import { Kvm } from '../../ts/kvm/index.js'
import { FRAMING } from '../../ts/vfio-user/protocol/constants.js'
import { Connection } from '../../ts/vfio-user/transport/connection.js'

import { CODE, kvmTest, machine, processorTest } from './support.js'

/** A machine with a ring of 1024 entries, and a vCPU that starts with `code` in real mode, ES at 0x10000. */
function ringed(code: readonly number[]) {
  using kvm = Kvm.open()
  const vm = kvm.createVm({ irqchip: 'none' })
  const ring = vm.enableDirtyRing({ entries: 1024 })
  const memory = GuestMemory.create(16 << 20)
  const slot = vm.addMemory({ guestAddress: 0n, memory, logDirty: true })
  new Uint8Array(memory.buffer).set(code, CODE)
  const vcpu = vm.createVcpu(0)
  const { cs, es } = vcpu.specialRegisters
  vcpu.specialRegisters = { cs: { ...cs, base: 0n, selector: 0 }, es: { ...es, base: 0x1_0000n } }
  vcpu.registers = { rip: BigInt(CODE), rflags: 2n }
  return { vm, ring, memory, slot, vcpu }
}

kvmTest('a dirty ring has the pages that a guest wrote to, once, and watches them again', (t) => {
  // mov [es:0], al; mov [es:0x3000], al; hlt; jmp start
  const { vm, ring, memory, slot, vcpu } = ringed([
    ...[0x26, 0xa2, 0x00, 0x00, 0x26, 0xa2, 0x00, 0x30, 0xf4, 0xeb, 0xf5],
  ])
  t.is(ring.entries, 1024)
  t.deepEqual(ring.collect([vcpu]), [])
  t.is(vcpu.run().reason, 'hlt')
  const pages = ring.collect([vcpu])
  t.deepEqual(
    pages.filter(({ offset }) => offset >= 0x1_0000n),
    [
      { slot: slot.number, offset: 0x1_0000n, guestAddress: 0x1_0000n },
      { slot: slot.number, offset: 0x1_3000n, guestAddress: 0x1_3000n },
    ],
  )
  t.deepEqual(ring.collect([vcpu]), [])
  t.is(vcpu.run().reason, 'hlt')
  t.true(ring.collect([vcpu]).some(({ guestAddress }) => guestAddress === 0x1_3000n))
  t.throws(() => slot.dirtyBitmap(), { instanceOf: VfioError, code: 'ENXIO', message: /DirtyRing/ })
  vcpu.close()
  vm.close()
  memory.close()
})

processorTest('a ring that is full ends run(); collected, the guest goes on, and no page is lost', (t) => {
  // mov [edi], al; add edi, 0x1000; dec esi; jnz start; hlt
  const { vm, ring, memory, vcpu } = ringed([
    ...[0x67, 0x88, 0x07, 0x66, 0x81, 0xc7, 0x00, 0x10, 0x00, 0x00, 0x66, 0x4e, 0x75, 0xf2, 0xf4],
  ])
  const { ds } = vcpu.specialRegisters
  vcpu.specialRegisters = { ds: { ...ds, base: 0x1_0000n, limit: 0xffff_ffff, g: true } }
  vcpu.registers = { rdi: 0n, rsi: 2000n }
  const seen = new Set<bigint>()
  let full = 0
  for (;;) {
    const { reason } = vcpu.run()
    for (const { guestAddress } of ring.collect([vcpu])) seen.add(guestAddress ?? -1n)
    if (reason === 'hlt') break
    t.is(reason, 'dirty-ring-full')
    full++
  }
  t.true(full >= 1)
  for (let page = 0n; page < 2000n; page++) t.true(seen.has(0x1_0000n + page * 4096n), String(page))
  vcpu.close()
  vm.close()
  memory.close()
})

kvmTest('a ring takes no vCPU of another machine, and loses nothing by being asked', (t) => {
  const { vm, ring, memory, vcpu } = ringed([0x26, 0xa2, 0x00, 0x00, 0xf4])
  using other = machine([0xf4])
  const { vm: second, ring: secondRing, memory: secondMemory, vcpu: secondVcpu } = ringed([0xf4])
  t.is(vcpu.run().reason, 'hlt')
  // Neither one without a ring, whose pages would end the process, nor one with a ring of its own.
  for (const stranger of [other.vcpu, secondVcpu])
    t.throws(() => ring.collect([vcpu, stranger]), {
      instanceOf: TypeError,
      message: /of the ring's machine/,
    })
  t.true(ring.collect([vcpu]).some(({ offset }) => offset === 0x1_0000n))
  t.deepEqual(secondRing.collect([secondVcpu]), [])
  vm.close()
  t.throws(() => ring.collect([vcpu]), { code: 'EBADF' })
  for (const each of [vcpu, secondVcpu, second, memory, secondMemory]) each.close()
})

/** Another descriptor of the same file: a message brings it. */
function duplicate(fd: number): number {
  const [courier, receiver] = Connection.pair({ framing: FRAMING })
  courier.outData.setUint32(4, 16, true)
  courier.send(16, [fd])
  receiver.wait(1000)
  const [copy = -1] = receiver.takeFds(0)
  courier.close()
  receiver.close()
  return copy
}

kvmTest('a vCPU that was adopted by a machine with a ring, and is of one without, is refused', (t) => {
  const { vm, ring, memory, vcpu } = ringed([0xf4])
  using other = machine([0xf4])
  using adopted = vm.adoptVcpu(duplicate(other.vcpu.fd), 1)
  t.throws(() => ring.collect([vcpu, adopted]), {
    instanceOf: VfioError,
    code: 'EFAULT',
    message: /another machine/,
  })
  t.deepEqual(ring.collect([vcpu]), [])
  for (const each of [vcpu, vm, memory]) each.close()
})

kvmTest('a ring is asked for in time, and with a size that KVM has', (t) => {
  using made = machine([0xf4])
  t.throws(() => made.vm.enableDirtyRing({ entries: 1024 }), { instanceOf: VfioError, code: 'EINVAL' })
  using kvm = Kvm.open()
  using vm = kvm.createVm()
  t.throws(() => vm.enableDirtyRing({ entries: 1023 }), { instanceOf: RangeError })
  t.throws(() => vm.enableDirtyRing({ entries: 1025 }), { instanceOf: RangeError, message: /power of two/ })
  t.throws(() => vm.enableDirtyRing({ entries: 1 << 20 }), { instanceOf: RangeError })
})

kvmTest('writes to a zone wait, in order, and reads end run() as before', (t) => {
  // mov byte [0], 1; mov word [2], 0x1234; mov al, [0]; mov dx, 0x600; out dx, al; hlt, with DS where nothing is
  const code = [
    ...[0xc6, 0x06, 0x00, 0x00, 0x01, 0xc7, 0x06, 0x02, 0x00, 0x34, 0x12],
    ...[0xa0, 0x00, 0x00, 0xba, 0x00, 0x06, 0xee, 0xf4],
  ]
  using made = machine(code, { irqchip: 'none' })
  const { vm, vcpu } = made
  vcpu.specialRegisters = { ds: { ...vcpu.specialRegisters.ds, base: 0xd000_0000n } }
  const zone = vm.coalesce({ mmio: 0xd000_0000n, size: 4096 })
  vm.coalesce({ pio: 0x600, size: 1 })
  const read = vcpu.run()
  t.like(read, { reason: 'mmio', isWrite: false, address: 0xd000_0000n })
  t.deepEqual(vcpu.coalescedWrites(), [
    { address: 0xd000_0000n, port: false, data: Uint8Array.of(1) },
    { address: 0xd000_0002n, port: false, data: Uint8Array.of(0x34, 0x12) },
  ])
  if (read.reason === 'mmio') read.data[0] = 0x77
  t.is(vcpu.run().reason, 'hlt')
  t.deepEqual(vcpu.coalescedWrites(), [{ address: 0x600n, port: true, data: Uint8Array.of(0x77) }])
  t.deepEqual(vcpu.coalescedWrites(), [])
  zone.close()
  zone.close()
  t.true(zone.closed)
  vcpu.registers = { rip: BigInt(CODE) }
  t.like(vcpu.run(), { reason: 'mmio', isWrite: true })
})

kvmTest('zones do not overlap: with one of two the kernel would take the other away', (t) => {
  using made = machine([0xf4])
  const { vm } = made
  const zone = vm.coalesce({ mmio: 0xd000_0000n, size: 4096 })
  vm.coalesce({ mmio: 0xd000_1000n, size: 8 })
  vm.coalesce({ pio: 0x600, size: 1 })
  for (const place of [{ mmio: 0xd000_0ff8n }, { mmio: 0xcfff_fff9n }] as const)
    t.throws(() => vm.coalesce({ ...place, size: 8 }), { instanceOf: VfioError, code: 'EEXIST' })
  zone.close()
  t.notThrows(() => vm.coalesce({ mmio: 0xd000_0ff8n, size: 8 }))
})

kvmTest('a ring of waiting writes that is full lets the next one out, and loses none', (t) => {
  // mov cx, 300; mov [0], cl; loop; hlt
  using made = machine([0xb9, 0x2c, 0x01, 0x88, 0x0e, 0x00, 0x00, 0xe2, 0xfa, 0xf4], { irqchip: 'none' })
  const { vm, vcpu } = made
  vcpu.specialRegisters = { ds: { ...vcpu.specialRegisters.ds, base: 0xd000_0000n } }
  vm.coalesce({ mmio: 0xd000_0000n, size: 1 })
  const values: number[] = []
  for (;;) {
    const exit = vcpu.run()
    values.push(...vcpu.coalescedWrites().map(({ data }) => data[0] ?? -1))
    if (exit.reason === 'hlt') break
    t.is(exit.reason, 'mmio')
    if (exit.reason === 'mmio') values.push(exit.data[0] ?? -1)
  }
  t.deepEqual(
    values,
    Array.from({ length: 300 }, (_, i) => (300 - i) & 0xff),
  )
})

kvmTest('zones that mean nothing are refused', (t) => {
  using made = machine([0xf4])
  const { vm } = made
  t.throws(() => vm.coalesce({ size: 1 } as never), { instanceOf: TypeError })
  t.throws(() => vm.coalesce({ pio: 0xffff, size: 2 }), { instanceOf: RangeError })
  t.throws(() => vm.coalesce({ mmio: (1n << 64n) - 1n, size: 2 }), { instanceOf: RangeError })
})

kvmTest('memory of the machine’s own: a slot shows it, where the kernel has it', (t) => {
  using made = machine([0xf4])
  const { vm, memory } = made
  if (vm.checkExtension('GUEST_MEMFD') === 0) {
    t.throws(() => vm.createGuestMemfd({ size: 4096 }), { instanceOf: VfioError, code: 'EOPNOTSUPP' })
    return
  }
  const own = vm.createGuestMemfd({ size: 0x10000 })
  t.true(own.fd > 2)
  const slot = vm.addMemory({ guestAddress: 0x10_0000n, memory, size: 0x8000, guestMemfd: own })
  t.is(slot.guestMemfd, own)
  // The same part of the file again.
  t.throws(() => vm.addMemory({ guestAddress: 0x20_0000n, memory, size: 0x8000, guestMemfd: own }), {
    instanceOf: VfioError,
    message: /KVM_SET_USER_MEMORY_REGION2/,
  })
  const other = vm.addMemory({
    guestAddress: 0x20_0000n,
    memory,
    size: 0x8000,
    guestMemfd: own,
    guestMemfdOffset: 0x8000,
  })
  own.close()
  slot.close()
  other.close()
  t.throws(() => vm.createGuestMemfd({ size: 4095 }), { instanceOf: RangeError })
})

kvmTest('memory attributes of a machine without private memory are refused by name', (t) => {
  using made = machine([0xf4])
  const { vm } = made
  const change = { guestAddress: 0n, size: 4096n, private: true }
  if (vm.checkExtension('MEMORY_ATTRIBUTES') === 0) {
    t.throws(
      () => {
        vm.setMemoryAttributes(change)
      },
      { instanceOf: VfioError, code: 'EOPNOTSUPP', message: /KVM_CAP_MEMORY_ATTRIBUTES/ },
    )
  } else {
    vm.setMemoryAttributes(change)
  }
  t.throws(
    () => {
      vm.setMemoryAttributes({ ...change, size: 1n })
    },
    { instanceOf: RangeError },
  )
})

kvmTest('an address above what a guest has is explained', (t) => {
  using made = machine([0xf4])
  t.throws(() => made.vm.addMemory({ guestAddress: 1n << 60n, memory: made.memory }), {
    instanceOf: VfioError,
    code: 'EINVAL',
    message: /bits of physical address/,
  })
})
