// How a process ends while a vCPU runs in it: at once, by whichever way, with the guest in whichever state.
import { spawn } from 'node:child_process'

import { Worker } from 'node:worker_threads'

import { SANITIZED, until } from '../unit/support.js'
import { holdings, kvmTest } from './support.js'

const URLS = {
  vfio: new URL('../../ts/index.js', import.meta.url).href,
  kvm: new URL('../../ts/kvm/index.js', import.meta.url).href,
}

/** Without what the sanitizers themselves do at a process's end, which takes seconds. */
const QUICK_END = Object.fromEntries(
  Object.entries({ ASAN_OPTIONS: 'detect_leaks=0', TSAN_OPTIONS: 'atexit_sleep_ms=0' }).flatMap(
    ([name, option]) => (process.env[name] === undefined ? [] : [[name, `${process.env[name]}:${option}`]]),
  ),
)
/** Milliseconds. Their code is slower, too. */
const AT_MOST = SANITIZED ? 1000 : 200

/** A guest that runs in a Worker, wired, and then `end`, 50 ms after the guest has started. */
const program = (code: readonly number[], end: string): string => `
  const { EventFd, GuestMemory } = await import('${URLS.vfio}')
  const { Kvm } = await import('${URLS.kvm}')
  const { Worker } = await import('node:worker_threads')
  const { setTimeout } = await import('node:timers/promises')
  const vm = Kvm.open().createVm()
  const memory = GuestMemory.create(4096)
  new Uint8Array(memory.buffer).set(${JSON.stringify(code)})
  vm.addMemory({ guestAddress: 0n, memory })
  const vcpu = vm.createVcpu(0)
  vcpu.specialRegisters = { cs: { ...vcpu.specialRegisters.cs, base: 0n, selector: 0 } }
  vcpu.registers = { rip: 0n, rflags: 2n }
  vm.irqfd(new EventFd(), { gsi: vm.routing.msi({ address: 0xfee00000n, data: 0x40 }).gsi })
  vm.ioeventfd({ pio: 0x500, length: 1 })
  const worker = new Worker(
    "const { workerData } = require('node:worker_threads');" +
      "import(workerData.url).then(({ Vcpu }) => Vcpu.claim(workerData.token).run())",
    { eval: true, execArgv: [], workerData: { url: '${URLS.kvm}', token: vcpu.share() } },
  )
  while ((vcpu.stats().exits ?? 0n) === 0n) await setTimeout(1)
  await setTimeout(50)
  process.on('exit', () => process.stdout.write(String(Date.now())))
  ${end}`

interface Ended {
  status: number | null
  signal: NodeJS.Signals | null
  stderr: string
  /** From the process's 'exit' event to its end. */
  milliseconds: number
}

function run(code: string): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, ['--input-type=module', '-e', code], {
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: 60_000,
      env: { ...process.env, ...QUICK_END },
    })
    let began = ''
    let stderr = ''
    let ended = 0
    child.stdout.on('data', (chunk: Buffer) => (began += chunk.toString()))
    child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()))
    child.on('error', reject)
    child.on('exit', () => (ended = Date.now()))
    child.on('close', (status, signal) => {
      resolve({ status, signal, stderr, milliseconds: ended - Number(began) })
    })
  })
}

const GUESTS = { spinning: [0xeb, 0xfe], 'halted in the kernel': [0xfa, 0xf4] }
const ENDS = [
  { name: 'process.exit()', end: 'process.exit(7)', status: 7 },
  { name: 'an uncaught throw', end: "throw new Error('thrown')", status: 1 },
  { name: 'the machine closed, then process.exit()', end: 'vm.close(); process.exit(8)', status: 8 },
]

for (const [guest, code] of Object.entries(GUESTS)) {
  for (const { name, end, status } of ENDS) {
    kvmTest(`${name} with a guest ${guest}: the process ends within 200 ms`, async (t) => {
      const ended = await run(program(code, end))
      t.is(ended.signal, null)
      t.is(ended.status, status, ended.stderr)
      t.true(ended.milliseconds < AT_MOST, `${String(ended.milliseconds)} ms`)
    })
  }
}

/** A Worker with a machine of its own, wired, whose guest runs in it. */
const WHOLE = `
  const { workerData, parentPort } = require('node:worker_threads')
  ;(async () => {
    const { EventFd, GuestMemory } = await import(workerData.vfio)
    const { Kvm } = await import(workerData.kvm)
    const vm = Kvm.open().createVm()
    const memory = GuestMemory.create(4096)
    new Uint8Array(memory.buffer).set(workerData.code)
    vm.addMemory({ guestAddress: 0n, memory })
    const vcpu = vm.createVcpu(0)
    vcpu.specialRegisters = { cs: { ...vcpu.specialRegisters.cs, base: 0n, selector: 0 } }
    vcpu.registers = { rip: 0n, rflags: 2n }
    vm.irqfd(new EventFd(), { gsi: vm.routing.msi({ address: 0xfee00000n, data: 0x40 }).gsi })
    vm.ioeventfd({ pio: 0x500, length: 1 })
    vcpu.stats()
    parentPort.postMessage('running')
    vcpu.run()
  })()`

for (const [guest, code] of Object.entries(GUESTS)) {
  kvmTest(
    `a Worker with a whole machine, its guest ${guest}, is terminated: at once, and nothing is left`,
    async (t) => {
      const end = async (): Promise<number> => {
        const worker = new Worker(WHOLE, { eval: true, execArgv: [], workerData: { ...URLS, code } })
        await new Promise((resolve, reject) => {
          worker.once('message', resolve)
          worker.once('error', reject)
        })
        await new Promise((resolve) => setTimeout(resolve, 50))
        const start = performance.now()
        await worker.terminate()
        return performance.now() - start
      }
      // The first one leaves what the process keeps: modules, threads of libuv.
      await end()
      const before = holdings()
      t.deepEqual(
        before.descriptors.filter((name) => name.includes('kvm')),
        [],
      )
      for (let i = 0; i < 5; i++) {
        const took = await end()
        t.true(took < AT_MOST, `${String(Math.round(took))} ms`)
      }
      await until(() => holdings().threads <= before.threads)
      t.deepEqual(holdings(), before)
    },
  )
}
