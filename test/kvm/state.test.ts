// State of vCPUs and machines: what is set is read back, and the rest stays as it was.
import test from 'ava'

import { VfioError } from '../../ts/index.js'
import { Kvm, LAPIC, withTopology } from '../../ts/kvm/index.js'

import { APIC, CODE, countingMachine, kvmTest, machine, processorTest, runInWorker } from './support.js'

function withCpuid(made: ReturnType<typeof machine>): void {
  using kvm = Kvm.open()
  made.vcpu.cpuid = withTopology(kvm.supportedCpuid(), { apicId: 0, vcpus: 1 })
}

kvmTest('the FPU: control words and registers come back, others untouched', (t) => {
  using made = machine([0xf4], { irqchip: 'none' })
  const { state } = made.vcpu
  const xmm = state.fpu.xmm.map((_, i) => new Uint8Array(16).fill(i + 1))
  state.fpu = { fcw: 0x27f, mxcsr: 0x1f80, xmm }
  const before = state.fpu
  t.is(before.fcw, 0x27f)
  t.deepEqual(before.xmm, xmm)
  t.is(before.fpr.length, 8)
  state.fpu = { fcw: 0x37f }
  t.deepEqual(state.fpu, { ...before, fcw: 0x37f })
  t.throws(() => (state.fpu = { xmm: xmm.slice(1) }), { instanceOf: RangeError, message: /16 members/ })
  t.throws(() => (state.fpu = { fcw: 0x1_0000 }), { instanceOf: RangeError, message: /fpu\.fcw/ })
})

kvmTest('XSAVE: the area comes back, and the FPU has what it says', (t) => {
  using made = machine([0xf4], { irqchip: 'none' })
  withCpuid(made)
  const { state } = made.vcpu
  const area = state.xsave
  t.true(area.bytes.length >= 4096)
  // XMM0 lies at 160 in the area; component 1 is SSE.
  area.bytes.fill(0xa5, 160, 176)
  state.xsave = { ...area, components: 2n }
  t.deepEqual(state.fpu.xmm[0], new Uint8Array(16).fill(0xa5))
  t.is(state.xsave.components & 2n, 2n)
  t.deepEqual(state.xsave.bytes.slice(160, 176), new Uint8Array(16).fill(0xa5))
  t.throws(() => (state.xsave = { ...area, bytes: new Uint8Array(4095) }), { instanceOf: RangeError })
  t.throws(() => (state.xsave = { ...area, components: 1n << 62n }), {
    instanceOf: VfioError,
    code: 'EINVAL',
  })
})

kvmTest('XCR0 comes back as it was set', (t) => {
  using made = machine([0xf4], { irqchip: 'none' })
  withCpuid(made)
  const { state } = made.vcpu
  t.deepEqual(state.xcrs, [{ index: 0, value: 1n }])
  state.xcrs = [{ index: 0, value: 3n }]
  t.deepEqual(state.xcrs, [{ index: 0, value: 3n }])
  t.throws(() => (state.xcrs = [{ index: 0, value: 2n }]), { instanceOf: VfioError, code: 'EINVAL' })
})

kvmTest('the local APIC: what is written is there, and a guest’s interrupt shows', (t) => {
  using made = machine([0xf4])
  const { state } = made.vcpu
  const lapic = state.lapic
  lapic.virtualWire()
  lapic.write(LAPIC.TASK_PRIORITY, 0x20)
  lapic.write(LAPIC.SPURIOUS_VECTOR, 0x1ff)
  state.lapic = lapic
  const back = state.lapic
  t.is(back.read(LAPIC.LVT_LINT0) & 0x1_0700, 0x700)
  t.is(back.read(LAPIC.LVT_LINT1) & 0x1_0700, 0x400)
  t.is(back.read(LAPIC.TASK_PRIORITY), 0x20)
  t.true(made.vm.signalMsi({ address: APIC, data: 0x61 }))
  t.true(state.lapic.requested(0x61))
  t.false(state.lapic.requested(0x62) || state.lapic.inService(0x61))
  using none = machine([0xf4], { irqchip: 'none' })
  t.throws(() => none.vcpu.state.lapic, { instanceOf: VfioError, code: 'EINVAL' })
})

kvmTest('events: an exception that is put in reaches the guest’s handler', (t) => {
  using made = machine([0xeb, 0xfe], { irqchip: 'none' })
  made.bytes.set([0xe6, 0x06, 0xf4], CODE + 0x100)
  made.view.setUint16(6 * 4, CODE + 0x100, true)
  made.vcpu.state.events = { exception: { injected: true, vector: 6 } }
  t.like(made.vcpu.state.events.exception, { injected: true, vector: 6, hasErrorCode: false })
  t.like(made.vcpu.run(), { reason: 'io', port: 6 })
  t.false(made.vcpu.state.events.exception.injected)
  t.throws(() => (made.vcpu.state.events = { exception: { vector: 32 } }), { instanceOf: RangeError })
})

