// A virtual processor's thread: runs the guest, and has the main thread carry out what the guest's accesses mean.
import { parentPort, workerData } from 'node:worker_threads'
import type { ShareToken } from 'node-vfio'
import { Vcpu, type VcpuExit } from 'node-vfio/kvm'
import { type ChannelToken, ExitClient, type Space } from './exit-channel.js'

/** What the main thread gives it. */
export interface VcpuWorkerData {
  vcpu: ShareToken<'Vcpu'>
  channel: ChannelToken
}

/** What it says when it ends. */
export interface VcpuEnd {
  reason: 'stopped' | 'shutdown' | 'failed'
  detail: string
}

const { vcpu: token, channel: channelToken } = workerData as VcpuWorkerData
const vcpu = Vcpu.claim(token)
const channel = new ExitClient(channelToken)

/** Carries out one access; its bytes are little-endian. */
function access(space: Space, address: bigint, data: Uint8Array, isWrite: boolean): void {
  let value: bigint | undefined
  if (isWrite) value = data.reduceRight((sum, byte) => (sum << 8n) | BigInt(byte), 0n)
  let result = channel.ask({ space, address, size: data.length, value })
  if (isWrite) return
  for (let i = 0; i < data.length; i++, result >>= 8n) data[i] = Number(result & 0xffn)
}

/** Deals with an exit. Says how the guest ended, if it has. */
function handle(exit: VcpuExit): VcpuEnd | undefined {
  switch (exit.reason) {
    case 'io':
      // A string instruction brings several at once.
      for (let i = 0; i < exit.count; i++) {
        const data = exit.data.subarray(i * exit.size, (i + 1) * exit.size)
        access('port', BigInt(exit.port), data, exit.direction === 'out')
      }
      return undefined
    case 'mmio':
      access('memory', exit.address, exit.data, exit.isWrite)
      return undefined
    case 'interrupted':
      return undefined
    case 'shutdown':
    case 'system-event':
      return { reason: 'shutdown', detail: exit.reason }
    default:
      return { reason: 'failed', detail: describe(exit) }
  }
}

function describe(exit: VcpuExit): string {
  const { rip } = vcpu.registers
  const detail = JSON.stringify(exit, (_, value: unknown) =>
    typeof value === 'bigint' ? `0x${value.toString(16)}` : value,
  )
  return `at 0x${rip.toString(16)}: ${detail}`
}

function run(): VcpuEnd {
  while (!channel.stopped) {
    const end = handle(vcpu.run())
    if (end !== undefined) return end
  }
  return { reason: 'stopped', detail: 'by the machine' }
}

const end = run()
channel.close()
vcpu.close()
parentPort?.postMessage(end)
