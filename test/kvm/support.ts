// Machines of a few bytes, for tests on the host's own KVM.
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { closeSync, existsSync, openSync, readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { Worker } from 'node:worker_threads'

import test, { type TestFn } from 'ava'

import { GuestMemory } from '../../ts/index.js'
import { Kvm, type MemorySlot, type Vcpu, type Vm, type VmOptions } from '../../ts/kvm/index.js'

function refusal(): string | undefined {
  try {
    closeSync(openSync('/dev/kvm', 'r+'))
    return undefined
  } catch (error) {
    return (error as Error).message
  }
}

const reason = refusal()

/** A test on /dev/kvm, skipped with the reason where that does not open. */
export const kvmTest: TestFn['serial'] = ((title: string, body: Parameters<TestFn['serial']>[1]) => {
  if (reason === undefined) test.serial(title, body as never)
  else test.skip(`${title} (needs /dev/kvm: ${reason})`, body as never)
}) as TestFn['serial']

const WHOLE = ['/sys/module/kvm_intel', '/sys/module/kvm_amd'].some((path) => existsSync(path))

/**
 * A test of what a processor does and an emulated one does not, skipped where KVM runs real mode by emulation. test/rig/vcpu-state
 * runs it too.
 */
export const processorTest: TestFn['serial'] = ((title: string, body: Parameters<TestFn['serial']>[1]) => {
  if (WHOLE) kvmTest(title, body as never)
  else test.skip(`${title} (needs kvm_intel or kvm_amd: here guests are emulated)`, body as never)
}) as TestFn['serial']

export const CODE = 0x1000
export const COUNTER = 0x2000
/** Where the guest's DS begins: its local APIC. */
export const APIC = 0xfee0_0000n
export const DOORBELL = 0x500
export const VECTOR = 0x40
const HANDLER = 0x1100

export interface Machine {
  vm: Vm
  vcpu: Vcpu
  memory: GuestMemory
  slot: MemorySlot
  bytes: Uint8Array
  view: DataView
  [Symbol.dispose](): void
}

/** A machine with 64 KiB at 0 and one vCPU that starts with `code` at CODE, in real mode. */
export function machine(code: readonly number[], options?: VmOptions & { logDirty?: boolean }): Machine {
  const kvm = Kvm.open()
  const { logDirty = false, ...vmOptions } = options ?? {}
  const vm = kvm.createVm(vmOptions)
  kvm.close()
  const memory = GuestMemory.create(0x10000)
  const slot = vm.addMemory({ guestAddress: 0n, memory, logDirty })
  const bytes = new Uint8Array(memory.buffer)
  bytes.set(code, CODE)
  const vcpu = vm.createVcpu(0)
  const special = vcpu.specialRegisters
  vcpu.specialRegisters = {
    cs: { ...special.cs, base: 0n, selector: 0 },
    ds: { ...special.ds, base: APIC },
  }
  vcpu.registers = { rip: BigInt(CODE), rflags: 2n }
  return {
    vm,
    vcpu,
    memory,
    slot,
    bytes,
    view: new DataView(memory.buffer),
    [Symbol.dispose]() {
      vcpu.close()
      vm.close()
      memory.close()
    },
  }
}

// mov dword [0xf0], 0x1ff (the APIC on); sti; hlt; jmp hlt
const WAITING = [0x66, 0xc7, 0x06, 0xf0, 0x00, 0xff, 0x01, 0x00, 0x00, 0xfb, 0xf4, 0xeb, 0xfd]
// inc word [es:COUNTER]; mov dword [0xb0], 0 (end of interrupt); mov dx, DOORBELL; out dx, al; iret
const COUNTING = [
  ...[0x26, 0xff, 0x06, 0x00, 0x20],
  ...[0x66, 0xc7, 0x06, 0xb0, 0x00, 0x00, 0x00, 0x00, 0x00],
  ...[0xba, 0x00, 0x05, 0xee, 0xcf],
]

/** A machine whose guest counts the interrupts of VECTOR at COUNTER, and rings DOORBELL after each. */
export function countingMachine(options?: VmOptions): Machine {
  const made = machine(WAITING, options)
  made.bytes.set(COUNTING, HANDLER)
  made.view.setUint16(VECTOR * 4, HANDLER, true)
  return made
}

/** An MSI that raises VECTOR on the first vCPU. */
export const MESSAGE = { address: APIC, data: VECTOR }

export interface Runner {
  worker: Worker
  /** Resolves with the reason of the exit that ended run(). */
  ended: Promise<string>
  exited: Promise<number>
}

/** Runs the vCPU in a Worker until its first exit. */
export async function runInWorker(vcpu: Vcpu): Promise<Runner> {
  const code = `
    const { workerData, parentPort } = require('node:worker_threads');
    (async () => {
      const { Vcpu } = await import(workerData.url);
      const vcpu = Vcpu.claim(workerData.token);
      parentPort.postMessage('running');
      const exit = vcpu.run();
      vcpu.close();
      parentPort.postMessage(exit.reason);
    })();`
  const worker = new Worker(code, {
    eval: true,
    execArgv: [],
    workerData: { url: new URL('../../ts/kvm/index.js', import.meta.url).href, token: vcpu.share() },
  })
  const exited = new Promise<number>((resolve) => worker.once('exit', resolve))
  await new Promise((resolve, reject) => {
    worker.once('message', resolve)
    worker.once('error', reject)
  })
  const ended = new Promise<string>((resolve) => worker.once('message', resolve))
  return { worker, ended, exited }
}

/** What the process holds that a machine is made of: descriptors by what they are, mappings, threads. */
export interface Holdings {
  descriptors: string[]
  mappings: string[]
  threads: number
}

export function holdings(): Holdings {
  const descriptors = readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      return [readlinkSync(`/proc/self/fd/${fd}`)]
    } catch {
      // The descriptor of the listing itself.
      return []
    }
  })
  const mappings = readFileSync('/proc/self/maps', 'utf8')
    .split('\n')
    .map((line) => line.split(/\s+/).slice(5).join(' '))
  const ours = /kvm|memfd|eventfd|timerfd/
  return {
    descriptors: descriptors.filter((name) => ours.test(name)).sort(),
    mappings: mappings.filter((name) => ours.test(name)).sort(),
    threads: readdirSync('/proc/self/task').length,
  }
}

/** The native calls that write a routing table. */
const WRITERS = /^vm.*Route/

/** How often a routing table is written meanwhile. */
export function routeWrites(during: () => void): number {
  let count = 0
  const listener = (call: unknown): void => {
    if (WRITERS.test((call as { name: string }).name)) count++
  }
  subscribe('node-vfio:call', listener)
  try {
    during()
  } finally {
    unsubscribe('node-vfio:call', listener)
  }
  return count
}