kvmTest('MP state: a second vCPU waits for its start, and can be made to run', (t) => {
  using made = machine([0xf4])
  using second = made.vm.createVcpu(1)
  t.is(second.mpState, 1)
  second.mpState = 0
  t.is(second.mpState, 0)
  second.mpState = 1
  t.notThrows(() => (second.state.events = { sipiVector: 0x12 }))
})

kvmTest('debug registers come back, others untouched', (t) => {
  using made = machine([0xf4], { irqchip: 'none' })
  const { state } = made.vcpu
  state.debugRegisters = { addresses: [1n, 2n, 3n, 0xffff_8000_0000_0000n] }
  const { dr6, dr7 } = state.debugRegisters
  state.debugRegisters = { dr7: dr7 | 1n }
  t.deepEqual(state.debugRegisters, { addresses: [1n, 2n, 3n, 0xffff_8000_0000_0000n], dr6, dr7: dr7 | 1n })
  t.throws(() => (state.debugRegisters = { dr7: 1n << 32n }), { instanceOf: RangeError })
})

kvmTest('guest debug: a hardware breakpoint ends run(), and null takes it back', (t) => {
  using made = machine([0x90, 0x90, 0xf4], { irqchip: 'none' })
  const { vcpu } = made
  vcpu.debug({ hardwareBreakpoints: [{ address: BigInt(CODE) + 2n }] })
  t.like(vcpu.run(), { reason: 'debug', exception: 1, pc: BigInt(CODE) + 2n })
  vcpu.debug(null)
  t.is(vcpu.run().reason, 'hlt')
})

// The rig's SVM is QEMU's emulation, which lets INT3 through to the guest.
const interceptTest: typeof processorTest = ((title: string, body: Parameters<typeof processorTest>[1]) => {
  if (process.env.NODE_VFIO_RIG === undefined) processorTest(title, body as never)
  else test.skip(`${title} (only where INT3 is intercepted: QEMU's emulation of SVM does not)`, body as never)
}) as typeof processorTest

interceptTest('guest debug: INT3 ends run() instead of reaching the guest', (t) => {
  using made = machine([0x90, 0xcc, 0xf4], { irqchip: 'none' })
  made.vcpu.debug({ softwareBreakpoints: true })
  t.like(made.vcpu.run(), { reason: 'debug', exception: 3, pc: BigInt(CODE) + 1n })
})

kvmTest('guest debug: a step ends run() after each instruction', (t) => {
  using made = machine([0x90, 0x90, 0xf4], { irqchip: 'none' })
  made.vcpu.debug({ singleStep: true })
  for (const step of [1n, 2n]) {
    t.like(made.vcpu.run(), { reason: 'debug', exception: 1, pc: BigInt(CODE) + step })
  }
})

processorTest('the offset of the timestamp counter comes back as it was set', (t) => {
  using made = machine([0xf4], { irqchip: 'none' })
  const { tsc } = made.vcpu
  const before = tsc.offset
  tsc.offset = BigInt.asUintN(64, before + 1_000_000n)
  t.is(tsc.offset, BigInt.asUintN(64, before + 1_000_000n))
})

kvmTest('the timestamp counter has a frequency, and takes no nonsense', (t) => {
  using made = machine([0xf4], { irqchip: 'none' })
  const { tsc } = made.vcpu
  t.true(tsc.khz > 100_000)
  t.throws(() => (tsc.khz = 0), { instanceOf: RangeError })
  t.throws(() => (tsc.offset = -1n), { instanceOf: RangeError })
})

kvmTest('the clock goes on from where it is set', (t) => {
  using made = machine([0xf4])
  const { state } = made.vm
  state.clock = { nanoseconds: 1_000_000_000_000n }
  const { nanoseconds } = state.clock
  t.true(nanoseconds >= 1_000_000_000_000n && nanoseconds < 1_060_000_000_000n, String(nanoseconds))
  t.true(state.clock.nanoseconds >= nanoseconds)
})

kvmTest('the timer comes back as it was set; without one it is refused', (t) => {
  using made = machine([0xf4], { pit: true })
  const { state } = made.vm
  state.pit = { channels: [{ count: 0x4000, mode: 2 }, {}, {}], speakerOn: true }
  const { channels, speakerOn } = state.pit
  t.like(channels[0], { count: 0x4000, mode: 2 })
  t.true(speakerOn)
  state.setPitReinjection(false)
  t.throws(() => (state.pit = { channels: [{}, {}] }), { instanceOf: RangeError })
  t.throws(() => (state.pit = { channels: [{ mode: 6 }, {}, {}] }), { instanceOf: RangeError })
  using none = machine([0xf4])
  t.throws(() => none.vm.state.pit, { instanceOf: VfioError, code: 'ENXIO', message: /pit: true/ })
})

