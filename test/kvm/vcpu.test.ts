// Running guests of a few instructions.
import { VfioError } from '../../ts/index.js'

import { SANITIZED, inChild } from '../unit/support.js'
import { CODE, COUNTER, kvmTest, machine, runInWorker } from './support.js'

/** Milliseconds. */
const AT_MOST = SANITIZED ? 1000 : 200

kvmTest('ports: what a guest writes is read, what it reads is answered', (t) => {
  // mov dx, 0x3f8; mov al, 'H'; out dx, al; in al, dx; mov [es:COUNTER], al; hlt
  const code = [0xba, 0xf8, 0x03, 0xb0, 0x48, 0xee, 0xec, 0x26, 0xa2, 0x00, 0x20, 0xf4]
  using made = machine(code, { irqchip: 'none', logDirty: true })
  const { vcpu, view, slot } = made
  const out = vcpu.run()
  t.like(out, { reason: 'io', direction: 'out', port: 0x3f8, size: 1, count: 1 })
  t.is(out.reason === 'io' && out.data[0], 0x48)
  const input = vcpu.run()
  t.like(input, { reason: 'io', direction: 'in', port: 0x3f8 })
  if (input.reason === 'io') input.data[0] = 0x99
  t.deepEqual(vcpu.run(), { reason: 'hlt' })
  t.deepEqual(vcpu.exit, { reason: 'hlt' })
  t.is(view.getUint8(COUNTER), 0x99)
  const dirty = slot.dirtyBitmap()
  t.true(dirty.has(COUNTER >> 12))
  t.is(slot.dirtyBitmap().count, 0, 'reading clears')
  slot.logDirty = false
  t.throws(() => slot.dirtyBitmap(), { instanceOf: VfioError, code: 'ENOENT' })
})

kvmTest('memory that is not there: reads and writes of each width', (t) => {
  // mov byte [0], 0x5a; mov ax, [2]; mov [es:COUNTER], ax; hlt, with DS where nothing is
  const code = [0xc6, 0x06, 0x00, 0x00, 0x5a, 0xa1, 0x02, 0x00, 0x26, 0xa3, 0x00, 0x20, 0xf4]
  using made = machine(code, { irqchip: 'none' })
  const { vcpu, view } = made
  const special = vcpu.specialRegisters
  vcpu.specialRegisters = { ds: { ...special.ds, base: 0xd000_0000n } }
  const write = vcpu.run()
  t.like(write, { reason: 'mmio', address: 0xd000_0000n, length: 1, isWrite: true })
  t.is(write.reason === 'mmio' && write.data[0], 0x5a)
  const read = vcpu.run()
  t.like(read, { reason: 'mmio', address: 0xd000_0002n, length: 2, isWrite: false })
  if (read.reason === 'mmio') read.data.set([0x34, 0x12])
  t.is(vcpu.run().reason, 'hlt')
  t.is(view.getUint16(COUNTER, true), 0x1234)
})

kvmTest('registers come back as they were set, others untouched', (t) => {
  using made = machine([0xf4], { irqchip: 'none' })
  const { vcpu } = made
  vcpu.registers = { rbx: 0x1234_5678_9abc_def0n, r15: (1n << 64n) - 1n }
  t.is(vcpu.registers.rbx, 0x1234_5678_9abc_def0n)
  t.is(vcpu.registers.r15, (1n << 64n) - 1n)
  t.is(vcpu.registers.rip, BigInt(CODE))
  const before = vcpu.specialRegisters
  vcpu.specialRegisters = { gdt: { base: 0x8000n, limit: 0x27 } }
  t.deepEqual(vcpu.specialRegisters, { ...before, gdt: { base: 0x8000n, limit: 0x27 } })
  t.throws(() => (vcpu.registers = { rax: -1n }), { instanceOf: RangeError })
  t.throws(() => (vcpu.registers = { rax: 1 as never }), { instanceOf: TypeError })
})

kvmTest('a kick ends the run under way, and one that came before the next', async (t) => {
  using made = machine([0xeb, 0xfe])
  made.vcpu.kick()
  t.is(made.vcpu.run().reason, 'interrupted')
  const runner = await runInWorker(made.vcpu)
  made.vcpu.kick()
  t.is(await runner.ended, 'interrupted')
  await runner.exited
})

kvmTest('one thread runs it: others are refused, not blocked', async (t) => {
  using made = machine([0xeb, 0xfe])
  const runner = await runInWorker(made.vcpu)
  while ((made.vcpu.stats().exits ?? 0n) === 0n) await new Promise((resolve) => setTimeout(resolve, 1))
  for (const call of [() => made.vcpu.run(), () => made.vcpu.registers, () => made.vcpu.cpuid]) {
    t.throws(call, { instanceOf: VfioError, code: 'EBUSY' })
  }
  made.vcpu.kick()
  t.is(await runner.ended, 'interrupted')
  await runner.exited
  t.is(made.vcpu.registers.rip, BigInt(CODE))
})