kvmTest('the chips come back as they were set; a split machine has none', (t) => {
  using made = machine([0xf4])
  const { state } = made.vm
  state.picMaster = { imr: 0xfe, irqBase: 0x20 }
  t.like(state.picMaster, { imr: 0xfe, irqBase: 0x20 })
  t.not(state.picSlave.irqBase, 0x20)
  state.picSlave = { irqBase: 0x28 }
  t.is(state.picSlave.irqBase, 0x28)
  const redirections = state.ioapic.redirections.map((entry, pin) => (pin === 4 ? 0x1_0034n : entry))
  state.ioapic = { id: 3, redirections }
  t.is(state.ioapic.redirections[4], 0x1_0034n)
  t.is(state.ioapic.baseAddress, 0xfec0_0000n)
  using split = machine([0xf4], { irqchip: 'split' })
  t.throws(() => split.vm.state.ioapic, { instanceOf: VfioError, code: 'ENXIO', message: /full/ })
})

kvmTest('an NMI reaches the guest’s handler, with and without a chip', (t) => {
  for (const irqchip of ['full', 'none'] as const) {
    using made = machine([0xf4, 0xeb, 0xfd], { irqchip })
    made.bytes.set([0xe6, 0x02, 0xcf], CODE + 0x100)
    made.view.setUint16(2 * 4, CODE + 0x100, true)
    made.vcpu.interrupts.nmi()
    t.like(made.vcpu.run(), { reason: 'io', port: 2 })
  }
})

processorTest('without a chip the VMM asks for the window', (t) => {
  // nop; sti; nop; jmp $
  using made = machine([0x90, 0xfb, 0x90, 0xeb, 0xfe], { irqchip: 'none' })
  const { interrupts } = made.vcpu
  interrupts.windowRequested = true
  t.is(made.vcpu.run().reason, 'interrupt-window')
  t.true(interrupts.ready && interrupts.enabled)
})

kvmTest('without a chip the VMM injects; with the full one the kernel does', (t) => {
  // sti; nop; out 0x11, al; jmp to the out
  using made = machine([0xfb, 0x90, 0xe6, 0x11, 0xeb, 0xfc], { irqchip: 'none' })
  made.bytes.set([0xe6, 0x40, 0xcf], CODE + 0x100)
  made.view.setUint16(0x40 * 4, CODE + 0x100, true)
  const { vcpu } = made
  const { interrupts } = vcpu
  t.false(interrupts.windowRequested)
  interrupts.windowRequested = true
  t.true(interrupts.windowRequested)
  interrupts.windowRequested = false
  t.like(vcpu.run(), { reason: 'io', port: 0x11 })
  t.true(interrupts.ready && interrupts.enabled)
  interrupts.inject(0x40)
  t.like(vcpu.run(), { reason: 'io', port: 0x40 })
  interrupts.taskPriority = 15
  t.is(interrupts.taskPriority, 15)
  using full = machine([0xf4])
  t.throws(
    () => {
      full.vcpu.interrupts.inject(0x40)
    },
    { instanceOf: VfioError, code: 'ENXIO', message: /irqchip 'none'/ },
  )
})

kvmTest('an extension that is not there is told from one that takes no such arguments', (t) => {
  using made = machine([0xf4])
  const { vm, vcpu } = made
  t.throws(
    () => {
      vm.enableCapability(60_000)
    },
    { instanceOf: VfioError, code: 'EOPNOTSUPP', message: /extension 60000/ },
  )
  // After the first vCPU.
  t.throws(
    () => {
      vm.enableCapability('SPLIT_IRQCHIP', [24n])
    },
    { instanceOf: VfioError, message: /KVM_CAP_SPLIT_IRQCHIP/ },
  )
  t.throws(
    () => {
      vcpu.enableCapability('X86_USER_SPACE_MSR', [4n])
    },
    { instanceOf: VfioError, code: 'EINVAL', message: /machine or vCPU/ },
  )
  t.throws(
    () => {
      vm.enableCapability('HALT_POLL', [0n, 0n, 0n, 0n, 0n])
    },
    { instanceOf: RangeError },
  )
  vm.enableCapability('HALT_POLL', [0n])
})

kvmTest('state of a vCPU that runs is refused, not waited for', async (t) => {
  using made = countingMachine()
  const runner = await runInWorker(made.vcpu)
  while ((made.vcpu.stats().exits ?? 0n) === 0n) await new Promise((resolve) => setTimeout(resolve, 1))
  const { vcpu } = made
  const calls = [
    () => vcpu.state.fpu,
    () => vcpu.state.xsave,
    () => vcpu.state.lapic,
    () => vcpu.state.events,
    () => vcpu.msrs.read(0x10),
    () => vcpu.tsc.offset,
    () => {
      vcpu.interrupts.nmi()
    },
  ]
  for (const call of calls) t.throws(call, { instanceOf: VfioError, code: 'EBUSY' })
  vcpu.kick()
  t.is(await runner.ended, 'interrupted')
  await runner.exited
})

kvmTest('what a vCPU shares with the kernel is not reached once it is closed', (t) => {
  using made = machine([0xf4], { irqchip: 'none' })
  const { interrupts } = made.vcpu
  t.false(interrupts.windowRequested)
  made.vcpu.close()
  const closed = { instanceOf: VfioError, code: 'EBADF' } as const
  t.throws(() => interrupts.ready, closed)
  t.throws(() => (interrupts.windowRequested = true), closed)
  t.throws(() => made.vcpu.inSmm, closed)
})