kvmTest('immediateExit keeps a guest out until it is taken back', (t) => {
  using made = machine([0xf4], { irqchip: 'none' })
  made.vcpu.immediateExit = true
  t.is(made.vcpu.run().reason, 'interrupted')
  t.is(made.vcpu.run().reason, 'interrupted')
  made.vcpu.immediateExit = false
  t.is(made.vcpu.run().reason, 'hlt')
})

kvmTest(
  'a Worker that runs a guest is terminated in 200 ms: spinning, and halted in the kernel',
  async (t) => {
    for (const code of [
      [0xeb, 0xfe],
      [0xfa, 0xf4],
    ]) {
      using made = machine(code)
      const runner = await runInWorker(made.vcpu)
      // The guest is in: terminate() would end a Worker that has not begun without asking the vCPU.
      while ((made.vcpu.stats().exits ?? 0n) === 0n) await new Promise((resolve) => setTimeout(resolve, 1))
      const start = performance.now()
      await runner.worker.terminate()
      t.true(performance.now() - start < AT_MOST, `${String(Math.round(performance.now() - start))} ms`)
      // Nobody runs it any more.
      made.vcpu.kick()
      t.is(made.vcpu.run().reason, 'interrupted')
    }
  },
)

kvmTest(
  'a machine that closes while its vCPU runs, wired, takes the memory: run() ends within 200 ms',
  async (t) => {
    const made = machine([0xeb, 0xfe])
    const runner = await runInWorker(made.vcpu)
    while ((made.vcpu.stats().exits ?? 0n) === 0n) await new Promise((resolve) => setTimeout(resolve, 1))
    made.vm.ioeventfd({ pio: 0x500, length: 1 })
    const start = performance.now()
    made.vm.close()
    made.vcpu.kick()
    // Whichever was first: the guest that finds no instruction, or the kick.
    t.true(['internal-error', 'mmio', 'interrupted'].includes(await runner.ended))
    t.true(performance.now() - start < AT_MOST)
    await runner.exited
    made.vcpu.close()
    made.memory.close()
  },
)

kvmTest('what a thread does after run() does not feel the end of its slice', (t) => {
  using ran = machine([0xe6, 0x10, 0xeb, 0xfc])
  // 50 ms after the first run() a signal comes, and finds the thread in one of these.
  const end = performance.now() + 300
  let made = 0
  while (performance.now() < end) {
    if (made % 4 === 0) t.is(ran.vcpu.run().reason, 'io')
    using other = machine([0xf4])
    t.truthy(other)
    made++
  }
  t.true(made > 0)
})

kvmTest('a new vCPU has no CPUID entries, and takes a list of none', (t) => {
  using made = machine([0xf4])
  t.deepEqual(made.vcpu.cpuid, [])
  made.vcpu.cpuid = []
  t.deepEqual(made.vcpu.cpuid, [])
})

kvmTest(
  'an instruction where no memory is: KVM’s internal error, with its name and where the guest was',
  (t) => {
    // ljmp 0x2000:0x0010
    using made = machine([0xea, 0x10, 0x00, 0x00, 0x20], { irqchip: 'none' })
    const exit = made.vcpu.run()
    t.like(exit, { reason: 'internal-error', suberror: 1, name: 'emulation', rip: 0x10n })
    t.true(exit.reason === 'internal-error' && Array.isArray(exit.data))
  },
)

kvmTest(
  'a vCPU that is closed inside its own run() ends it, and one that is run inside it runs',
  async (t) => {
    const kvm = new URL('../../ts/kvm/index.js', import.meta.url).href
    const child = (within: string): ReturnType<typeof inChild> =>
      inChild(`
    const { Worker } = await import('node:worker_threads')
    const { Kvm } = await import(${JSON.stringify(kvm)})
    const vm = Kvm.open().createVm({ irqchip: 'none' })
    const memory = vfio.GuestMemory.create(0x10000)
    vm.addMemory({ guestAddress: 0n, memory })
    // jmp $; hlt
    new Uint8Array(memory.buffer).set([0xeb, 0xfe, 0xf4], 0x1000)
    const made = (id, rip) => {
      const vcpu = vm.createVcpu(id)
      vcpu.specialRegisters = { cs: { ...vcpu.specialRegisters.cs, base: 0n, selector: 0 } }
      vcpu.registers = { rip, rflags: 2n }
      return vcpu
    }
    const vcpu = made(0, 0x1000n), other = made(1, 0x1002n)
    globalThis.within = () => { ${within} }
    const inspector = new Worker(\`
      const { Session } = require('node:inspector')
      require('node:worker_threads').parentPort.postMessage(1)
      setTimeout(() => {
        const session = new Session()
        session.connectToMainThread()
        session.post('Runtime.evaluate', { expression: 'within()' })
      }, 300)
      setInterval(() => undefined, 1000)\`, { eval: true, execArgv: [] })
    await new Promise((resolve) => inspector.once('message', resolve))
    try { console.log(vcpu.run().reason) } catch (error) { console.log(error.code) }
    process.exit()`)
    const closed = await child('vcpu.close()')
    t.is(closed.stdout, 'EBADF\n', closed.stderr)
    const ran = await child('console.log(other.run().reason); vcpu.kick()')
    t.is(ran.stdout, 'hlt\ninterrupted\n', ran.stderr)
  },
)
